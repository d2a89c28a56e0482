"""What is done when a TritonRollout is deleted: there is no finalizer, so it is learnt after the fact, and only while running."""

from __future__ import annotations

from dataclasses import dataclass

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase, Reason, RolloutStatus
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import Observation, RouteState, Unknown
from rollout_controller.core.plan import SetWeights, Tell
from rollout_controller.core.states import RESTING
from rollout_controller.core.turn import Turn


@dataclass(frozen=True)
class Farewell:
    """What is done once: `move` the traffic (None: it stays), and say `said`; or `failed`, when it could not be moved."""

    said: Tell
    move: SetWeights | None = None
    failed: Tell | None = None


def farewell(
    rollout: TritonRollout, policy: PolicySpec | None, status: RolloutStatus, route: RouteState | Unknown, why_not: str
) -> Farewell | None:
    """What is due to a rollout that is gone; None when no attempt was under way.

    Traffic stays as it is unless the policy says Restore. A rollback that had begun is always brought to its end.

    Rollout, policy and status are as the last turn knew them, the route as it is seen now. `why_not` says what kept the
    weights from being written, for the case that they never were.
    """
    attempt = status.attempt
    if status.phase in RESTING or attempt is None or status.stable_slot is None:
        return None
    turn = Turn(rollout, policy, "", Observation(route, {}), 0.0, status)
    restore = status.phase is Phase.ROLLING_BACK or (policy is not None and policy.on_delete == "Restore")
    if not restore:
        weights = route.weights if isinstance(route, RouteState) else None
        return Farewell(_tell(turn, explain.deleted(attempt.number, attempt.version, weights)))
    back = evolve(status, phase=Phase.ROLLING_BACK, attempt=evolve(attempt, ending="Aborted"))
    done = explain.deleted_restored(attempt.number, attempt.version, status.stable_slot)
    failed = explain.deleted_not_restored(attempt.number, attempt.version, status.stable_slot, why_not)
    move = None if turn.route_is(back) else turn.set_weights(back, done)
    return Farewell(_tell(turn, done), move, _tell(turn, failed))


def parting(rollout: TritonRollout, status: RolloutStatus, route: RouteState | Unknown) -> Tell | None:
    """What is said when a rollout was deleted and another of its name stands there already: that one adopts the route."""
    due = farewell(rollout, None, evolve(status, phase=Phase.PREPARING if status.attempt else status.phase), route, "")
    return due.said if due else None


def _tell(turn: Turn, reason: Reason) -> Tell:
    return turn.tell(reason, warning=True)
