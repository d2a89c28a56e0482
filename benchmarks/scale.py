"""1,000 active attempts in one controller process, judged on one real Prometheus that scrapes their 2,000 slots.

python -m benchmarks.scale [--rollouts 1000] [--seconds 120] [--no-harm] [--keep DIR]

The controller is the product's own process on its own SQLite store and route file. Prometheus is real. Tritons and the exporter
of the slots' counters are played at the wire by processes of their own, so that their work is not counted as the controller's.
Its /metrics is scraped every 30 s, as a Prometheus would, and that is counted. At the end all canaries go bad at once.

A window is looked at when it was judged, or found to be one from which nothing follows now (docs/adr/0016): then it is judged
with the next ones.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import ControllerProcess, Figures, controller, cpu_s, memory_mib, quantile, scrape
from benchmarks.scale_documents import WINDOW_S, statuses, write_world
from benchmarks.scale_world import ScaleWorld, scale_world, wait_for
from rollout_controller.api.quantities import parse_instant
from rollout_controller.api.status import Phase
from rollout_controller.cluster.local import LocalStore
from rollout_controller.controller.config import DATABASE_NAME
from tests.support.prometheus import free_port

OURS = "rollout_controller_"
SCRAPE_EVERY = 3
"""In windows: 30 s, the default of kube-prometheus-stack."""
WRITES = ("create", "replace", "patch", "replace_status", "delete")


@dataclass(frozen=True)
class Snapshot:
    """Everything that is counted, at one moment."""

    at: float
    cpu_s: float
    prometheus_cpu_s: float
    queries: float
    figures: Figures

    def writes(self) -> float:
        return sum(self.figures.total(f"{OURS}store_call_seconds_count", verb=verb) for verb in WRITES)


@dataclass(frozen=True)
class Row:
    """A line of the table; `goal`: the most that `value` may be."""

    name: str
    value: float
    unit: str
    goal: float | None = None

    def __str__(self) -> str:
        judged = "" if self.goal is None else f"goal <= {self.goal:<6g} {'met' if self.value <= self.goal else 'MISSED'}"
        return f"{self.name:<58} {self.value:>10,.3f} {self.unit:<8} {judged}".rstrip()


def say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def played_tritons() -> Iterator[str]:
    """The base URL of many played Tritons."""
    port = free_port()
    child = subprocess.Popen([sys.executable, "-m", "benchmarks.scale_tritons", str(port)])
    try:
        wait_for(f"http://127.0.0.1:{port}/any/v2/health/ready", 30)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.terminate()
        child.wait(10)


def snapshot(process: ControllerProcess, world: ScaleWorld) -> Snapshot:
    asked = scrape(world.prometheus.url)
    queries = sum(asked.total("prometheus_http_requests_total", handler=f"/api/v1/{call}") for call in ("query", "query_range"))
    return Snapshot(time.time(), cpu_s(process.pid), world.prometheus.cpu_s(), queries, process.figures())


def ramp_up(process: ControllerProcess, store: LocalStore, rollouts: int, timeout_s: float) -> Row:
    """Until every attempt has traffic."""
    began, used = time.monotonic(), cpu_s(process.pid)
    while True:
        phases = Counter(status.get("phase", "none") for status in statuses(store))
        took = time.monotonic() - began
        say(f"  {took:4.0f} s: {dict(sorted(phases.items()))}, {cpu_s(process.pid) - used:.0f} s of CPU")
        if phases[Phase.PROGRESSING] == rollouts:
            return Row("ramp-up: all prepared, loaded, warmed and at 10 %", took, "s")
        if took > timeout_s or process.process.poll() is not None:
            raise SystemExit(f"not all attempts had traffic after {took:.0f} s")
        time.sleep(5)


def measure(process: ControllerProcess, world: ScaleWorld, rollouts: int, seconds: float) -> list[Row]:
    """The steady state. Ends where it began on the grid of windows, so that it holds a whole number of ticks."""
    ticks = max(1, round(seconds / WINDOW_S))
    rss: list[float] = []
    before = snapshot(process, world)
    for tick in range(ticks):
        wait = before.at + (tick + 1) * WINDOW_S - time.time()
        time.sleep(max(0.0, wait))
        rss.append(memory_mib(process.pid))
        if tick < ticks - 1:
            if tick % SCRAPE_EVERY == 0:
                process.figures()
            say(f"  {tick + 1}/{ticks} windows, RSS {rss[-1]:.0f} MiB")
    after = snapshot(process, world)
    return rows(before, after, rss, rollouts)


def rows(before: Snapshot, after: Snapshot, rss: list[float], rollouts: int) -> list[Row]:
    wall = after.at - before.at
    ticks = wall / WINDOW_S

    def grown(name: str) -> float:
        return after.figures.total(name) - before.figures.total(name)

    def share(name: str, of: float) -> float:
        return quantile(f"{OURS}{name}", before.figures, after.figures, of)

    return [
        Row("queries per tick", (after.queries - before.queries) / ticks, "", 10),
        Row("CPU per attempt and tick", (after.cpu_s - before.cpu_s) * 1000 / rollouts / ticks, "ms", 1),
        Row("CPU of the process", 100 * (after.cpu_s - before.cpu_s) / wall, "% of 1"),
        Row("RSS, most of the samples", max(rss), "MiB", 200),
        Row("windows looked at per attempt and tick", grown(f"{OURS}judged_lag_seconds_count") / rollouts / ticks, ""),
        Row("window's end until it was looked at, p50 at most", share("judged_lag_seconds", 0.5), "s"),
        Row("window's end until it was looked at, p99 at most", share("judged_lag_seconds", 0.99), "s"),
        Row("window's end until it was looked at, max at most", share("judged_lag_seconds", 1.0), "s", WINDOW_S),
        Row("turns per attempt and tick", grown(f"{OURS}reconcile_seconds_count") / rollouts / ticks, ""),
        Row("turn, p50 at most", 1000 * share("reconcile_seconds", 0.5), "ms"),
        Row("turn, p99 at most", 1000 * share("reconcile_seconds", 0.99), "ms"),
        Row("turns that failed", grown(f"{OURS}reconcile_errors_total"), "", 0),
        Row("store writes per second", (after.writes() - before.writes()) / wall, ""),
        Row(
            "CPU of Prometheus: scrapes and our queries",
            100 * (after.prometheus_cpu_s - before.prometheus_cpu_s) / wall,
            "% of 1",
        ),
    ]


def all_go_bad(store: LocalStore, world: ScaleWorld, rollouts: int) -> list[Row]:
    """Every canary fails half of its requests from one moment on; until the last route is back at stable."""
    began = world.go_bad()
    while True:
        time.sleep(2)
        done = [status for status in statuses(store) if status.get("phase") == Phase.ROLLED_BACK]
        took = time.time() - began
        say(f"  {took:4.0f} s: {len(done)} rolled back")
        if len(done) == rollouts:
            break
        if took > 300:
            raise SystemExit(f"only {len(done)} of {rollouts} were rolled back after {took:.0f} s")
    records = [status["attempts"][0] for status in done]
    first_bad = WINDOW_S * (began // WINDOW_S + 1)
    moved = [parse_instant(record["trafficOffAt"]) for record in records]
    since_bad = [at - first_bad for at in moved]
    since_sample = [at - parse_instant(record["lastSampleAt"]) for at, record in zip(moved, records, strict=True)]
    return [
        Row("all bad at once: metrics bad to weight 0, median", statistics.median(at - began for at in moved), "s"),
        Row("all bad at once: metrics bad to weight 0, max", max(at - began for at in moved), "s"),
        Row("end of the first bad window to weight 0, median", statistics.median(since_bad), "s"),
        Row("end of the first bad window to weight 0, max", max(since_bad), "s"),
        Row("last sample used to weight 0, median", statistics.median(since_sample), "s"),
        Row("last sample used to weight 0, max", max(since_sample), "s"),
    ]


def run(arguments: argparse.Namespace, directory: Path) -> list[Row]:
    rollouts: int = arguments.rollouts
    with scale_world(rollouts, scrape=arguments.scrape) as world, played_tritons() as tritons:
        say(f"{rollouts} rollouts are written ...")
        write_world(directory, rollouts, prometheus=world.prometheus.url, tritons=tritons)
        with controller(directory, free_port()) as process:
            store = LocalStore(directory / DATABASE_NAME)
            found = [ramp_up(process, store, rollouts, arguments.ramp)]
            say("settling for 30 s ...")
            time.sleep(30)
            found += measure(process, world, rollouts, arguments.seconds)
            check(store, rollouts)
            if arguments.harm:
                say("all canaries go bad ...")
                found += all_go_bad(store, world, rollouts)
            found.append(Row("RSS, most ever", memory_mib(process.pid, "VmHWM"), "MiB"))
            store.close()
    return found


def check(store: LocalStore, rollouts: int) -> None:
    """A figure counts only if the controller did its job meanwhile: everything progresses, and everything was seen."""
    all_now = list(statuses(store))
    blind = [v["sentence"] for s in all_now for v in s["verdicts"] if v["verdict"] not in {"Undecided", "Satisfied"}]
    late = [s for s in all_now if parse_instant(s["judgeWrittenAt"]) - parse_instant(s["attempt"]["lastSampleAt"]) > 2 * WINDOW_S]
    phases = Counter(s["phase"] for s in all_now)
    if phases != {Phase.PROGRESSING: rollouts} or blind or late:
        raise SystemExit(f"the figures do not count: {phases}, {len(late)} late, {len(blind)} without a verdict: {blind[:1]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=120, help="of steady state")
    parser.add_argument("--scrape", default="5s")
    parser.add_argument("--ramp", type=float, default=300, help="most seconds until all have traffic")
    parser.add_argument("--no-harm", dest="harm", action="store_false", help="end after the steady state")
    parser.add_argument("--keep", type=Path, help="directory for the store and the log; default: a temporary one")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollouts-scale-") as folder:
        directory = arguments.keep or Path(folder)
        directory.mkdir(parents=True, exist_ok=True)
        found = run(arguments, directory)
    say("")
    for row in found:
        say(str(row))
    missed = [row.name for row in found if row.goal is not None and not row.value <= row.goal]
    say(f"\ngoals: {'all met' if not missed else 'MISSED: ' + ', '.join(missed)}")


if __name__ == "__main__":
    main()
