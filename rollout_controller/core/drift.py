"""Whether somebody else had a hand on the route, and what is said about it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Phase, Reason
from rollout_controller.core import fights
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import RouteState, Unknown
from rollout_controller.core.phases.endings import at, leave
from rollout_controller.core.plan import Tell
from rollout_controller.core.states import ON_TRAFFIC, RESTING
from rollout_controller.core.turn import Decision, Turn


@dataclass(frozen=True)
class Drift:
    """The route is not as we wrote it.

    `found` says what it is, for a sentence. `mendable`: writing our weights puts it right; otherwise a person must.
    """

    found: str
    mendable: bool = True


def find(turn: Turn) -> Drift | None:
    """What somebody else changed; None when the route is as we wrote it, our own write is under way, or it cannot be read
    for a reason that is nobody's hand on it.
    """
    route = turn.seen.route
    if isinstance(route, Unknown):
        if route.code in {"not-read-yet", "refused"} or turn.status.stable_slot is None:
            return None
        return Drift(route.sentence, mendable=route.code == "weights")
    if route.lacks:
        return Drift(route.lacks, mendable=False)
    if turn.status.stable_slot is None:
        return None
    if not turn.route_is(turn.status):
        return None if _unfinished(turn, route) else Drift(explain.says(route.weights))
    fault = _mark_fault(turn, route)
    return Drift(fault) if fault else None


def _unfinished(turn: Turn, route: RouteState) -> bool:
    """Whether the weights differ because our own write did not get there yet: the controller died before it, or it failed."""
    mark, phase, attempt = route.mark, turn.status.phase, turn.status.attempt
    if attempt is None:
        return False
    if phase is Phase.ROLLING_BACK:
        return mark is None or (mark.attempt, mark.phase) != (attempt.id, Phase.ROLLING_BACK)
    seen_before = attempt.step_started_at is not None
    return phase in ON_TRAFFIC and not seen_before and not _is_ours(turn, route)


def _is_ours(turn: Turn, route: RouteState) -> bool:
    mark, attempt = route.mark, turn.status.attempt
    if mark is None or attempt is None:
        return False
    return (mark.attempt, mark.step, mark.weight) == (attempt.id, attempt.step, attempt.weight)


def _mark_fault(turn: Turn, route: RouteState) -> str | None:
    """What is wrong with our annotation on a route that has the right weights."""
    status, mark = turn.status, route.mark
    if status.phase in ON_TRAFFIC and status.attempt is not None:
        if status.attempt.step_started_at is None or _is_ours(turn, route):
            return None
    elif status.phase not in RESTING:
        return None
    elif mark is None:
        if not any(record.first_traffic_at is not None for record in status.attempts):
            return None
    elif turn.desired(status).get(mark.slot) == mark.weight:
        return None
    return explain.mark_gone() if mark is None else explain.mark_changed()


@dataclass(frozen=True)
class Met:
    """A drift as it was met in a turn: `turn` remembers it, `reason` says it, `tells` is empty when it is no news."""

    turn: Turn
    reason: Reason
    tells: tuple[Tell, ...]


def meet(turn: Turn, drift: Drift, then: str, *, repaired: bool) -> Met:
    """Take a drift in. `then` says in words what becomes of it, `repaired` whether this turn puts it right."""
    state, news = fights.note(turn.status.drift, drift.found, turn.now, repaired=repaired)
    turn = at(turn, evolve(turn.status, drift=state))
    reason = explain.drift(drift.found, turn.desired(turn.status), then) if drift.mendable else explain.route_problem(drift.found)
    said = fights.repeats(state, turn.now) or reason
    about = "" if said.code == Code.DRIFT_REPEATS else drift.found
    return Met(turn, said, (turn.tell(said, warning=True, about=about, again=True, drift=True),) if news else ())


def abort(turn: Turn, drift: Drift) -> Decision:
    """The policy says that a drift ends the attempt."""
    reason = explain.drift_abort(drift.found, turn.desired(turn.status))
    state, _ = fights.note(turn.status.drift, drift.found, turn.now, repaired=False)
    turn = at(turn, evolve(turn.status, drift=state))
    decision = leave(turn, "Aborted", reason)
    return replace(decision, tells=tuple(replace(tell, drift=True) for tell in decision.tells), drift=reason)
