"""Answers of Prometheus -> counts by identity and window. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, NamedTuple

from rollout_controller.slo.queries import BASELINE, WHAT
from rollout_controller.slo.sources import CountSource, GaugeSource, Identity
from rollout_controller.slo.wants import Question

ABSENT: Final = -1
"""No sample of any of its series lies in the window."""
BAD: Final = -2
"""NaN, negative, a fraction, or more bad than total."""
NO_BASELINE: Final = -3
"""Counters that nobody knows the start of: the window cannot be counted."""

Row = dict[str, Any]
Pair = tuple[int, int]
"""(total, bad), or one of the codes above in both places."""


@dataclass
class Tally:
    """What one identity's series grew by in one window, by the value of the counter's label (status, or `le`)."""

    grown: dict[str, float] = field(default_factory=dict)
    """Empty: series are there, but where their counting began is not known."""

    @property
    def open(self) -> bool:
        """Whether anything is NaN: the short query's way to say that it takes the full one."""
        return any(map(math.isnan, self.grown.values()))


def samples(row: Row) -> Sequence[tuple[float, float]]:
    """(time, value) of a vector's or a matrix' row."""
    return [(float(at), float(text)) for at, text in (row["values"] if "values" in row else (row["value"],))]


def tally(
    rows: Iterable[Row], labels: Sequence[str], by: str, wanted: frozenset[Identity], index: Callable[[float], int]
) -> dict[tuple[Identity, int], Tally]:
    """Sum up rows by identity and window; `index` numbers windows by their end. Rows nobody asked for are dropped."""
    found: dict[tuple[Identity, int], Tally] = {}
    numbers: dict[float, int] = {}
    for row in rows:
        metric = row["metric"]
        identity = tuple([metric.get(label, "") for label in labels])
        if identity not in wanted:
            continue
        value_of, no_baseline = metric.get(by, ""), metric.get(BASELINE) == "none"
        for at, value in samples(row):
            if (number := numbers.get(at)) is None:
                number = numbers[at] = index(at)
            if (entry := found.get((identity, number))) is None:
                entry = found[identity, number] = Tally()
            if not no_baseline:
                entry.grown[value_of] = entry.grown.get(value_of, 0.0) + value
    return found


def identities(rows: Iterable[Row], labels: Sequence[str]) -> set[Identity]:
    """The identities that an answer to `queries.seen` names."""
    return {tuple(row["metric"].get(label, "") for label in labels) for row in rows}


def counter(source: CountSource, question: Question) -> Callable[[Tally | None], Pair]:
    """How this question's total and bad come out of a tally."""
    if question.kind == "latency":
        return lambda entry: _slow(entry, question.edge_ms)
    assert source.errors is not None
    bad = source.errors.is_bad(question.codes)
    is_bad = lru_cache(maxsize=1000)(lambda value: bad.match(value) is not None)  # a dozen codes, thousands of times
    return lambda entry: _failed(entry, is_bad)


def _failed(entry: Tally | None, is_bad: Callable[[str], bool]) -> Pair:
    if entry is None:
        return ABSENT, ABSENT
    if not entry.grown:
        return NO_BASELINE, NO_BASELINE
    failed = [grown for value, grown in entry.grown.items() if is_bad(value)]
    return _exact(sum(entry.grown.values(), 0.0), sum(failed, 0.0))


def _slow(entry: Tally | None, edge_ms: float) -> Pair:
    if entry is None:
        return ABSENT, ABSENT
    if not entry.grown:
        return NO_BASELINE, NO_BASELINE
    total, fast = 0.0, None
    for le, grown in entry.grown.items():
        edge = float(le or "nan")
        if math.isinf(edge):
            total += grown
        elif edge == edge_ms:
            fast = (fast or 0.0) + grown
    return (BAD, BAD) if fast is None else _exact(total, total - fast)


def _exact(total: float, bad: float) -> Pair:
    if not (math.isfinite(total) and 0 <= bad <= total and total.is_integer() and bad.is_integer()):
        return BAD, BAD
    return int(total), int(bad)


class PodValue(NamedTuple):
    """A gauge of one pod: a share, and when it was scraped."""

    value: float
    at: float


def pods(rows: Iterable[Row], source: GaugeSource) -> dict[Identity, dict[str, PodValue]]:
    """Values by identity labels, then by pod, of the answer to an instant query."""
    labels, label = source.labels, source.pod_label
    parts: dict[str, dict[tuple[Identity, str], float]] = {"value": {}, "at": {}}
    for row in rows:
        metric = row["metric"]
        place = (tuple([metric.get(name, "") for name in labels]), metric.get(label, ""))
        parts.setdefault(metric.get(WHAT, ""), {})[place] = float(row["value"][1])
    found: dict[Identity, dict[str, PodValue]] = {}
    for place, read in parts["value"].items():
        value, at = read * source.scale, parts["at"].get(place, math.nan)
        if math.isfinite(value) and math.isfinite(at):
            found.setdefault(place[0], {})[place[1]] = PodValue(value, at)
    return found


def gauges(
    by_pod: dict[Identity, dict[str, PodValue]], source: GaugeSource, wanted: Iterable[Identity], now: float
) -> dict[Identity, PodValue]:
    """The value of each slot from those of its pods that were scraped lately; a slot without such pods is left out."""
    found: dict[Identity, PodValue] = {}
    prefixes: dict[Identity, dict[str, list[tuple[str, PodValue]]]] = {}
    wanted = list(wanted)
    workloads = {identity[-2] for identity in wanted}
    for identity in wanted:
        *labels, workload, kind = identity
        place = tuple(labels)
        if place not in prefixes:
            prefixes[place] = _by_prefix(by_pod.get(place, {}), workloads)
        named = prefixes[place].get(workload, ())
        mine = [v for pod, v in named if now - v.at <= source.stale_after and source.is_pod(pod, workload, kind)]
        if mine:
            values = [v.value for v in mine]
            value = max(values) if source.aggregate == "max" else sum(values) / len(values)
            found[identity] = PodValue(value, max(v.at for v in mine))
    return found


def _by_prefix(by_pod: dict[str, PodValue], workloads: set[str]) -> dict[str, list[tuple[str, PodValue]]]:
    """Pods by all of `workloads` that theirs could be: the name up to each dash, and the whole name."""
    found: dict[str, list[tuple[str, PodValue]]] = {}
    for pod, value in by_pod.items():
        for head in _heads(pod):
            if head in workloads:
                found.setdefault(head, []).append((pod, value))
    return found


@lru_cache(maxsize=10_000)
def _heads(pod: str) -> tuple[str, ...]:
    """The name up to each dash, and the whole name."""
    parts = pod.split("-")
    return tuple("-".join(parts[:count]) for count in range(1, len(parts) + 1))
