"""The two short phases at an attempt's end: traffic seen off the canary, or all of it seen on the new version."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Outcome
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import Unknown
from rollout_controller.core.phases.endings import record, refuse_command
from rollout_controller.core.phases.steps import GIVE_UP_S
from rollout_controller.core.states import Event
from rollout_controller.core.turn import RESTING_LOOK_S, Decision, Turn

OFF: dict[Outcome, Event] = {
    "RolledBack": Event.TRAFFIC_OFF,
    "Aborted": Event.TRAFFIC_OFF_ABORTED,
    "Superseded": Event.TRAFFIC_OFF_SUPERSEDED,
}
"""Which event ends a rollback, by how the attempt ends."""


def roll_back(turn: Turn) -> Decision:
    """One turn of RollingBack: move the weights until they are seen moved, then write the end down."""
    turn = refuse_command(turn, "it is being rolled back")
    attempt = turn.attempt
    reason = turn.status.reason or explain.reason("RolledBack", "rolled back")
    if turn.route_is(turn.status):
        outcome = attempt.ending or "RolledBack"
        status = record(turn, turn.go(OFF[outcome]), outcome, reason)
        look = turn.now if outcome == "Superseded" else turn.now + RESTING_LOOK_S
        return Decision(status, reason, look)
    return _move_or_give_up(turn, forward=False)


def promote(turn: Turn) -> Decision:
    """One turn of Promoting: the slots swap roles once all traffic is seen on the new version."""
    turn = refuse_command(turn, "it is being promoted")
    attempt = turn.attempt
    if not turn.route_is(turn.status):
        return _move_or_give_up(turn, forward=True)
    weights = [step.weight for step in attempt.steps_done]
    unproven = [step.weight for step in attempt.steps_done if step.unproven]
    reason = explain.promoted(attempt.version, attempt.slot, weights, unproven)
    status = evolve(record(turn, turn.go(Event.PROMOTED), "Promoted", reason), stable_slot=attempt.slot)
    return Decision(status, reason, turn.now, tells=(turn.tell(reason),))


def _move_or_give_up(turn: Turn, *, forward: bool) -> Decision:
    """Repeat the patch; a route that cannot be read for too long is for a person."""
    route, attempt, now = turn.seen.route, turn.attempt, turn.now
    reason = turn.status.reason or explain.reason("Shifting", "moving traffic")
    since = attempt.stuck_since or now
    if isinstance(route, Unknown) and now - since >= GIVE_UP_S:
        stuck = explain.stuck(now - since, f"{route.sentence}. It was wanted because: {reason.sentence}")
        status = record(turn, turn.go(Event.BLOCKED), "Failed", stuck)
        return Decision(status, stuck, now + RESTING_LOOK_S, tells=(turn.tell(stuck, warning=True),))
    status = evolve(turn.status, attempt=evolve(attempt, stuck_since=since))
    move = turn.set_weights(status, reason)
    return Decision(status, reason, now + 1.0, move=move, back=not forward)
