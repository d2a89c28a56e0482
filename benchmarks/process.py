"""The controller as a process of its own, and what it costs: CPU and memory from /proc, figures from its /metrics."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Seconds of CPU (user and system, all threads) that a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """Resident memory now; `VmHWM`: the most it ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no {field}")


@dataclass(frozen=True)
class Figures:
    """One scrape of /metrics: values by sample name and labels."""

    values: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of this name that have these labels."""
        wanted = set(labels.items())
        return sum(value for (n, have), value in self.values.items() if n == name and wanted <= set(have))

    def buckets(self, name: str) -> dict[float, float]:
        """Cumulative counts of a histogram by upper edge, over all its labels."""
        found: dict[float, float] = {}
        for (n, labels), value in self.values.items():
            if n == f"{name}_bucket":
                edge = float(dict(labels)["le"])
                found[edge] = found.get(edge, 0.0) + value
        return found


def quantile(name: str, before: Figures, after: Figures, share: float) -> float:
    """The upper edge of the bucket in which this share of a histogram's new observations lies; infinite beyond the last."""
    grown = {edge: count - before.buckets(name).get(edge, 0.0) for edge, count in sorted(after.buckets(name).items())}
    everything = max(grown.values(), default=0.0)
    return next((edge for edge, count in grown.items() if everything and count >= share * everything), float("nan"))


def scrape(url: str) -> Figures:
    """What a process shows at /metrics now."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        text = answer.read().decode()
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return Figures({(sample.name, tuple(sample.labels.items())): sample.value for sample in samples})


@dataclass
class ControllerProcess:
    """One `rollouts controller --local DIR`."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def figures(self) -> Figures:
        return scrape(f"http://127.0.0.1:{self.port}")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def controller(directory: Path, port: int) -> Iterator[ControllerProcess]:
    """A controller that is ready; ended at the end. Its log is DIR/controller.log."""
    command = [sys.executable, "-m", "rollout_controller", "--local", str(directory), "controller"]
    command += ["--metrics-port", str(port), "--log-format", "json"]
    with (directory / "controller.log").open("ab") as log:
        process = ControllerProcess(subprocess.Popen(command, stdout=log, stderr=log), port)
    try:
        deadline = time.monotonic() + 60
        while not process.ready():
            if process.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the controller did not become ready: {(directory / 'controller.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield process
    finally:
        process.process.terminate()
        process.process.wait(30)
