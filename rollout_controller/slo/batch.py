"""One batch: the queries that bring one source's windows up to date, chunk by chunk, each chunk failing alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from rollout_controller.core.observation import Unknown
from rollout_controller.slo import queries
from rollout_controller.slo.decode import PodValue, Row, Tally, gauges, identities, pods, tally
from rollout_controller.slo.prometheus import Answer
from rollout_controller.slo.sources import CountSource, GaugeSource, Identity

STEPS: Final = 120
"""Windows that one range query brings; more are asked for in pieces, so that each piece is kept."""


class PrometheusApi(Protocol):
    """What is asked of a Prometheus."""

    def instant(self, query: str, at_s: float, timeout_s: float | None = None) -> Answer | Unknown: ...

    def range(
        self, query: str, start_s: float, end_s: float, step_s: float, timeout_s: float | None = None
    ) -> Answer | Unknown: ...


@dataclass(frozen=True)
class CountBatch:
    """Windows `first` to `last` of a counting source, for some identities; `new` are those whose past is not known yet."""

    source: CountSource
    kind: str
    identities: frozenset[Identity]
    new: frozenset[Identity]
    edges_ms: frozenset[float]
    first: int
    last: int

    @property
    def late(self) -> bool:
        return self.first < self.last


@dataclass(frozen=True)
class GaugeBatch:
    """A gauge at the end of window `at`."""

    source: GaugeSource
    identities: frozenset[Identity]
    at: int
    kind: str = "gauge"
    late: bool = False


@dataclass
class Fetched:
    """What a batch brought. `read`: the windows by identity that were read, whether or not anything was in them."""

    source: str = ""
    problem: Unknown | None = None
    read: dict[Identity, tuple[int, int]] = field(default_factory=dict)
    tallies: dict[tuple[Identity, int], Tally] = field(default_factory=dict)
    seen: set[Identity] = field(default_factory=set)
    gauges: dict[Identity, PodValue] = field(default_factory=dict)
    queries: int = 0
    infos: int = 0


def unheard(_source: str, _seconds: float, _failure: str | None) -> None:
    """For who does not measure."""


class _FaultError(Exception):
    def __init__(self, problem: Unknown) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


class Batch:
    """Asks for batches. Holds no state but the connection and the grid."""

    def __init__(
        self,
        prometheus: PrometheusApi,
        window_s: float,
        *,
        chunk: int = queries.CHUNK,
        on_query: Callable[[str, float, str | None], None] = unheard,
    ) -> None:
        self._prometheus, self._window_s, self._chunk, self._on_query = prometheus, window_s, chunk, on_query
        self._window_ms = round(window_s * 1000)
        if self._window_ms <= 0 or abs(self._window_ms - window_s * 1000) > 1e-6:
            raise ValueError(f"a window of {window_s} s: whole milliseconds, more than 0")

    def fetch(self, batch: CountBatch | GaugeBatch, deadline: float) -> Fetched:
        """All chunks of a batch; `deadline` is on the monotonic clock. The first problem met is told, the rest still tried."""
        fetched = Fetched(source=batch.source.name)
        if isinstance(batch, GaugeBatch):
            self._attempt(fetched, batch, partial(self._gauges, batch, fetched, deadline))
            return fetched
        for chunk in queries.chunks(batch.identities, self._chunk):
            self._attempt(fetched, batch, partial(self._counts, batch, chunk, fetched, deadline))
        return fetched

    @staticmethod
    def _attempt(fetched: Fetched, batch: CountBatch | GaugeBatch, work: Callable[[], None]) -> None:
        try:
            work()
        except _FaultError as fault:
            problem = fault.problem
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # A row of another shape (a native histogram, null for a number): one odd sample must not end the process.
            problem = Unknown("server-error", f"Prometheus answered with samples that cannot be read ({error!r:.80})")
        else:
            return
        told = f"{problem.sentence} (source {batch.source.name}, {batch.kind}, {len(batch.identities)} slots)"
        fetched.problem = fetched.problem or Unknown(problem.code, told)

    def _counts(self, batch: CountBatch, chunk: list[Identity], fetched: Fetched, deadline: float) -> None:
        wanted = frozenset(chunk)
        new = sorted(wanted & batch.new)
        if new:
            metric, histogram = self._metric(batch)
            query = queries.seen(batch.source, metric, new, histogram=histogram)
            rows = self._ask(query, batch.first - 1, batch.first - 1, fetched, deadline, instant=True)
            fetched.seen |= identities(rows, batch.source.labels)
        for first in range(batch.first, batch.last + 1, STEPS):
            last = min(first + STEPS - 1, batch.last)
            fetched.tallies.update(self._windows(batch, wanted, (first, last), fetched, deadline))
            for identity in chunk:
                fetched.read[identity] = (batch.first, last)

    def _windows(
        self, batch: CountBatch, wanted: frozenset[Identity], span: tuple[int, int], fetched: Fetched, deadline: float
    ) -> dict[tuple[Identity, int], Tally]:
        """Counts of a span of windows; the few that the short query leaves open are read again in full."""
        found = self._tallies(batch, wanted, span, fetched, deadline, again=False)
        doubtful = {place for place, entry in found.items() if entry.open}
        if doubtful:
            few = frozenset(identity for identity, _ in doubtful)
            narrow = (min(k for _, k in doubtful), max(k for _, k in doubtful))
            better = self._tallies(batch, few, narrow, fetched, deadline, again=True)
            found.update({place: better.get(place, Tally()) for place in doubtful})
        return found

    def _tallies(
        self,
        batch: CountBatch,
        wanted: frozenset[Identity],
        span: tuple[int, int],
        fetched: Fetched,
        deadline: float,
        *,
        again: bool,
    ) -> dict[tuple[Identity, int], Tally]:
        source, ordered = batch.source, sorted(wanted)
        if batch.kind == "latency":
            metric, by = self._metric(batch)[0], "le"
            query = queries.latency_counts(source, metric, batch.edges_ms, ordered, self._window_ms, again=again)
        else:
            assert source.errors is not None
            by = source.errors.label
            query = queries.error_counts(source, source.errors, ordered, self._window_ms, again=again)
        rows = self._ask(query, *span, fetched, deadline)
        return tally(rows, source.labels, by, wanted, self._number)

    def _gauges(self, batch: GaugeBatch, fetched: Fetched, deadline: float) -> None:
        if not batch.identities:
            return
        query = queries.gauge_values(batch.source, sorted(batch.identities))
        rows = self._ask(query, batch.at, batch.at, fetched, deadline)
        fetched.gauges = gauges(pods(rows, batch.source), batch.source, batch.identities, batch.at * self._window_s)

    def _number(self, at: float) -> int:
        return round(at * 1000) // self._window_ms

    @staticmethod
    def _metric(batch: CountBatch) -> tuple[str, bool]:
        """The metric, and whether it is a histogram's."""
        if batch.kind == "latency":
            assert batch.source.latency is not None
            return batch.source.latency.metric, True
        assert batch.source.errors is not None
        return batch.source.errors.metric, False

    def _ask(
        self, query: str, first: int, last: int, fetched: Fetched, deadline: float, *, instant: bool = False
    ) -> Sequence[Row]:
        left = deadline - time.monotonic()
        if left <= 0:
            raise _FaultError(Unknown("no-answer", "Prometheus was too slow: no time was left to ask for this"))
        fetched.queries += 1
        began = time.monotonic()
        start, end = first * self._window_s, last * self._window_s
        if first == last or instant:
            answer = self._prometheus.instant(query, end, left)
        else:
            answer = self._prometheus.range(query, start, end, self._window_s, left)
        failure = answer.code if isinstance(answer, Unknown) else None
        self._on_query(fetched.source, time.monotonic() - began, failure)
        if isinstance(answer, Unknown):
            raise _FaultError(answer)
        fetched.infos += len(answer.infos)
        return answer.rows
