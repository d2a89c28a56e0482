"""A large world for the scale measurements: an exporter of many slots, as Envoy and dcgm-exporter show them, and a Prometheus.

The exporter is a process of its own (`python -m benchmarks.scale_world PORT SLOTS`), so that its work is not measured as ours.
Its text is made from a template once a second at most: counters of all slots grow by the same steps. SIGUSR1 makes every
green slot fail half of its requests from then on.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.prometheus import Exporter, RealPrometheus, find_prometheus, free_port, prometheus

SLOTS = ("blue", "green")
EDGES = ["0.5", *(str(edge) for edge in (1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000))]
EDGES += ["1800000", "3600000"]


def host(rollout: int, slot: str) -> str:
    """The cluster name of a slot; dots make the regular expressions as hard as real ones."""
    return f"triton-{slot}-{rollout:04d}.vision.svc.cluster.local"


def _template(rollouts: int) -> bytes:
    lines = []
    for number in range(rollouts):
        for slot in SLOTS:
            name = host(number, slot)
            for code, place in (("2", f"%({slot}_good)d"), ("5", f"%({slot}_bad)d")):
                lines.append(
                    f'envoy_cluster_upstream_rq_xx{{envoy_response_code_class="{code}",envoy_cluster_name="{name}"}} {place}'
                )
            for edge in [*EDGES, "+Inf"]:
                place = "%(zero)d" if edge != "+Inf" and float(edge) < 50 else "%(fast)d" if edge in ("50", "100") else "%(all)d"
                lines.append(f'envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="{name}",le="{edge}"}} {place}')
            pod = f"{name}-0"
            lines.append(f'DCGM_FI_DEV_GPU_UTIL{{exported_namespace="default",exported_pod="{pod}",gpu="0"}} 40')
    return ("\n".join(lines) + "\n").encode()


RPS = 20
"""Requests a second of every slot."""


def growth(seconds: int, bad_seconds: int = 0) -> dict[str, int]:
    """What every slot has served after so many seconds: 0.5 % fail, 2 % are slow; half of green's of the `bad_seconds` failed."""
    everything = RPS * seconds
    bad = everything // 200
    worse = (everything - RPS * bad_seconds) // 200 + RPS * bad_seconds // 2
    slots = {"blue_good": everything - bad, "blue_bad": bad, "green_good": everything - worse, "green_bad": worse}
    return {**slots, "fast": everything - everything // 50, "all": everything, "zero": 0}


def serve(port: int, rollouts: int) -> None:
    """Serve the world until the process ends."""
    template, began = _template(rollouts), time.time()
    kept: dict[int, bytes] = {}
    harm_began: list[float] = []
    signal.signal(signal.SIGUSR1, lambda *_: harm_began.append(time.time()))

    def text() -> bytes:
        second = int(time.time() - began)
        if second not in kept:
            kept.clear()
            bad_seconds = int(time.time() - harm_began[0]) if harm_began else 0
            values = {key.encode(): value for key, value in growth(second, bad_seconds).items()}
            kept[second] = template % values
        return kept[second]

    Exporter(text, port)
    while True:
        signal.pause()


@dataclass(frozen=True)
class ScaleWorld:
    """The Prometheus, and the process whose counters it scrapes."""

    prometheus: RealPrometheus
    exporter: subprocess.Popen[bytes]

    def go_bad(self) -> float:
        """Every green slot fails half of its requests from now on; the time of that."""
        self.exporter.send_signal(signal.SIGUSR1)
        return time.time()


@contextmanager
def scale_world(rollouts: int, *, scrape: str, binary: Path | None = None) -> Iterator[ScaleWorld]:
    """A Prometheus that scrapes 2 slots for each of the rollouts."""
    port = free_port()
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.scale_world", str(port), str(rollouts)])
    try:
        wait_for(f"http://127.0.0.1:{port}/metrics", 30)
        with (
            tempfile.TemporaryDirectory(prefix="rollouts-scale-") as folder,
            prometheus(binary or find_prometheus(), Path(folder), [f"127.0.0.1:{port}"], scrape=scrape) as server,
        ):
            yield ScaleWorld(server, child)
    finally:
        child.terminate()
        child.wait(10)


def wait_for(url: str, timeout_s: float) -> None:
    """Until somebody answers there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    serve(int(sys.argv[1]), int(sys.argv[2]))
