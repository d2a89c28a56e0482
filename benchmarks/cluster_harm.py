"""Metrics bad to weight 0 on a real Kubernetes API, for one attempt and for many at once, and what that costs.

python -m benchmarks.cluster_harm [--counts 1 100] [--runs 3] [--window 10] [--tolerance 20s] [--rest 60] [--no-retreat]

kube-apiserver, etcd, Prometheus and the controller's process are real; the controller has the chart's rights and no more. The
slots' traffic is made up by an exporter, and deploys are external: no Triton is needed. Two SLOs each, errors and latency. All
canaries fail half of their requests: from their first one, or, in every second run, from one moment in the middle of the first
step, wherever that falls in a window. "Weight 0" is when a client of the API server sees it in the VirtualService (looked at ten
times a second): with the first retreat, or without retreats with the rollback. Each run lasts until all are rolled back.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.process import cpu_s, memory_mib
from rollout_controller.api.names import Raw
from rollout_controller.api.quantities import parse_instant
from rollout_controller.lab.kube import Kube
from tests.support.chart import make_namespace
from tests.support.crowd import Crowd, crowd

LOOK_S = 0.1
RAMP_S = 180.0
HARM_S = 300.0
EVENTS_S = 60.0
SETTLE_S = 30.0
KINDS = ("bad from the first request", "bad from a later moment")


def say(text: str) -> None:
    print(text, flush=True)


def from_the_start(many: Crowd, version: str) -> tuple[list[float], list[float]]:
    """Seconds until weight 0, of each rollout: from the moment at which its bad canary had traffic, and from the last sample."""
    many.go_bad()
    many.ask(version)
    on: dict[str, float] = {}
    off = until_off(many, on)
    return [off[name] - on[name] for name in many.names], since_sample(many, off)


def from_a_moment(many: Crowd, version: str, window_s: int) -> tuple[list[float], list[float]]:
    """The same, from the moment at which good canaries went bad."""
    many.ask(version)
    many.wait_weights(90, 10, RAMP_S)
    many.wait_phase("Progressing", RAMP_S)
    time.sleep(random.uniform(2, 3) * window_s)
    began = many.go_bad()
    off = until_off(many, dict.fromkeys(many.names, began))
    return [at - began for at in off.values()], since_sample(many, off)


def since_sample(many: Crowd, off: dict[str, float]) -> list[float]:
    """Seconds from the end of the last window that the verdict used: what is not the judge's. None after a retreat."""
    ends = {name: parse_instant(status["attempts"][0]["lastSampleAt"]) for name, status in many.statuses().items()}
    return [off[name] - end for name, end in ends.items() if off[name] >= end]


def until_off(many: Crowd, on: dict[str, float]) -> dict[str, float]:
    """When each canary that was `on` (filled here) was off; until all were."""
    off: dict[str, float] = {}
    began = time.time()
    while len(off) < len(many.names):
        weights, now = many.weights(), time.time()
        for name, (_, green) in weights.items():
            if green:
                on.setdefault(name, now)
            elif name in on:
                off.setdefault(name, now)
        if now - began > HARM_S:
            raise SystemExit(f"only {len(off)} of {len(many.names)} were rolled back after {HARM_S:g} s: {many.phases()}")
        time.sleep(LOOK_S)
    many.wait_phase("RolledBack", RAMP_S)
    return off


def cost(many: Crowd, what: str, seconds: float) -> None:
    """What the controller does in that time."""
    replica = many.stage.replicas[0]
    pid = replica.process.pid
    calls, cpu = many.kube.calls(replica.user), cpu_s(pid)
    time.sleep(seconds)
    grown = many.kube.calls(replica.user) - calls
    minute = 60 / seconds
    words = ", ".join(f"{verb} {resource} {count * minute:.0f}" for (verb, resource), count in sorted(grown.items()))
    used = f"CPU {(cpu_s(pid) - cpu) * minute:.1f} s a minute, RSS {memory_mib(pid):.0f} MiB"
    say(f"{len(many.names):>4} {what}: {used}; calls a minute: {words or 'none'}")


def events_missing(many: Crowd) -> int:
    """Rollbacks of the last run without an event of their own."""
    end = time.monotonic() + EVENTS_S
    while True:
        told = Counter((event["regarding"]["name"], event["note"]) for event in many.events())
        why = {name: status["attempts"][0]["reason"]["sentence"] for name, status in many.statuses().items()}
        missing = sum(told[name, sentence] == 0 for name, sentence in why.items())
        if not missing or time.monotonic() > end:
            return missing
        time.sleep(0.5)


def summary(name: str, values: Sequence[float]) -> str:
    return f"{name:<60} median {statistics.median(values):>6.1f}   max {max(values):>6.1f} s"


def measure(kube: Kube, folder: Path, count: int, arguments: argparse.Namespace) -> list[str]:
    namespace = f"harm-{count}"
    make_namespace(kube, namespace)
    folder.mkdir()
    took: dict[str, list[float]] = {KINDS[0]: [], KINDS[1]: []}
    used: list[float] = []
    missing = 0
    retreat: Raw | str = "off" if arguments.no_retreat else {"coolDown": "60s", "strikes": 3}
    with crowd(kube, namespace, folder, count, window_s=arguments.window, tolerance=arguments.tolerance, retreat=retreat) as many:
        many.wait_phase("Idle", RAMP_S)
        if arguments.rest:
            steady(many, arguments.rest)
        for run in range(2 * arguments.runs):
            kind, version = KINDS[run % 2], str(run + 10)
            bad, sample = from_a_moment(many, version, arguments.window) if run % 2 else from_the_start(many, version)
            missing += events_missing(many)
            many.traffic.bad = frozenset()
            took[kind] += bad
            used += sample
            say(summary(f"{count:>4} at once, {kind}, run {run // 2 + 1}", bad))
    lines = [summary(f"{count} at once, {kind}: to weight 0", values) for kind, values in took.items()]
    if used:
        lines.append(summary(f"{count} at once: last sample used to weight 0", used))
    return [*lines, f"{count} at once: rollbacks without an event: {missing} of {sum(map(len, took.values()))}"]


def steady(many: Crowd, seconds: float) -> None:
    """What it costs while nothing happens: at rest, and in an attempt that goes well, which is then aborted."""
    time.sleep(SETTLE_S)
    cost(many, "at rest", seconds)
    many.ask("9")
    many.wait_phase("Progressing", RAMP_S)
    time.sleep(SETTLE_S)
    cost(many, "in an attempt", seconds)
    many.command("abort bench-1")
    many.wait_phase("Aborted", RAMP_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--runs", type=int, default=2, help="of each kind")
    parser.add_argument("--window", type=int, default=10, help="seconds: one batch of queries this often")
    parser.add_argument("--tolerance", default="20s", help="of the policy's judge")
    parser.add_argument("--no-retreat", action="store_true", help="the verdict alone takes users off the canary")
    parser.add_argument("--rest", type=float, default=60, help="seconds over which calls are counted; 0: not at all")
    arguments = parser.parse_args()
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="rollouts-harm-") as folder, Kube(Path(folder) / "kube", say=say) as kube:
        kube.apply_istio_crds("virtualservices")
        for count in arguments.counts:
            found += measure(kube, Path(folder) / str(count), count, arguments)
    say("")
    for line in found:
        say(line)


if __name__ == "__main__":
    main()
