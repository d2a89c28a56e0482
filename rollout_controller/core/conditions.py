"""Kubernetes conditions by the kstatus rules, as data: one row a phase, and two of our own beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rollout_controller.api.status import Condition, Phase, Reason, RolloutStatus
from rollout_controller.core import fights
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import BLOCKS
from rollout_controller.core.observation import RouteState, Unknown
from rollout_controller.core.states import RESTING

Status = Literal["True", "False", "Unknown"]
Row = tuple[Status, Status, Status]

BY_PHASE: dict[Phase, Row] = {
    Phase.IDLE: ("True", "False", "False"),
    Phase.PREPARING: ("Unknown", "True", "False"),
    Phase.PROGRESSING: ("Unknown", "True", "False"),
    Phase.RETREATED: ("Unknown", "True", "False"),
    Phase.PAUSED: ("Unknown", "True", "False"),
    Phase.PROMOTING: ("Unknown", "True", "False"),
    Phase.SUCCEEDED: ("True", "False", "False"),
    Phase.ROLLING_BACK: ("False", "True", "False"),
    Phase.ROLLED_BACK: ("False", "False", "True"),
    Phase.ABORTED: ("False", "False", "True"),
    Phase.STALLED: ("False", "False", "True"),
}
"""(Ready, Reconciling, Stalled) of each phase.

A rolled-back version is Ready=False and Stalled=True: what was asked for is not served, and only a person changes that.
"""

BLOCKED: Row = ("False", "False", "True")
"""The row of any phase at rest while something that only a person can mend is in the way."""

TYPES = ("Ready", "Reconciling", "Stalled")
ACCEPTED = "Accepted"
"""Whether everything that people wrote (spec, policy, version) can be used; False also in an attempt that goes on without it."""
ROUTE_IN_SYNC = "RouteInSync"
"""Whether the VirtualService says what we wrote."""


FINE = explain.accepted()


@dataclass(frozen=True)
class Finding:
    """What a turn found: why the phase is as it is, what a person wrote wrongly, and how the route stands."""

    reason: Reason
    refused: Reason | None
    policy_read: bool
    drift: Reason | None
    route: RouteState | Unknown
    desired: Mapping[str, int]


def conditions(
    status: RolloutStatus, found: Finding, generation: int, now: float, *, brief: bool = False
) -> tuple[Condition, ...]:
    """The next conditions of `status`; the transition time moves only when a condition's status changes.

    `brief`: phase, reason and generation are those of before, and while our own conditions change in words only, all are kept.
    """
    before = {condition.type: condition for condition in status.conditions}
    beside = _beside(before, status, found, now)
    if brief and all(_says(before.get(name), *said) for name, said in beside.items()):
        return status.conditions
    ours = [_condition(before.get(name), name, said, generation, now) for name, said in beside.items()]
    return (*by_phase(status, found.reason, generation, now), *ours)


def _says(condition: Condition | None, value: Status, reason: Reason) -> bool:
    """The same, but for the words."""
    return condition is not None and condition.status == value and condition.reason == reason.code


def by_phase(
    status: RolloutStatus, reason: Reason, generation: int, now: float, *, like: Phase | None = None
) -> tuple[Condition, ...]:
    """Ready, Reconciling and Stalled. `like`: as if it were in that phase."""
    before = {condition.type: condition for condition in status.conditions}
    row = BLOCKED if status.phase in RESTING and reason.code in BLOCKS else BY_PHASE[like or status.phase]
    return tuple(
        _condition(before.get(name), name, (value, reason), generation, now) for name, value in zip(TYPES, row, strict=True)
    )


def with_phase(
    status: RolloutStatus, reason: Reason, generation: int, now: float, *, like: Phase | None = None
) -> tuple[Condition, ...]:
    """The conditions of `status` with only those three said anew."""
    kept = tuple(condition for condition in status.conditions if condition.type not in TYPES)
    return (*by_phase(status, reason, generation, now, like=like), *kept)


def _beside(
    before: Mapping[str, Condition], status: RolloutStatus, found: Finding, now: float
) -> dict[str, tuple[Status, Reason]]:
    """What is said beside phase and reason."""
    return {
        ACCEPTED: _accepted(before.get(ACCEPTED), found),
        ROUTE_IN_SYNC: _route(before.get(ROUTE_IN_SYNC), status, found, now),
    }


def _accepted(before: Condition | None, found: Finding) -> tuple[Status, Reason]:
    if found.refused is not None:
        return "False", found.refused
    if found.policy_read:
        return "True", FINE
    return _as_before(before) if before is not None else ("Unknown", found.reason)


def _as_before(condition: Condition) -> tuple[Status, Reason]:
    return condition.status, Reason(code=condition.reason, sentence=condition.message)


def _route(before: Condition | None, status: RolloutStatus, found: Finding, now: float) -> tuple[Status, Reason]:
    """How the route stands. While a write of our own is under way it is as it was."""
    if found.drift is not None:
        return "False", found.drift
    if isinstance(found.route, Unknown):
        return "Unknown" if found.route.code == "not-read-yet" else "False", explain.route_problem(found.route.sentence)
    if found.route.lacks:
        return "False", explain.route_problem(found.route.lacks)
    if (repeats := fights.repeats(status.drift, now)) is not None:
        return "False", repeats
    if dict(found.route.weights) == dict(found.desired):
        return "True", explain.in_sync(found.route.weights)
    return _as_before(before) if before is not None else ("Unknown", found.reason)


def _condition(old: Condition | None, name: str, said: tuple[Status, Reason], generation: int, now: float) -> Condition:
    value, reason = said
    same = (value, reason.code, reason.sentence, generation)
    if old is not None and (old.status, old.reason, old.message, old.observed_generation) == same:
        return old
    return Condition(
        type=name,
        status=value,
        reason=reason.code,
        message=reason.sentence,
        last_transition_time=old.last_transition_time if old and old.status == value else now,
        observed_generation=generation,
    )
