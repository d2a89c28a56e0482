"""The SLI reader alone: 1,000 rollouts, 2 slots each, errors + latency + a guard, on one real Prometheus.

python -m benchmarks.scale_reader [--rollouts 1000] [--window 10] [--scrape 5s] [--minutes 2] [--chunk 1000]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time
from pathlib import Path

from benchmarks.scale_world import SLOTS, host, scale_world
from rollout_controller.api.meta import Key
from rollout_controller.core.observation import GaugeReading
from rollout_controller.slo import queries
from rollout_controller.slo.batch import Batch
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.slo.wants import Question, Want

QUESTIONS = {
    "errors": Question("envoy", "errors", codes=("5xx",)),
    "latency": Question("envoy", "latency", edge_ms=100.0),
    "gpu": Question("dcgm", "gauge"),
}


def wants(rollout: int) -> list[Want]:
    hosts = {slot: host(rollout, slot) for slot in SLOTS}
    return [
        Want(name, q, {slot: ("default", h, "") if q.kind == "gauge" else (h,) for slot, h in hosts.items()})
        for name, q in QUESTIONS.items()
    ]


def memory_mib() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    rollouts, window = arguments.rollouts, float(arguments.window)
    before_mib = memory_mib()
    with scale_world(rollouts, scrape=arguments.scrape) as world:
        server = world.prometheus
        reader = SliReader(Prometheus(server.url, timeout_s=8), load_sources(), window_s=window, lag_s=2)
        reader._batch = Batch(reader._batch._prometheus, window, chunk=arguments.chunk)  # noqa: SLF001
        time.sleep(15)
        keys = [Key("default", f"r-{number}") for number in range(rollouts)]
        for number, key in enumerate(keys):
            reader.want(key, wants(number))
        ticks: list[float] = []
        used: list[float] = []
        asked: list[int] = []
        prometheus_cpu: list[float] = []
        since = {key: time.time() for key in keys}
        lost = 0
        end = time.monotonic() + arguments.minutes * 60
        while time.monotonic() < end:
            queries_before = sum(s.queries for s in reader.stats().values())
            wall, cpu, server_cpu = time.monotonic(), time.process_time(), server.cpu_s()
            reader.read(time.time())
            took, queries_now = time.monotonic() - wall, sum(s.queries for s in reader.stats().values())
            if queries_now > queries_before:
                for key in keys:
                    for name in ("errors", "latency"):
                        found = reader.reading(key, name, "green", since[key])
                        lost += found.problem is not None and len(ticks) > 3
                    if found.windows:
                        since[key] = found.windows[-1].end
                    lost += len(ticks) > 3 and not isinstance(reader.gauge(key, "gpu", "green"), GaugeReading)
                ticks.append(took)
                used.append(time.process_time() - cpu)
                asked.append(queries_now - queries_before)
                prometheus_cpu.append(server.cpu_s() - server_cpu)
            time.sleep(max(0.0, 1 - (time.monotonic() - wall)))
        later = slice(2, None)
        return {
            "rollouts": rollouts,
            "window_s": window,
            "chunk": arguments.chunk,
            "ticks": len(ticks),
            "queries_per_tick": max(asked[later]),
            "first_tick_queries": asked[0],
            "tick_s_median": round(statistics.median(ticks[later]), 3),
            "tick_s_max": round(max(ticks[later]), 3),
            "reader_cpu_ms_per_rollout_and_tick": round(statistics.mean(used[later]) * 1000 / rollouts, 4),
            "prometheus_cpu_s_per_tick": round(statistics.mean(prometheus_cpu[later]), 3),
            "memory_mib": round(memory_mib(), 1),
            "memory_before_mib": round(before_mib, 1),
            "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "readings_with_a_problem": lost,
            "failures": {name: dict(s.failures) for name, s in reader.stats().items()},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--window", type=float, default=10)
    parser.add_argument("--scrape", default="5s")
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--chunk", type=int, default=queries.CHUNK)
    print(json.dumps(measure(parser.parse_args()), indent=2))


if __name__ == "__main__":
    main()
