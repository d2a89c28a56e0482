"""Take users out of the way on sudden strong harm, and judge the version later: the lane has said so (core/judge/lane.py)."""

from __future__ import annotations

from rollout_controller.api.evidence import Alarm, Lane
from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import Retreat
from rollout_controller.api.status import Phase, Reason
from rollout_controller.core.explain import retreat as explain
from rollout_controller.core.judge.lane import MOST_RETREATS, STRIKE_S
from rollout_controller.core.observation import RouteState
from rollout_controller.core.phases.endings import at, leave
from rollout_controller.core.states import Event
from rollout_controller.core.turn import Decision, Turn

BY_DEFAULT = Retreat()


def due(turn: Turn) -> Decision | None:
    """The retreat, or at the last strike the rollback; None while users may stay."""
    policy, judge, attempt = turn.policy, turn.status.judge, turn.attempt
    if policy is None or judge is None or turn.status.phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return None
    rule, lane = policy.retreat, judge.lane
    if not isinstance(rule, Retreat) or lane.fired is None or lane.entry != attempt.retreats or attempt.weight == 0:
        return None
    strikes = attempt.strikes + 1 if attempt.retreats and _at_once(lane, lane.fired) else 1
    what = explain.what_happened(lane.fired, next(slo for slo in policy.slos if slo.name == lane.fired.slo))
    if strikes >= rule.strikes:
        return leave(turn, "RolledBack", explain.struck_out(what, strikes))
    reason = explain.retreat(what, attempt.weight, turn.now + rule.cool_down, strikes, rule.strikes)
    return _go_back(turn, reason, rule, strikes)


def from_empty_slot(turn: Turn, what: str) -> Decision | None:
    """The retreat from a slot that nobody serves on, or at the last strike the rollback; None: the policy has no retreat."""
    policy, attempt = turn.policy, turn.attempt
    if policy is None or not isinstance(policy.retreat, Retreat) or attempt.retreats >= MOST_RETREATS:
        return None
    rule, came = policy.retreat, attempt.step_started_at
    strikes = attempt.strikes + 1 if attempt.retreats and (came is None or turn.now - came <= STRIKE_S) else 1
    if strikes >= rule.strikes:
        return leave(turn, "RolledBack", explain.struck_out(what, strikes))
    reason = explain.retreat(what, attempt.weight, turn.now + rule.cool_down, strikes, rule.strikes)
    return _go_back(turn, reason, rule, strikes)


def begun(turn: Turn) -> Decision | None:
    """The route's mark says that users were taken out of the way: a controller that died after moving traffic said so."""
    route, attempt = turn.seen.route, turn.attempt
    if not isinstance(route, RouteState) or route.mark is None:
        return None
    mark = route.mark
    if mark.attempt != attempt.id or mark.phase != Phase.RETREATED or mark.retreats != attempt.retreats + 1:
        return None
    if turn.status.phase not in (Phase.PROGRESSING, Phase.PAUSED) or attempt.weight == 0:
        return None
    rule = turn.policy.retreat if turn.policy is not None and isinstance(turn.policy.retreat, Retreat) else BY_DEFAULT
    return _go_back(turn, Reason(code=mark.code, sentence=mark.sentence), rule, mark.strikes)


def _at_once(lane: Lane, alarm: Alarm) -> bool:
    """Whether the harm was there again as soon as the users were."""
    return lane.entered_at is not None and alarm.at - lane.entered_at <= max(alarm.seconds, STRIKE_S)


def _go_back(turn: Turn, reason: Reason, rule: Retreat, strikes: int) -> Decision:
    """Traffic off the canary, first of all; the step's clock stops."""
    attempt, now = turn.attempt, turn.now
    held = now - attempt.step_started_at if attempt.step_started_at is not None else 0.0
    away = evolve(
        attempt,
        weight=0,
        back_to=attempt.weight,
        returns_at=now + rule.cool_down,
        retreats=attempt.retreats + 1,
        strikes=strikes,
        left_at=now,
        held_before=round(attempt.held_before + held, 3),
        step_started_at=None,
        unknown_since=None,
        stuck_since=None,
        lost_since=None,
    )
    status = turn.go(Event.RETREAT, attempt=away)
    tell = turn.tell(reason, warning=True, about=str(away.retreats), news=True)
    return Decision(status, reason, now, move=turn.set_weights(status, reason), back=True, tells=(tell,))


def come_back(turn: Turn) -> Decision:
    """The same weight again, without a new grace; the status is written before the traffic moves."""
    attempt = turn.attempt
    weight = attempt.back_to or 0
    back = evolve(attempt, weight=weight, back_to=None, returns_at=None, weight_set_at=turn.now, step_started_at=None)
    event = Event.RETURN if attempt.paused_at is None else Event.RETURN_PAUSED
    status = turn.go(event, attempt=evolve(back, unknown_since=None, stuck_since=None))
    reason = explain.returned(weight, attempt.retreats)
    tell = at(turn, status).tell(reason, about=str(attempt.retreats), news=True)
    return Decision(status, reason, turn.now, move=turn.set_weights(status, reason), tells=(tell,))
