"""Metrics of the rollouts, made at each scrape from what is in memory: when a rollout goes, so do its series."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from rollout_controller.api.names import Key
from rollout_controller.api.status import AttemptRecord, Phase, RolloutStatus, VerdictKind
from rollout_controller.controller.described import Described
from rollout_controller.controller.exposition import Series, pairs
from rollout_controller.controller.rollout_gauges import GAUGES, Samples

ROLLBACK_BUCKETS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0)
DURATION_BUCKETS_S = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0)
WHO = ("namespace", "rollout")
NONE: Mapping[str, str] = MappingProxyType({})
MOST_UNKNOWN_GAP_S = 60.0
"""Longest time between two turns that is put down to Unknown; a longer one means that nobody looked."""


class _Histogram:
    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges, self.counts, self.sum = edges, [0] * (len(edges) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.edges, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        total, out = 0, []
        for edge, count in zip((*map(str, self.edges), "+Inf"), self.counts, strict=True):
            total += count
            out.append((edge, float(total)))
        return out


@dataclass
class _Known:
    status: RolloutStatus
    at: float
    workloads: Mapping[str, str]
    counted: set[str] = field(default_factory=set)
    """Ids of attempts whose end was counted, and `ID/off` of those whose way back was timed."""
    outcomes: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    unknown_s: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    drifts: int = 0
    retreats: int = 0
    rollback: _Histogram | None = None
    durations: dict[str, _Histogram] = field(default_factory=dict)


class RolloutMetrics(Collector):
    """Told of every turn; answers scrapes.

    Counters count what ended after `counts_from` (seconds since 1970: when this process began to lead), so neither a restart
    nor a new leader counts an attempt's end twice. An end that was written by a process which died before its next
    scrape is in no counter; status and events have it.
    """

    def __init__(self, counts_from: float) -> None:
        self.counts_from = counts_from
        self._lock = threading.Lock()
        self._known: dict[Key, _Known] = {}

    def record(self, key: Key, status: RolloutStatus, now: float, workloads: Mapping[str, str] = NONE) -> None:
        """A rollout's status after a turn at `now` (seconds since 1970), and the workloads of its slots by name of slot."""
        with self._lock:
            known = self._known.get(key)
            if known is None:
                known = self._known[key] = _Known(status, now, workloads)
            else:
                _count_unknown(known, now)
                known.retreats += _new_retreats(known.status, status)
            for attempt in status.attempts:
                if attempt.ended_at >= self.counts_from:
                    _count_end(known, attempt)
            known.counted &= {i for a in status.attempts for i in (a.id, f"{a.id}/off")}
            known.status, known.at, known.workloads = status, now, workloads

    def drifted(self, key: Key) -> None:
        """Somebody else moved the route's weights."""
        with self._lock:
            if key in self._known:
                self._known[key].drifts += 1

    def forget(self, key: Key) -> None:
        """The rollout is gone, and its series with it."""
        with self._lock:
            self._known.pop(key, None)

    def phases(self) -> dict[Key, Phase]:
        """Every known rollout's phase."""
        with self._lock:
            return {key: known.status.phase for key, known in self._known.items()}

    def describe(self) -> Iterable[Metric]:
        """The metrics without samples: registering must not need a scrape."""
        return _families(())

    def collect(self) -> Iterator[Metric]:
        """Every metric, from one moment."""
        with self._lock:
            yield from tuple(_families(sorted(self._known.items(), key=lambda item: item[0])))


def _new_retreats(before: RolloutStatus, status: RolloutStatus) -> int:
    if status.attempt is None:
        return 0
    same = before.attempt is not None and before.attempt.id == status.attempt.id
    return max(status.attempt.retreats - (before.attempt.retreats if same and before.attempt else 0), 0)


def _count_unknown(known: _Known, now: float) -> None:
    gap_s = min(max(0.0, now - known.at), MOST_UNKNOWN_GAP_S)
    for reason in {v.unknown or "unspecified" for v in known.status.verdicts if v.verdict is VerdictKind.UNKNOWN}:
        if known.status.attempt is not None:
            known.unknown_s[reason] += gap_s


def _count_end(known: _Known, attempt: AttemptRecord) -> None:
    if attempt.id not in known.counted:
        known.counted.add(attempt.id)
        known.outcomes[attempt.outcome, attempt.reason.code] += 1
        durations = known.durations.setdefault(attempt.outcome, _Histogram(DURATION_BUCKETS_S))
        durations.observe(max(0.0, attempt.ended_at - attempt.started_at))
    timed = attempt.outcome == "RolledBack" and attempt.traffic_off_at is not None and attempt.last_sample_at is not None
    if timed and f"{attempt.id}/off" not in known.counted:
        known.counted.add(f"{attempt.id}/off")
        assert attempt.traffic_off_at is not None
        assert attempt.last_sample_at is not None
        known.rollback = known.rollback or _Histogram(ROLLBACK_BUCKETS_S)
        known.rollback.observe(max(0.0, attempt.traffic_off_at - attempt.last_sample_at))


Bars = Iterator[tuple[tuple[str, ...], _Histogram]]


def _attempts(known: _Known) -> Samples:
    yield from known.outcomes.items()


def _drift(known: _Known) -> Samples:
    yield (), known.drifts


def _retreats(known: _Known) -> Samples:
    yield (), known.retreats


def _unknown(known: _Known) -> Samples:
    for reason, seconds in known.unknown_s.items():
        yield (reason,), seconds


def _rollback(known: _Known) -> Bars:
    if known.rollback is not None:
        yield (), known.rollback


def _duration(known: _Known) -> Bars:
    for outcome, durations in known.durations.items():
        yield (outcome,), durations


_COUNTERS: tuple[tuple[str, str, list[str], Callable[[_Known], Samples]], ...] = (
    ("rollout_attempts_total", "Attempts that ended", ["outcome", "reason"], _attempts),
    ("rollout_drift_total", "Times the route's weights were not the ones we wrote", [], _drift),
    ("rollout_retreats_total", "Times users were taken out of the way of a canary that was not yet judged", [], _retreats),
    ("rollout_unknown_seconds_total", "Seconds of attempts in which an SLO could not be judged", ["reason"], _unknown),
)
_HISTOGRAMS: tuple[tuple[str, str, list[str], Callable[[_Known], Bars]], ...] = (
    ("rollout_rollback_seconds", "From the last sample used to traffic moved, of rollbacks", [], _rollback),
    ("rollout_duration_seconds", "From an attempt's start to its end", ["outcome"], _duration),
)


def described() -> tuple[Described, ...]:
    """Every metric of the rollouts, for docs/metrics.md."""
    gauges = [Described(g.name, "gauge", g.text, (*WHO, *g.labels)) for g in GAUGES]
    counters = [Described(name, "counter", text, (*WHO, *labels)) for name, text, labels, _ in _COUNTERS]
    histograms = [Described(name, "histogram", text, (*WHO, *labels)) for name, text, labels, _ in _HISTOGRAMS]
    return (*gauges, *counters, *histograms)


def _families(rollouts: Sequence[tuple[Key, _Known]]) -> Iterator[Metric]:
    """All metrics of all rollouts, in a fixed order."""
    shown = [(pairs(WHO, (key.namespace, key.name)), known) for key, known in rollouts]
    for name, text, more, show in GAUGES:
        gauge = Series(name, text, "gauge", more)
        for who, known in shown:
            for values, value in show(known):
                gauge.add(who, values, value)
        yield gauge
    for name, text, labels, read in _COUNTERS:
        counter = Series(name.removesuffix("_total"), text, "counter", labels)
        for who, known in shown:
            for values, value in read(known):
                counter.add(who, values, value)
        yield counter
    for name, text, labels, read_bars in _HISTOGRAMS:
        histogram = Series(name, text, "histogram", labels)
        for who, known in shown:
            for values, bars in read_bars(known):
                histogram.add_bars(who, values, bars.buckets(), bars.sum)
        yield histogram
