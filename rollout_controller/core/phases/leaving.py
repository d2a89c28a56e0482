"""The two short phases at an attempt's end: traffic seen off the canary, or all of it seen on the new version."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Outcome
from rollout_controller.core.drift import abort, find, meet
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import Unknown
from rollout_controller.core.phases.endings import at, record, refuse_command
from rollout_controller.core.phases.steps import GIVE_UP_S
from rollout_controller.core.states import Event
from rollout_controller.core.turn import RESTING_LOOK_S, Decision, Turn

OFF: dict[Outcome, Event] = {
    "RolledBack": Event.TRAFFIC_OFF,
    "Aborted": Event.TRAFFIC_OFF_ABORTED,
    "Superseded": Event.TRAFFIC_OFF_SUPERSEDED,
}
"""Which event ends a rollback, by how the attempt ends."""

LONGEST_S = 15.0
"""A route that cannot be read is tried again after ever longer waits, at most this many seconds: its return wakes us anyway."""


def roll_back(turn: Turn) -> Decision:
    """One turn of RollingBack: move the weights until they are seen moved, then write the end down."""
    turn = refuse_command(turn, "it is being rolled back")
    attempt = turn.attempt
    reason = turn.status.reason or explain.reason(Code.ROLLED_BACK, "rolled back")
    if turn.route_is(turn.status):
        outcome = attempt.ending or "RolledBack"
        status = record(turn, turn.go(OFF[outcome]), outcome, reason)
        look = turn.now if outcome == "Superseded" else turn.now + RESTING_LOOK_S
        told = turn.tell(reason, warning=outcome != "Superseded", quiet=True)  # the one who began may have died before telling
        return Decision(status, reason, look, tells=(told,))
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
    done = record(turn, turn.go(Event.PROMOTED), "Promoted", reason)
    status = evolve(done, stable_slot=attempt.slot, stable_version=attempt.version, stable_loss=None)
    return Decision(status, reason, turn.now, tells=(turn.tell(reason),))


def _move_or_give_up(turn: Turn, *, forward: bool) -> Decision:
    """Repeat the patch; a route that cannot be read for too long is for a person."""
    route, attempt, now = turn.seen.route, turn.attempt, turn.now
    reason = turn.status.reason or explain.reason(Code.SHIFTING, "moving traffic")
    since = attempt.stuck_since if attempt.stuck_since is not None else now
    unusable = route.sentence if isinstance(route, Unknown) else route.lacks
    if unusable and now - since >= GIVE_UP_S:
        why = "" if reason.code == Code.STUCK else f". It was wanted because: {reason.sentence}"
        stuck = explain.stuck(now - since, f"{unusable}{why}")
        status = record(turn, turn.go(Event.BLOCKED), "Failed", stuck)
        return Decision(status, stuck, now + RESTING_LOOK_S, tells=(turn.tell(stuck, warning=True),))
    turn = at(turn, evolve(turn.status, attempt=evolve(attempt, stuck_since=since)))
    look_again = now + (min(max(1.0, (now - since) / 10), LONGEST_S) if unusable else 1.0)
    decision = Decision(turn.status, reason, look_again, move=turn.set_weights(turn.status, reason), back=not forward)
    drift = find(turn)
    if drift is None:
        return decision
    if forward and turn.policy is not None and turn.policy.drift.then == "Abort":
        return abort(turn, drift)
    met = meet(turn, drift, "written again", repaired=drift.mendable)
    return replace(decision, status=met.turn.status, tells=met.tells, drift=met.reason)
