"""What a turn costs by itself: many attempts in their first step on a SQLite store, and every 10 s a new window for each.

python -m benchmarks.turns [--rollouts 1000] [--rounds 14]

Nothing is read from a network and time is made up, so that only turns, their writes and a scrape of /metrics are measured, in
seconds of CPU: the figures are of use on a busy machine, too, when two trees are measured in the same minutes.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path

import structlog

from benchmarks.process import memory_mib
from benchmarks.scale_documents import WINDOW_S, policy, rollout, route
from rollout_controller.api.meta import Key, parse
from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase
from rollout_controller.cluster.caches import DocumentCaches
from rollout_controller.cluster.codec import quick
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE
from rollout_controller.controller import exposition
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.metered import MeteredStore
from rollout_controller.controller.metrics import Metrics
from rollout_controller.controller.observe import Observer, Sight
from rollout_controller.controller.reconcile import Reconciler
from rollout_controller.controller.reference import Reference
from rollout_controller.core.observation import Counts, GaugeReading, SliReading, SlotState, Unknown, Window
from rollout_controller.core.plan import Plan, Tell
from rollout_controller.slo.sources import load_sources

BAD = {"errors": 1, "latency": 4}
POLICY_SPEC = parse(RolloutPolicy, policy()).spec
REQUESTS = 200
"""Of each slot in a window, and how many of them are bad: as in `benchmarks.scale`."""


class MadeUp:
    """What is seen of slots and traffic, what is done to them, and the time: all of it in memory."""

    def __init__(self) -> None:
        self.now = time.time() // WINDOW_S * WINDOW_S + 2
        self._slots: dict[tuple[Key, str], SlotState] = {}
        self._metrics = Metrics()
        self.phases: dict[Key, Phase] = {}
        self._after: dict[Key, tuple[TritonRollout, Plan]] = {}

    @property
    def metrics(self) -> Metrics:
        return self._metrics

    def reading(self, rollout: TritonRollout, slo: Slo, canary: str, since: float) -> SliReading:
        del rollout, canary
        first = -int(-since // WINDOW_S)
        counts = Counts(REQUESTS, BAD[slo.name])
        ends = range(first + 1, int(self.now // WINDOW_S) + 1)
        return SliReading(tuple(Window((k - 1.0) * WINDOW_S, float(k) * WINDOW_S, counts, counts) for k in ends))

    def gauge(self, rollout: TritonRollout, guard: Guard, canary: str) -> GaugeReading | Unknown:
        del rollout, guard, canary
        return GaugeReading(0.3 + self.now % 100 / 1000, 0.4, self.now - 1)

    def slot(self, rollout: TritonRollout, slot: str) -> SlotState:
        there = SlotState("1", ready=True) if slot == "blue" else SlotState()
        return self._slots.get((rollout.metadata.key, slot), there)

    def load(self, rollout: TritonRollout, slot: str, version: str) -> None:
        self._slots[rollout.metadata.key, slot] = SlotState(version, ready=True)

    def warm_up(self, rollout: TritonRollout, slot: str, version: str) -> None:
        self._slots[rollout.metadata.key, slot] = SlotState(version, ready=True, warmed=version)

    def answered(self, rollout: TritonRollout, slot: str, version: str | None, refusal: str | None) -> None:
        """There are no workloads."""

    def tell(self, about: Reference, message: Tell) -> None:
        """Nobody listens."""

    def looks(self, rollout: TritonRollout) -> None:
        """No document changes but by turns."""

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None:
        del sight
        self._after[rollout.metadata.key] = rollout, plan
        self.phases[rollout.metadata.key] = plan.status.phase
        self._metrics.rollouts.record(rollout.metadata.key, plan.status, self.now)

    def can_wait(self, key: Key) -> bool:
        """Whether nothing follows from what is new, as the controller asks before it makes a turn of it."""
        rollout, plan = self._after.get(key, (None, None))
        if rollout is None or plan is None or plan.calm is None or self.now >= plan.look_again:
            return False
        policy, calm = POLICY_SPEC, plan.calm
        readings = {slo.name: self.reading(rollout, slo, calm.canary, calm.slos[slo.name].judged_to) for slo in policy.slos}
        return calm.covers(readings, {guard.name: self.gauge(rollout, guard, calm.canary) for guard in policy.guards})

    def turn_refused(self, rollout: TritonRollout, error: Exception) -> None:
        raise RuntimeError(f"a turn of {rollout.metadata.key} was refused") from error

    def gone(self, key: Key) -> None:
        raise LookupError(key)

    def invalid(self, key: Key, error: Exception) -> None:
        raise RuntimeError(f"{key} is invalid") from error


def died(name: str, error: BaseException) -> None:
    print(f"{name} died: {error!r}", flush=True)
    os._exit(1)


def measure(directory: Path, rollouts: int, rounds: int) -> None:
    world = MadeUp()
    local = LocalStore(directory / "turns.db", codec=quick())
    local.create(POLICY, policy())
    for number in range(rollouts):
        local.create(VIRTUAL_SERVICE, route(number))
        local.create(ROLLOUT, rollout(number))
    store = MeteredStore(local, world.metrics)
    kinds = (ROLLOUT, POLICY, VIRTUAL_SERVICE)
    documents = DocumentCaches(store, kinds, on_change=lambda _kind, _key: None, on_death=died)
    documents.start()
    documents.wait_synced(60)
    applier = Applier(store, world, world, written=documents.put)
    reconciler = Reconciler(documents, Observer(documents, world, load_sources()), applier, world, lambda: world.now)
    keys = documents.keys(ROLLOUT)
    turns = [0]

    def one_round() -> None:
        ends = world.now + WINDOW_S
        for key in keys:
            if not world.can_wait(key):
                reconciler.reconcile(key)
                turns[0] += 1
            world.now += WINDOW_S / 2 / len(keys)
        world.now = ends

    while set(world.phases.values()) != {Phase.PROGRESSING}:
        one_round()
    for _ in range(9):
        one_round()
    writes, before, began = written(world.metrics), turns[0], time.process_time()
    for _ in range(rounds):
        one_round()
    took, ticks = time.process_time() - began, rounds * len(keys)
    print(f"an attempt and tick {1000 * took / ticks:.2f} ms of CPU, the cache's watches included")
    print(f"turns in an attempt and tick {(turns[0] - before) / ticks:.3f}")
    print(f"statuses written in an attempt and tick {(written(world.metrics) - writes) / ticks:.3f}")
    began = time.process_time()
    text = exposition.text(world.metrics.registry)
    print(f"a scrape {time.process_time() - began:.2f} s of CPU, {text.count(10):,} lines")
    print(f"RSS {memory_mib(os.getpid()):.0f} MiB, most ever {memory_mib(os.getpid(), 'VmHWM'):.0f}")
    documents.stop()
    local.close()


def written(metrics: Metrics) -> float:
    """Statuses so far."""
    name, verb = "rollout_controller_store_call_seconds_count", "replace_status"
    found = (sample for metric in metrics.registry.collect() for sample in metric.samples)
    return sum(sample.value for sample in found if sample.name == name and sample.labels["verb"] == verb)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=14)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory(prefix="rollouts-turns-") as folder:
        measure(Path(folder), arguments.rollouts, arguments.rounds)


if __name__ == "__main__":
    main()
