"""Everything that was read from outside in one tick, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rollout_controller.api.evidence import Counts, Slower
from rollout_controller.api.meta import Raw
from rollout_controller.core.rounding import rounded

__all__ = [
    "Counts",
    "GaugeReading",
    "Mark",
    "Observation",
    "RouteState",
    "SliReading",
    "SlotState",
    "Slower",
    "Unknown",
    "Window",
    "WorkloadState",
    "counts",
]


@dataclass(frozen=True)
class Unknown:
    """Something that could not be read: a code from a short list, a sentence with what was met, and since when.

    Codes: `no-answer` (refused, timeout), `server-error`, `partial` (warnings, partial response), `no-data` (empty or
    stale), `bad-data` (NaN, negative, bad > total), `not-read-yet`, `not-found`, `invalid`, `refused` (may not be read), and of
    a route `weights` (only our own two weights cannot be used: writing them mends it).
    """

    code: str
    sentence: str
    since: float | None = None


class Window(NamedTuple):
    """Counts of both slots of a rollout in (start, end], seconds since 1970."""

    start: float
    end: float
    canary: Counts
    stable: Counts
    slower: tuple[Slower, ...] = ()
    """For latency that is compared with stable."""

    def to_milliseconds(self) -> Window:
        """The same with whole milliseconds, as status keeps them."""
        start, end = rounded(self.start, 1e3), rounded(self.end, 1e3)
        return self if start == self.start and end == self.end else self._replace(start=start, end=end)


@dataclass(frozen=True)
class SliReading:
    """One SLO's input: the windows since the last judged one, oldest first, and whether the source can be seen now.

    `problem` is set when the newest data is missing for three windows or more; windows may still hold older ones.
    """

    windows: tuple[Window, ...] = ()
    problem: Unknown | None = None


@dataclass(frozen=True)
class GaugeReading:
    """One guard's input: newest values (shares from 0 to 1) of both slots and the time of the canary's sample."""

    canary: float
    stable: float | None
    at: float


@dataclass(frozen=True)
class WorkloadState:
    """The workload behind a slot, as its controller reports it."""

    name: str
    replicas: int
    """Pods asked for."""
    ready: int
    """Pods of the newest template that are available."""
    old: int = 0
    """Pods of an earlier template that are still there."""
    current: bool = True
    """Whether its controller has seen the newest spec; before that the counts are about an earlier one."""
    note: str | None = None
    """Our note of the replicas that we set last."""
    trouble: str = ""
    """What Kubernetes says is in the way, in its own words where it has some."""
    document: Raw = field(default_factory=dict, repr=False)
    """What it was read from."""

    @property
    def settled(self) -> bool:
        """Whether all its pods are of the newest template."""
        return self.current and self.old == 0


@dataclass(frozen=True)
class SlotState:
    """What runs in a slot. `version` None: nothing, or not known; `failed`: the server's own words why a load failed.

    `failed_version` says which version the failure is about, `failed_at` (seconds since 1970) since when, where it is known.
    """

    version: str | None = None
    ready: bool = False
    loading: str | None = None
    failed: str | None = None
    failed_version: str | None = None
    failed_at: float | None = None
    warmed: str | None = None
    """The version whose warm-up request was answered."""
    problem: Unknown | None = None
    workload: WorkloadState | Unknown | None = None
    """None: the slot names no workload."""


@dataclass(frozen=True)
class Mark:
    """Our annotation on the VirtualService: what was last decided for it."""

    attempt: str
    step: int
    weight: int
    phase: str
    slot: str
    code: str = ""
    sentence: str = ""
    ending: str = ""
    """In a rollback: how the attempt ends."""
    retreats: int = 0
    """How often users were taken out of the way in this attempt."""
    strikes: int = 0
    """How often in a row harm was there as soon as the users were."""


@dataclass(frozen=True)
class RouteState:
    """The route as it stands: the document it was read from, percent of traffic by slot, and our mark if readable."""

    document: Raw
    weights: Mapping[str, int]
    mark: Mark | None = None
    lacks: str = ""
    """In words which destination is missing, so that no weights can be written; empty: none."""


@dataclass(frozen=True)
class Observation:
    """Everything from outside, once."""

    route: RouteState | Unknown
    slots: Mapping[str, SlotState]
    windows: Mapping[str, SliReading] = field(default_factory=dict)
    """By SLO name."""
    gauges: Mapping[str, GaugeReading | Unknown] = field(default_factory=dict)
    """By guard name."""


def counts(value: Any) -> Counts:
    """Counts from a pair (total, bad); for tests and stories."""
    total, bad = value
    return Counts(total=total, bad=bad)
