"""The stage: lab, documents, controller and load, put up one after the other and taken down as one."""

from __future__ import annotations

import json
import shutil
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rollout_controller.lab import parts, processes, procfs, receiver
from rollout_controller.lab.info import Info
from rollout_controller.lab.lab import Lab
from rollout_controller.lab.processes import Running, Server

ROOT = Path(__file__).parents[3]
DATABASE_NAME = "rollouts.db"
"""As in controller/config.py, which this layer does not import."""
DOCUMENTS = ("policies/demo.yaml", "mesh/virtualservice.yaml", "mesh/tritonrollout.yaml")
OURS = ("lab.lock", "lab.json", "local.yaml", DATABASE_NAME)
"""A directory that has one of these is a lab's."""
SWEPT = (
    *("logs", "envoy", "prometheus", "triton-blue", "triton-green", "gpu-exporter.log", "alertmanager", "load.log", "load.jsonl"),
    *("receiver.log", "slack-webhook", receiver.FILE),
)
COMMAND_TIMEOUT_S = 30.0
READY_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 3.0

Say = Callable[[str], None]


class StageFailed(RuntimeError):
    """The play cannot begin or go on; the text says why."""


class Stage:
    """One demo's servers in one directory. `keep`: they go on after this process."""

    def __init__(self, directory: Path, say: Say, *, keep: bool) -> None:
        self.directory = directory.resolve()
        self._say, self._keep = say, keep
        self.no_alerts = ""
        """Why there is no Alertmanager; empty: there is one."""
        self._lab = Lab(self.directory, say, with_receiver=True)
        self._controller: Running | None = None

    @property
    def store_path(self) -> Path:
        return self.directory / DATABASE_NAME

    @property
    def log(self) -> Path:
        return self.directory / "logs" / "controller.log"

    def up(self, rps: float) -> Info:
        """Sweep what an earlier demo left, and put everything up. Raises StageFailed and what Lab.up raises."""
        texts = documents()
        self._sweep()
        self.no_alerts = parts.make_with_alertmanager(self._say)
        if self.no_alerts:
            self._say(f"no Alertmanager in this demo, all else goes on: {self.no_alerts}")
        self._lab = Lab(self.directory, self._say, with_receiver=True, with_alerts=not self.no_alerts)
        info = self._lab.up(detached=self._keep)
        self._say(f"rollouts apply -f {' '.join(DOCUMENTS)}")
        self._command("apply", "-f", *(str(ROOT / name) for name in texts))
        self._start_controller(info)
        self._lab.load(rps=rps, out=self.directory / "load.jsonl", tethered=not self._keep)
        self._say(f"load: {rps:g} requests a second, at random times")
        return info

    def trigger(self, name: str, version: str, request: str, meanwhile: Callable[[], None]) -> None:
        """What CI does: the version's and the request's annotation on the TritonRollout."""
        self._command("trigger", name, "--version", version, "--request", request, "--no-wait", meanwhile=meanwhile)

    def check(self) -> None:
        """Raises StageFailed when the controller has ended."""
        if self._controller is not None and not self._controller.alive:
            status = self._controller.handle.returncode
            raise StageFailed(f"the controller ended (exit status {status}); {self.log} says why")

    def messages(self, count: int) -> list[str]:
        """What Slack would have shown, once there are `count` messages, or after ANSWER_TIMEOUT_S."""
        return self._heard(receiver.messages, count)

    def alerts(self) -> list[str]:
        """What Alertmanager would have told Slack, once there is something, or after ANSWER_TIMEOUT_S."""
        return self._heard(receiver.alerts, 0 if self.no_alerts else 1)

    def _heard(self, read: Callable[[Path], list[str]], count: int) -> list[str]:
        ends = time.monotonic() + ANSWER_TIMEOUT_S
        while len(found := read(self.directory)) < count and time.monotonic() < ends:
            time.sleep(0.05)
        return found

    def down(self) -> None:
        """End every process; the documents and the logs stay. May be called at any time, and again."""
        if self._controller is not None:
            processes.stop([self._controller], self.directory)  # by SIGTERM, so that it closes its store
            self._controller = None
        left = self._lab.down().left
        if left:
            raise StageFailed(f"these processes cannot be ended: {', '.join(f'{p.name} ({p.pid})' for p in left)}")

    def _sweep(self) -> None:
        """Remove what a lab leaves in its directory; refuse one that is in use or somebody else's."""
        home = self.directory
        if home.exists() and any(home.iterdir()) and not any((home / name).exists() for name in OURS):
            raise StageFailed(f"{home} is neither empty nor a lab's directory; give another one with --dir")
        if alive := procfs.marked(str(home)):
            names = ", ".join(sorted({process.name for process in alive}))
            raise StageFailed(f"a lab is up in {home} ({names}): end it with `rollouts lab down {home}`, or give another --dir")
        for path in (*(home / name for name in SWEPT), *home.glob(f"{DATABASE_NAME}*"), home / "report.html"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)

    def _start_controller(self, info: Info) -> None:
        begun = time.monotonic()
        server = Server(
            name="controller",
            argv=[*rollouts(self.directory), "controller", "--log-format", "json"],
            log=self.log,
            ready=f"http://127.0.0.1:{info.controller_port}/readyz",
            env={"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            grace_s=6.0,
        )
        self._controller = processes.start(server, self.directory, tethered=not self._keep)
        processes.wait_ready([self._controller], READY_TIMEOUT_S)
        self._say(f"controller is ready ({time.monotonic() - begun:.1f} s), a process of its own: {self._controller.pid}")

    def _command(self, *arguments: str, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Run `rollouts`, as a user would, and do something else meanwhile; raises StageFailed with what it says."""
        self.log.parent.mkdir(exist_ok=True)
        with self.log.with_name("commands.log").open("a") as log:
            log.write(f"$ rollouts {' '.join(arguments)}\n")
        server = Server(
            name="rollouts",
            argv=[*rollouts(self.directory), *arguments],
            log=self.log.with_name("commands.log"),
            env={"PYTHONPATH": str(ROOT)},
        )
        running = processes.start(server, self.directory, tethered=True)
        ends = time.monotonic() + COMMAND_TIMEOUT_S
        while (status := running.handle.poll()) is None:
            if time.monotonic() > ends:
                processes.stop([running], self.directory)
                raise StageFailed(f"`rollouts {arguments[0]}` did not end within {COMMAND_TIMEOUT_S:g} s")
            meanwhile()
            time.sleep(0.05)
        if status != 0:
            said = server.log.read_text(errors="replace").rpartition("$ ")[2]
            raise StageFailed(f"`rollouts {arguments[0]}` failed (exit status {status}): $ {said.strip()}")


def rollouts(directory: Path) -> list[str]:
    """How the command line is called on this directory by the running Python."""
    return [sys.executable, "-m", "rollout_controller", "--local", str(directory)]


def documents() -> dict[str, str]:
    """The demo's documents, by name; raises StageFailed where the checkout is not there."""
    try:
        return {name: (ROOT / name).read_text() for name in DOCUMENTS}
    except OSError as error:
        raise StageFailed(f"the demo runs from a checkout of rollout-controller: {error}") from None


def versions(info: Info) -> dict[str, str]:
    """What the servers say about themselves: name -> version; empty where one does not say."""
    triton = next(iter(info.triton.values()))
    found = {
        "Envoy": _part(_answer(f"{info.envoy_admin}/server_info"), "version").partition("/")[2].partition("/")[0],
        "Triton": _part(_answer(f"{triton}/v2"), "version"),
        "Prometheus": _part(_answer(f"{info.prometheus}/api/v1/status/buildinfo"), "data", "version"),
    }
    if info.alertmanager:
        found["Alertmanager"] = _part(_answer(f"{info.alertmanager}/api/v2/status"), "versionInfo", "version")
    return found


def _answer(url: str) -> Any:
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:  # noqa: S310 - our own http URL
            return json.load(answer)
    except (OSError, ValueError):
        return None


def _part(value: Any, *path: str) -> str:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""
