"""What is shown about a rollout, as values: no wording, no layout. Shares are from 0 to 1, times seconds since 1970."""

from __future__ import annotations

from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from rollout_controller.cli import words

Urgency = Literal["person", "watch", "busy", "calm"]
"""Who has to look: a person must act; worth a look; it goes on by itself; nothing is going on."""


ENDINGS = frozenset({("Succeeded", "Promoted"), ("RolledBack", "RolledBack"), ("Aborted", "Aborted"), ("Stalled", "Failed")})
"""Which outcome of an attempt leaves which phase."""


@dataclass(frozen=True)
class SlotInfo:
    """One of the two places a version runs, and its share of the traffic: wanted, and seen on the route."""

    name: str
    version: str | None
    role: str
    wanted_percent: int | None
    seen_percent: int | None
    ready: bool | None
    message: str


@dataclass(frozen=True)
class CheckInfo:
    """What is known about one SLO or guard (`kind` gauge)."""

    name: str
    kind: Literal["errors", "latency", "gauge"]
    state: Literal["fine", "violated", "undecided", "both miss", "unknown", "over"]
    """`both miss`: stable misses the objective as well, so the canary is not blamed."""
    unknown_code: str | None
    value_share: float | None
    low_share: float | None
    high_share: float | None
    limit_share: float
    limit_ms: float | None
    requests: int
    bad: int
    stable_share: float | None
    stable_requests: int
    stable_bad: int
    requests_needed: int | None
    false_alarm_share: float | None
    over_s: float | None
    sentence: str


@dataclass(frozen=True)
class StepInfo:
    """A step of the attempt: behind us, where we are, or to come."""

    weight_percent: int
    state: Literal["done", "now", "to come"]
    took_s: float | None = None
    unproven: bool = False


@dataclass(frozen=True)
class PastInfo:
    """An attempt that is over."""

    number: int
    id: str
    version: str
    from_version: str | None
    request: str | None
    slot: str
    outcome: str
    code: str
    sentence: str
    started_at: float | None
    ended_at: float | None
    took_s: float
    on_traffic_s: float | None
    ended_ago_s: float
    steps: tuple[StepInfo, ...]
    weight_percent: int
    requests: int
    bad: int
    traffic_off_s: float | None
    """From the end of the last sample that was used to the route seen without the canary."""

    @property
    def unproven(self) -> bool:
        return any(step.unproven for step in self.steps)


@dataclass(frozen=True)
class AttemptInfo:
    """The attempt that is going on, or the last one while the status still has it."""

    number: int
    id: str
    version: str
    request: str | None
    slot: str
    started_at: float | None
    elapsed_s: float
    weight_percent: int
    step: int
    """From 1; 0 while preparing."""
    steps: tuple[StepInfo, ...]
    requests_per_s: float | None
    """Of the canary, in this step; None before there are any."""
    paused_s: float | None
    blind_s: float | None
    stuck_s: float | None


@dataclass(frozen=True)
class AskInfo:
    """What the annotations ask for, and whether the controller has taken it up."""

    version: str | None
    request: str | None
    command: str | None
    taken_up: bool
    command_taken_up: bool
    command_result: str | None
    command_done: bool


@dataclass(frozen=True)
class Info:
    """Everything that is shown about one rollout at one moment."""

    namespace: str
    name: str
    phase: str
    urgency: Urgency
    code: str
    sentence: str
    refused: str
    """What the cluster refuses, in one sentence, while it does; empty: nothing."""
    ask: AskInfo
    attempt: AttemptInfo | None
    stable_slot: str | None
    stable_version: str | None
    slots: tuple[SlotInfo, ...]
    checks: tuple[CheckInfo, ...]
    late_s: float | None
    """Since when nothing was heard of a controller, where one should have written; None while all is well."""
    deadline_at: float | None
    """When the present hold ends at the latest."""
    deadline_s: float | None
    deadline_then: str | None
    """What then: Advance, Pause, Rollback, Resume or GiveUp."""
    drifted: bool
    history: tuple[PastInfo, ...]

    @property
    def last(self) -> PastInfo | None:
        """The newest attempt that is over."""
        return self.history[0] if self.history else None

    @property
    def result(self) -> PastInfo | None:
        """The attempt that ended in the present phase; None during an attempt, and where the phase has another cause."""
        matches = self.last is not None and (self.phase, self.last.outcome) in ENDINGS and self.code == self.last.code
        return self.last if matches else None


def facts(value: Any) -> Any:
    """Plain JSON data: the field names carry the units, times (`_at`) are RFC 3339, absent values are null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: words.instant(v) if f.name.endswith("_at") and v is not None else facts(v)
            for f in fields(value)
            for v in (getattr(value, f.name),)
        }
    if isinstance(value, tuple):
        return [facts(item) for item in value]
    return value
