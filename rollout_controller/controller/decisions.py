"""The log of decisions: one line each, with all that links it to status, event, message and annotation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import structlog

from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.core.plan import Plan, Tell, WriteStatus

_log = structlog.get_logger("rollouts")


def context(rollout: TritonRollout, plan: Plan) -> AbstractContextManager[None]:
    """While a plan is carried out each log line says what it is about. A plan without actions has none."""
    if not plan.actions:
        return nullcontext()
    return structlog.contextvars.bound_contextvars(**_facts(rollout, plan.status))


def log_unsaid(rollout: TritonRollout, plan: Plan) -> None:
    """Log what was decided where no message of the plan does: `rollout` has the status that the plan's replaces."""
    before, after = rollout.status, plan.status
    if not any(isinstance(action, WriteStatus) for action in plan.actions) or _decided(before) == _decided(after):
        return
    if any(isinstance(action, Tell) and action.code == plan.reason.code and not action.quiet for action in plan.actions):
        return
    _log.info(plan.reason.sentence, code=plan.reason.code)


def _decided(status: RolloutStatus) -> tuple[object, ...]:
    """What makes a decision: the numbers in its sentence move all the time."""
    attempt = status.attempt
    return (status.phase, attempt and attempt.id, attempt and attempt.weight, status.reason and status.reason.code)


def _facts(rollout: TritonRollout, status: RolloutStatus) -> dict[str, Any]:
    """Rollout, phase, and the attempt: the one under way, or the one that ends with this status."""
    metadata = rollout.metadata
    facts: dict[str, Any] = {"rollout": str(metadata.key), "namespace": metadata.namespace, "phase": str(status.phase)}
    attempt, ended = status.attempt, status.attempts[:1]
    if attempt is not None:
        weight = status.slots[attempt.slot].weight.desired if attempt.slot in status.slots else attempt.weight
        return facts | {"attempt": attempt.id, "version": attempt.version, "step": attempt.step, "weight": weight}
    if ended and ended[0].id not in {record.id for record in rollout.status.attempts}:
        weight = 100 if ended[0].outcome == "Promoted" else 0
        return facts | {"attempt": ended[0].id, "version": ended[0].version, "weight": weight}
    return facts
