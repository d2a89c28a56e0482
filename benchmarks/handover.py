"""Seconds from a leader's end to the first write of the other replica: asked to end (SIGTERM), and killed (SIGKILL).

python -m benchmarks.handover [--rounds 10]

Real processes with the chart's rights on a real API server. At the leader's end somebody moves the route's weights; the time is
over when the route is right again, by a write of the other replica.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from signal import Signals

from rollout_controller.lab.kube import Kube
from tests.support.chart import make_namespace
from tests.support.replicas import Replica, Stage, stage

NAMESPACE = "handover"
LONGEST_S = 60.0
SEEN_S = 1.5
"""A replica that is ready has looked at the lease after this long."""


def one(scene: Stage, leader: Replica, follower: Replica, how: Signals) -> float | None:
    """None: the old leader mended the route before it ended."""
    began = time.monotonic()
    leader.send(how)
    time.sleep(0.02)
    scene.drift()
    while not scene.mended():
        if time.monotonic() - began > LONGEST_S:
            raise RuntimeError(f"nobody took over\n{scene.logs()}")
        time.sleep(0.01)
    took = time.monotonic() - began
    leader.process.wait(30)
    time.sleep(0.5)
    return took if follower.writes()["patch", "virtualservices"] else None


def measure(scene: Stage, how: Signals, rounds: int) -> list[float]:
    times: list[float] = []
    leader, follower = scene.two()
    number = 0
    while len(times) < rounds:
        time.sleep(SEEN_S)
        if (took := one(scene, leader, follower, how)) is not None:
            times.append(took)
        number += 1
        leader, follower = follower, scene.replica(f"{how.name.lower()}-{number}")
        follower.wait_ready()
    for replica in (follower, leader):
        replica.end()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="rollouts-bench-") as folder, Kube(Path(folder) / "kube") as kube:
        kube.apply_istio_crds("virtualservices")
        make_namespace(kube, NAMESPACE)
        for how, words in ((Signals.SIGTERM, "asked to end"), (Signals.SIGKILL, "killed (-9)")):
            with stage(kube, NAMESPACE, Path(folder)) as scene:
                times = sorted(measure(scene, how, rounds))
            each = " ".join(f"{seconds:.2f}" for seconds in times)
            print(f"leader {words:<13} p50 {statistics.median(times):.2f} s, max {times[-1]:.2f} s ({each})", flush=True)


if __name__ == "__main__":
    main()
