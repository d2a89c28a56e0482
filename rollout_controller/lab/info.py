"""What is known about one lab: its addresses and servers, kept in DIR/lab.json, and the file that the controller reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab import envoy, procfs, prometheus, receiver

FORMAT = 1


@dataclass(frozen=True)
class Record:
    """One server as it was started. Pid and start time together name one process, whatever pids are reused."""

    name: str
    pid: int
    started: int
    grace_s: float
    log: str

    @property
    def alive(self) -> bool:
        process = procfs.look(self.pid)
        return process is not None and process.started == self.started


@dataclass(frozen=True)
class Info:
    """Addresses of a lab.

    `triton` and `triton_metrics` are by slot host; `controller_port` is where the controller serves /metrics.
    """

    directory: Path
    envoy: str
    envoy_admin: str
    prometheus: str
    gpu_exporter: str
    triton: Mapping[str, str]
    triton_metrics: Mapping[str, str]
    controller_port: int
    servers: tuple[Record, ...]
    receiver: str = ""
    """What takes the messages that would go to Slack; empty: nobody is told."""
    alertmanager: str = ""
    """Empty: no alerts are evaluated."""

    @property
    def local_yaml(self) -> Path:
        return self.directory / "local.yaml"

    @property
    def rds(self) -> Path:
        return envoy.rds_path(self.directory / "envoy")

    @property
    def access_log(self) -> Path:
        return envoy.access_log(self.directory / "envoy")

    @property
    def models(self) -> Path:
        return self.directory / "models"


def write(info: Info) -> None:
    """Write DIR/local.yaml and then, last, DIR/lab.json: where that is, the lab was up."""
    settings: dict[str, Any] = {
        "prometheus": {"url": info.prometheus, "window": prometheus.SCRAPE_EVERY, "lag": prometheus.LAG},
        "envoy": {"rds": str(info.rds.relative_to(info.directory)), "routeConfig": envoy.ROUTE_CONFIG},
        "triton": dict(info.triton),
        "metrics": {"port": info.controller_port},
    }
    if info.receiver:
        settings["notifications"] = receiver.wire_up(info.directory, info.receiver)
    _replace(
        info.local_yaml,
        "# Written by `rollouts lab up`. Paths are relative to this file.\n" + yaml.safe_dump(settings, sort_keys=False),
    )
    _replace(
        _path(info.directory), json.dumps({"format": FORMAT, **asdict(info), "directory": str(info.directory)}, indent=2) + "\n"
    )


def read(directory: Path) -> Info | None:
    """The lab of this directory; None where none was written, or not in a form that this version reads."""
    try:
        content: dict[str, Any] = json.loads(_path(directory).read_text())
        if content.pop("format") != FORMAT:
            return None
        servers = tuple(Record(**record) for record in content.pop("servers"))
        return Info(**{**content, "directory": directory, "servers": servers})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def forget(directory: Path) -> None:
    _path(directory).unlink(missing_ok=True)


def _path(directory: Path) -> Path:
    return directory / "lab.json"


def _replace(path: Path, text: str) -> None:
    half = path.with_name(path.name + ".half")
    half.write_text(text)
    half.replace(path)
