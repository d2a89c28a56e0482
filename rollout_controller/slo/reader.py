"""The SLI reader: one batch of queries per source and window for all rollouts together, kept in memory.

`read` is the only thing in slo/ that touches the network. It asks for windows that end on a global grid (k times W), each
once, `lag_s` after its end. The lag must be longer than a scrape takes until its samples can be queried: a sample is
stamped with the scrape's start, so one that is ingested after its window was read would be the baseline of the next
window and its growth be lost. Windows that were missed are read together by one range query (the same expression at
the same times: the same counts).
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from rollout_controller.api.meta import Key
from rollout_controller.core.observation import GaugeReading, SliReading, Unknown, Window
from rollout_controller.slo.batch import Batch, CountBatch, Fetched, GaugeBatch, PrometheusApi, unheard
from rollout_controller.slo.decode import ABSENT, BAD, NO_BASELINE, PodValue, counter
from rollout_controller.slo.sources import CountSource, GaugeSource, Identity, Sources
from rollout_controller.slo.wants import Question, Want
from rollout_controller.slo.windows import NEVER, Ring, missing_for, newest_fault, pair, with_edges

PATIENCE: Final = 3
"""Windows without data until that is a problem."""
NEWCOMERS: Final = 5
"""How often in a window those are read that came between two windows: together, so that 1,000 new rollouts are no 1,000 reads."""
_EPS = 1e-6


@dataclass
class SourceStats:
    """What reading one source cost and how it went, since the start."""

    queries: int = 0
    seconds: float = 0.0
    windows: int = 0
    no_baseline: int = 0
    bad_data: int = 0
    infos: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    last_success: float | None = None


@dataclass
class _Track:
    """One identity and question, and the rollouts that want it."""

    ring: Ring
    users: set[Key] = field(default_factory=set)


@dataclass
class _Gauge:
    users: set[Key] = field(default_factory=set)
    latest: PodValue | None = None
    read_to: int = -NEVER


_TrackKey = tuple[Question, Identity]
_Place = tuple[str, str, bool]
"""Source, kind, and whether it is about windows that were missed: what fails and is tried again by itself."""


def _places(want: Want) -> list[_TrackKey]:
    """All that a want needs to be read."""
    return [(question, identity) for question in (want.question, *want.beside) for identity in want.identities.values()]


def _place(batch: CountBatch | GaugeBatch) -> _Place:
    return batch.source.name, batch.kind, batch.late


class SliReader:
    """Keeps the newest windows and gauges of all wanted identities. Thread-safe; `read` is called by one thread."""

    def __init__(
        self,
        prometheus: PrometheusApi,
        sources: Sources,
        *,
        window_s: float = 10.0,
        lag_s: float = 2.0,
        budget_s: float = 8.0,
        memory_s: float = 900.0,
        backfill_s: float = 600.0,
        clock: Callable[[], float] = time.time,
        on_query: Callable[[str, float, str | None], None] = unheard,
    ) -> None:
        """`on_query` hears of each query: the source, how many seconds it took, and a code of `Unknown` where it failed."""
        if not 0 < backfill_s <= memory_s:
            raise ValueError("0 < backfill_s <= memory_s")
        self.window_s, self.lag_s = window_s, lag_s
        self._sources, self._clock, self._budget_s = sources, clock, budget_s
        self._batch = Batch(prometheus, window_s, on_query=on_query)
        self._size = math.ceil(memory_s / window_s)
        self._backfill = math.floor(backfill_s / window_s)
        self._lock = threading.Lock()
        self._wants: dict[Key, dict[str, Want]] = {}
        self._tracks: dict[_TrackKey, _Track] = {}
        self._gauges: dict[_TrackKey, _Gauge] = {}
        self._faults: dict[_Place, Unknown] = {}
        self._retry: dict[_Place, tuple[int, float]] = {}
        self._all_read_to: int | None = None
        """All that is wanted was read up to this window; None: not known."""
        self._asked: dict[_Place, tuple[int, float]] = {}
        """Up to which window was last asked, and when."""
        self._latest = -NEVER
        """The newest window that was due at the last look."""
        self._stats: dict[str, SourceStats] = {}

    # what is wanted

    def want(self, key: Key, wants: Sequence[Want], since: float | None = None) -> None:
        """Keep what this rollout wants fresh, from the windows after `since` on (None: from now on). Cheap when repeated."""
        named = {want.name: want for want in wants}
        with self._lock:
            if self._wants.get(key) == named:
                return
            self._drop(key)
            self._all_read_to = None
            self._wants[key] = named
            now = math.floor(self._clock() / self.window_s + _EPS)
            start = now if since is None else min(max(math.ceil(since / self.window_s - _EPS), now - self._backfill), now)
            for want in wants:
                for question, identity in _places(want):
                    self._use(key, question, identity, start)

    def _use(self, key: Key, question: Question, identity: Identity, start: int) -> None:
        place = (question, identity)
        if question.kind == "gauge":
            self._gauges.setdefault(place, _Gauge()).users.add(key)
            return
        track = self._tracks.setdefault(place, _Track(Ring(self._size, start)))
        track.users.add(key)
        if start + 1 < track.ring.first:
            track.ring.rewind(start)

    def forget(self, key: Key) -> None:
        """This rollout wants nothing any more."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: Key) -> None:
        for want in self._wants.pop(key, {}).values():
            for place in _places(want):
                holder = self._gauges.get(place) or self._tracks.get(place)
                if holder is not None:
                    holder.users.discard(key)
                    if not holder.users:
                        self._gauges.pop(place, None)
                        self._tracks.pop(place, None)

    # reading

    def _horizon(self, now: float) -> int:
        """The newest window that may be read: it ended at least `lag_s` ago."""
        return math.floor((now - self.lag_s) / self.window_s + _EPS)

    def read(self, now: float) -> None:
        """Read what is due, within about `budget_s`. Never raises for what Prometheus does; what was not read stays due."""
        due, deadline = self._horizon(now), time.monotonic() + self._budget_s
        for batch in self._due(due, now):
            began = time.monotonic()
            fetched = self._batch.fetch(batch, deadline)
            self._take(batch, fetched, now, time.monotonic() - began)

    def _due(self, due: int, now: float) -> list[CountBatch | GaugeBatch]:
        """One batch for each source and kind that is behind, the longest unread first; those that failed wait a little."""
        with self._lock:
            self._keep_time(due)
            if self._all_read_to == due:
                return []
            rings: dict[tuple[str, str], dict[_TrackKey, Ring]] = {}
            for place, track in self._tracks.items():
                if track.ring.read_to < due:
                    rings.setdefault((place[0].source, place[0].kind), {})[place] = track.ring
            gauges: dict[str, list[tuple[Identity, int]]] = {}
            for (question, identity), gauge in self._gauges.items():
                if gauge.read_to < due:
                    gauges.setdefault(question.source, []).append((identity, gauge.read_to))
            found: list[tuple[int, CountBatch | GaugeBatch]] = []
            for (name, kind), mine in rings.items():
                found += [(b.first, b) for b in self._count_batches(name, kind, mine, due)]
            for name, members in gauges.items():
                source = self._sources[name]
                assert isinstance(source, GaugeSource)
                found.append((min(k for _, k in members) + 1, GaugeBatch(source, frozenset(i for i, _ in members), due)))
            if not found:
                self._all_read_to = due
        ready = [(k, b) for k, b in found if self._may_ask(_place(b), due, now)]
        return [batch for _, batch in sorted(ready, key=lambda item: (item[1].late, item[0]))]

    def _keep_time(self, due: int) -> None:
        """Where the clock was set back, what was read of the time that is still to come is read again when it has come."""
        if due < self._latest - PATIENCE:
            self._all_read_to = None
            self._retry.clear()
            for track in self._tracks.values():
                if track.ring.read_to > due:
                    track.ring.rewind(min(max(track.ring.first - 1, due - self._backfill), due))
            for gauge in self._gauges.values():
                gauge.read_to = min(gauge.read_to, due - 1)
        self._latest = due

    def _may_ask(self, place: _Place, due: int, now: float) -> bool:
        """Not while it must wait after a failure, and not for newcomers that come one by one."""
        if place in self._retry:
            return self._retry[place][1] <= now
        asked_to, asked_at = self._asked.get(place, (-NEVER, 0.0))
        return asked_to < due or not 0 <= now - asked_at < self.window_s / NEWCOMERS

    def _count_batches(self, name: str, kind: str, rings: Mapping[_TrackKey, Ring], due: int) -> Iterable[CountBatch]:
        """Those that miss one window, and - together, from the oldest on - those that miss more."""
        source = self._sources[name]
        assert isinstance(source, CountSource)
        floor = due - self._backfill
        behind = {place: max(ring.read_to, floor) for place, ring in rings.items()}
        for late in (False, True):
            members = [place for place, k in behind.items() if (k < due - 1) == late]
            if members:
                yield CountBatch(
                    source,
                    kind,
                    frozenset(identity for _, identity in members),
                    frozenset(place[1] for place in members if rings[place].seen_from is None),
                    frozenset(question.edge_ms for question, _ in members if question.kind == "latency"),
                    min(behind[place] for place in members) + 1,
                    due,
                )

    def _take(self, batch: CountBatch | GaugeBatch, fetched: Fetched, now: float, seconds: float) -> None:
        place = _place(batch)
        with self._lock:
            self._asked[place] = (batch.at if isinstance(batch, GaugeBatch) else batch.last, now)
            stats = self._stats.setdefault(batch.source.name, SourceStats())
            stats.queries += fetched.queries
            stats.infos += fetched.infos
            stats.seconds += seconds
            if isinstance(batch, GaugeBatch):
                self._take_gauges(batch, fetched)
            else:
                self._take_counts(batch, fetched, stats)
            if fetched.problem is None:
                self._faults.pop(place, None)
                self._retry.pop(place, None)
                stats.last_success = now
                return
            before = self._faults.get(place)
            since = before.since if before is not None else now
            self._faults[place] = replace(fetched.problem, since=since)
            stats.failures[fetched.problem.code] += 1
            tries = self._retry.get(place, (0, 0.0))[0]
            self._retry[place] = (tries + 1, now + min(0.5 * 2**tries, max(self.window_s, 2.0), 10.0))

    def _take_gauges(self, batch: GaugeBatch, fetched: Fetched) -> None:
        if fetched.problem is not None:
            return
        for (question, identity), gauge in self._gauges.items():
            if question.source == batch.source.name and identity in batch.identities:
                gauge.latest = fetched.gauges.get(identity)
                gauge.read_to = batch.at

    def _take_counts(self, batch: CountBatch, fetched: Fetched, stats: SourceStats) -> None:
        counters: dict[Question, Callable[..., tuple[int, int]]] = {}
        for place, track in self._tracks.items():
            question, identity = place
            if (question.source, question.kind) != (batch.source.name, batch.kind) or identity not in fetched.read:
                continue
            ring, (first, last) = track.ring, fetched.read[identity]
            if not self._was_asked(question, identity, ring, batch):
                continue
            if question not in counters:
                counters[question] = counter(batch.source, question)
            if ring.seen_from is None:
                ring.seen_from = first - 1 if identity in fetched.seen else NEVER
            for k in range(first, last + 1):
                found = counters[question](fetched.tallies.get((identity, k)))
                if k > ring.read_to:
                    ring.put(k, found)
                    stats.windows += 1
                    stats.no_baseline += found[0] == NO_BASELINE
                    stats.bad_data += found[0] == BAD
                elif found[0] != ABSENT:
                    ring.seen_from = min(ring.seen_from, k)

    def _was_asked(self, question: Question, identity: Identity, ring: Ring, batch: CountBatch) -> bool:
        """False where the wants changed while the batch was under way: the next one will have it."""
        if question.edge_ms and question.edge_ms not in batch.edges_ms:
            return False
        if ring.seen_from is None and identity not in batch.new:
            return False
        return ring.read_to + 1 >= batch.first or ring.read_to < batch.last - self._backfill

    # what was read

    def reading(self, key: Key, name: str, canary_slot: str, since: float | None = None, *, edges: bool = True) -> SliReading:
        """The windows of an SLO that begin at or after `since` (None: all in memory), and what keeps newer ones from coming.

        `edges`: with what is slower than the edges beside its own, where it is compared with stable.
        """
        with self._lock:
            want = self._wants.get(key, {}).get(name)
            if want is None or want.question.kind == "gauge":
                return SliReading(problem=Unknown("not-read-yet", f"{name} is not read yet"))
            canary, stable = self._rings(want, want.question, canary_slot)
            after = canary.first - 1 if since is None else math.ceil(since / self.window_s - _EPS)
            windows = pair(canary, stable, self.window_s, after).windows
            if want.beside and edges:
                windows = with_edges(windows, self._beside(want, canary_slot, after))
            problem = self._clock_fault(name, after) or self._problem(want, canary, stable, canary_slot)
            return SliReading(windows=windows, problem=problem)

    def _beside(self, want: Want, canary_slot: str, after: int) -> dict[float, tuple[Window, ...]]:
        """The windows at the edges beside the want's own."""
        found = {}
        for question in want.beside:
            canary, stable = self._rings(want, question, canary_slot)
            found[question.edge_ms] = pair(canary, stable, self.window_s, after).windows
        return found

    def _rings(self, want: Want, question: Question, canary_slot: str) -> tuple[Ring, Ring]:
        canary = stable = want.identities[canary_slot]
        for slot, identity in want.identities.items():
            if slot != canary_slot:
                stable = identity
        return self._tracks[question, canary].ring, self._tracks[question, stable].ring

    def _clock_fault(self, name: str, after: int) -> Unknown | None:
        """Windows count from `after` on: with a clock that was set back nothing counts until that has come again."""
        ahead_s = after * self.window_s - self._clock()
        if ahead_s <= PATIENCE * self.window_s:
            return None
        what = f"the clock was set back: what is judged next comes in {ahead_s:.0f} s"
        return Unknown("no-data", f"{name}: {what}")

    def _problem(self, want: Want, canary: Ring, stable: Ring, canary_slot: str) -> Unknown | None:
        horizon = self._horizon(self._clock())
        read_to = min(canary.read_to, stable.read_to)
        fault = self._fault(want.question)
        if read_to < max(canary.first, stable.first):
            return fault or Unknown("not-read-yet", f"{want.name} is not read yet: the first window ends soon")
        asked = horizon - max(canary.first, stable.first) + 1
        if asked < PATIENCE or missing_for(canary, stable, horizon, PATIENCE) < PATIENCE:
            return None
        missing = missing_for(canary, stable, horizon, self._size)
        since = (horizon - missing) * self.window_s
        if fault is not None and read_to <= horizon - 1:
            return replace(fault, since=since)
        if read_to <= horizon - PATIENCE:
            return Unknown("no-answer", f"{want.name} was not read for {horizon - read_to} windows: the reader is behind", since)
        return self._no_counts(want, newest_fault(canary, stable), canary_slot, since)

    def _fault(self, question: Question) -> Unknown | None:
        return self._faults.get((question.source, question.kind, False)) or self._faults.get(
            (question.source, question.kind, True)
        )

    def _no_counts(self, want: Want, fault: int, canary_slot: str, since: float) -> Unknown:
        source = self._sources[want.question.source]
        who = ", ".join(f"{k}={v!r}" for k, v in zip(source.labels, want.identities[canary_slot], strict=False))
        if fault == BAD:
            sentence = f"{want.name}: the counters of {who} are no counts (NaN, negative, fractions, or more bad than all)"
            if want.question.kind == "latency":
                sentence += f", or have no bucket {want.question.edge_ms:.10g}ms"
            return Unknown("bad-data", sentence, since)
        if fault == NO_BASELINE:
            return Unknown(
                "no-data", f"{want.name}: where the counters of {who} began is not known; counting from the next window", since
            )
        return Unknown("no-data", f"{want.name}: Prometheus answers, but has no samples of {who} (source {source.name})", since)

    def gauge(self, key: Key, name: str, canary_slot: str) -> GaugeReading | Unknown:
        """The newest values of a guard's gauge; Unknown when the canary's is not there or older than its source allows."""
        with self._lock:
            want = self._wants.get(key, {}).get(name)
            if want is None or want.question.kind != "gauge":
                return Unknown("not-read-yet", f"{name} is not read yet")
            source = self._sources[want.question.source]
            assert isinstance(source, GaugeSource)
            now, fault = self._clock(), self._fault(want.question)
            canary = self._gauges[want.question, want.identities[canary_slot]]
            other = next(self._gauges[want.question, i].latest for slot, i in want.identities.items() if slot != canary_slot)
            if canary.read_to == -NEVER:
                return fault or Unknown("not-read-yet", f"{name} is not read yet")
            if fault is not None and canary.read_to <= self._horizon(now) - PATIENCE:
                return fault
            if canary.latest is None or now - canary.latest.at > source.stale_after:
                workload = want.identities[canary_slot][-2]
                since = canary.latest.at if canary.latest else None
                sentence = (
                    f"{name}: no sample of {source.metric} for the pods of {workload!r} in the last {source.stale_after:g} s"
                )
                return Unknown("no-data", sentence, since)
            fresh = other is not None and now - other.at <= source.stale_after
            return GaugeReading(canary=canary.latest.value, stable=other.value if other and fresh else None, at=canary.latest.at)

    def stats(self) -> dict[str, SourceStats]:
        """By source name; the caller's own copies."""
        with self._lock:
            return {name: replace(stats, failures=Counter(stats.failures)) for name, stats in self._stats.items()}
