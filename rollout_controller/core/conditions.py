"""Kubernetes conditions by the kstatus rules, as data: one row a phase."""

from __future__ import annotations

from typing import Literal

from rollout_controller.api.status import Condition, Phase, Reason, RolloutStatus

Status = Literal["True", "False", "Unknown"]

BY_PHASE: dict[Phase, tuple[Status, Status, Status]] = {
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

TYPES = ("Ready", "Reconciling", "Stalled")


def conditions(
    status: RolloutStatus, reason: Reason, generation: int, now: float, *, like: Phase | None = None
) -> tuple[Condition, ...]:
    """The next conditions of `status` with this reason; the transition time moves only when a condition's status changes.

    `like`: as if it were in that phase.
    """
    before = {condition.type: condition for condition in status.conditions}
    result = []
    for name, value in zip(TYPES, BY_PHASE[like or status.phase], strict=True):
        old = before.get(name)
        result.append(
            Condition(
                type=name,
                status=value,
                reason=reason.code,
                message=reason.sentence,
                last_transition_time=old.last_transition_time if old and old.status == value else now,
                observed_generation=generation,
            )
        )
    return tuple(result)
