"""Keep the route of an attempt as we want it: finish our own write, and do what the policy says of somebody else's."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Phase, Reason
from rollout_controller.core.drift import Drift, abort, find, meet
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import RouteState, Unknown
from rollout_controller.core.phases.endings import at, leave, refuse_command
from rollout_controller.core.phases.steps import GIVE_UP_S, pause
from rollout_controller.core.turn import TRAFFIC_LOOK_S, Decision, Turn

UNWRITABLE = "the route cannot be written until a person has put it right"


def keep_route(turn: Turn) -> Decision | None:
    """See that the route is as we want it: finish our own write, or handle what somebody else did (drift)."""
    drift = find(turn)
    if drift is not None:
        return _drifted(turn, drift)
    if turn.route_is(turn.status):
        return None
    if isinstance(turn.seen.route, Unknown):  # not read yet: nobody's doing, but it must come to an end, too
        return _wait_for_route(turn, turn.seen.route.sentence)
    reason = explain.shifting(turn.desired(turn.status))
    return Decision(turn.status, reason, turn.now + 1.0, move=turn.set_weights(turn.status, reason))


def _drifted(turn: Turn, drift: Drift) -> Decision:
    """Do what the policy says of a route that somebody else changed."""
    then = turn.policy.drift.then if turn.policy else "Restore"
    if then == "Abort":
        return abort(turn, drift)
    if then == "Pause" and turn.status.phase is not Phase.RETREATED:  # users come first
        return _drift_pauses(turn, drift)
    if not drift.mendable:
        met = meet(turn, drift, "", repaired=False)
        stopped = evolve(met.turn.attempt, step_started_at=None)  # the step's clock begins anew when its weight is seen again
        decision = _wait_for_route(at(met.turn, evolve(met.turn.status, attempt=stopped)), drift.found)
        return replace(decision, tells=(*met.tells, *decision.tells), drift=met.reason)
    met = meet(turn, drift, "restored", repaired=True)
    keep = turn.status.reason or met.reason
    move = turn.set_weights(met.turn.status, keep)
    return Decision(met.turn.status, keep, turn.now, move=move, back=True, tells=met.tells, drift=met.reason)


def _drift_pauses(turn: Turn, drift: Drift) -> Decision:
    """The weights stay as they were set, and a person decides; in a pause there is one already."""
    met = meet(turn, drift, "paused, as the policy says", repaired=False)
    route = turn.seen.route
    weight = route.weights[turn.attempt.slot] if isinstance(route, RouteState) else turn.attempt.weight
    there = at(met.turn, evolve(met.turn.status, attempt=evolve(met.turn.attempt, weight=weight)))
    if turn.status.phase is Phase.PROGRESSING:
        decision = pause(there, met.reason, to_next=False)
    else:
        decision = _still_paused(there, met.reason, mendable=drift.mendable)
    move = turn.set_weights(decision.status, decision.reason) if drift.mendable else decision.move
    return replace(decision, move=move, tells=met.tells or decision.tells, drift=met.reason)


def _still_paused(turn: Turn, reason: Reason, *, mendable: bool) -> Decision:
    """The pause goes on; where the route cannot be written it still ends in its time, and commands get an answer."""
    ends, begun = turn.attempt.pause_ends_at, turn.attempt.paused_at
    if not mendable:
        if ends is not None and turn.now >= ends:
            return leave(turn, "RolledBack", explain.pause_ran_out(turn.now - (begun if begun is not None else turn.now)))
        turn = refuse_command(turn, UNWRITABLE)
    return Decision(turn.status, turn.status.reason or reason, min(turn.now + TRAFFIC_LOOK_S, ends or turn.now + TRAFFIC_LOOK_S))


def _wait_for_route(turn: Turn, why: str) -> Decision:
    """The route cannot be used, and time or a person must put it right: hold, and go back when that takes too long."""
    attempt, now = turn.attempt, turn.now
    since = attempt.stuck_since if attempt.stuck_since is not None else now
    if now - since >= GIVE_UP_S:
        return leave(turn, "RolledBack", explain.stuck(now - since, why))
    turn = refuse_command(at(turn, evolve(turn.status, attempt=evolve(attempt, stuck_since=since))), UNWRITABLE)
    return Decision(turn.status, explain.route_problem(why), min(now + TRAFFIC_LOOK_S, since + GIVE_UP_S))
