"""Users are on stable for a while: keep them there until the cool-down is over; a verdict or a person may end the attempt."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import Retreat
from rollout_controller.api.status import RolloutStatus
from rollout_controller.core.explain import retreat as explain
from rollout_controller.core.explain.numbers import clock
from rollout_controller.core.phases.endings import at, refuse_command
from rollout_controller.core.phases.retreat import BY_DEFAULT, come_back
from rollout_controller.core.phases.traffic import watch
from rollout_controller.core.turn import TRAFFIC_LOOK_S, Decision, Turn


def wait(turn: Turn) -> Decision:
    """One turn of Retreated."""
    turn, decision = watch(turn)
    if decision is not None:
        return decision
    turn = at(turn, _in_time(turn))
    attempt = turn.attempt
    returns_at = attempt.returns_at if attempt.returns_at is not None else turn.now
    turn = refuse_command(turn, f"users are back on stable until {clock(returns_at)}; abort ends the attempt")
    if turn.now >= returns_at and turn.policy is not None:
        return come_back(turn)
    reason = turn.status.reason or explain.still_away(attempt.back_to or 0, returns_at)
    return Decision(turn.status, reason, min(turn.now + TRAFFIC_LOOK_S, max(returns_at, turn.now + 1.0)))


def _in_time(turn: Turn) -> RolloutStatus:
    """The status; where the clock was set back since, with a return that is no further away than a cool-down."""
    attempt, rule = turn.attempt, turn.policy.retreat if turn.policy is not None else None
    latest = turn.now + (rule if isinstance(rule, Retreat) else BY_DEFAULT).cool_down
    if attempt.returns_at is None or attempt.returns_at <= latest:
        return turn.status
    return evolve(turn.status, attempt=evolve(attempt, returns_at=latest))
