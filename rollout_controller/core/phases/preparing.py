"""Bring the version up in the idle slot; no traffic moves before it is ready and warm."""

from __future__ import annotations

from rollout_controller.api.status import Attempt, Phase, Reason
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import SlotState, Unknown
from rollout_controller.core.phases.endings import adopted_request, at, interrupted, record, refuse_command
from rollout_controller.core.phases.traffic import first_step
from rollout_controller.core.plan import LoadVersion, WarmUp
from rollout_controller.core.states import Event
from rollout_controller.core.turn import ACTIVE_LOOK_S, Decision, Turn


def prepare(turn: Turn) -> Decision:
    """One turn of Preparing."""
    if (decision := interrupted(turn)) is not None:
        return decision
    turn = refuse_command(at(turn, adopted_request(turn)), "the canary has no traffic yet")
    attempt = turn.attempt
    state = turn.seen.slots.get(attempt.slot, SlotState())
    if state.failed is not None and state.failed_version == attempt.version:
        return _fail(turn, explain.load_failed(attempt.version, attempt.slot, state.failed))
    doing, does = _next_deed(turn, attempt, state)
    deadline = attempt.started_at + turn.rollout.spec.deploy.timeout
    if turn.now >= deadline and doing is not None:
        after = turn.rollout.spec.deploy.timeout
        return _fail(turn, explain.load_timeout(attempt.version, attempt.slot, after, doing))
    if doing is None and turn.policy is not None:
        return first_step(turn)
    reason = explain.preparing(attempt.version, attempt.slot, doing or turn.policy_problem)
    if doing is None and turn.now >= deadline:
        return _fail(turn, reason)
    if isinstance(turn.seen.route, Unknown) or turn.route_is(turn.status):
        return Decision(turn.status, reason, min(turn.now + ACTIVE_LOOK_S, max(deadline, turn.now)), does=does)
    # Never load into a slot that has traffic: first put the weights back.
    return Decision(turn.status, reason, turn.now, move=turn.set_weights(turn.status, reason), back=True)


def _next_deed(turn: Turn, attempt: Attempt, state: SlotState) -> tuple[str | None, tuple[LoadVersion | WarmUp, ...]]:
    """What is being waited for, in words, and what to do about it; None when the slot is ready for traffic."""
    route = turn.seen.route
    if isinstance(route, Unknown):
        return route.sentence, ()
    if not turn.route_is(turn.status):
        return f"the route says {explain.shares(route.weights)}", ()
    if turn.rollout.spec.deploy.model_repository is None:
        return _external(attempt, state), ()
    if state.version != attempt.version or not state.ready:
        if state.loading == attempt.version:
            return "Triton is loading it", ()
        seen = state.problem.sentence if state.problem else f"the slot runs {state.version or 'no version'}"
        return seen, (LoadVersion(attempt.slot, attempt.version),)
    if state.warmed != attempt.version:
        return "waiting for the answer to a warm-up request", (WarmUp(attempt.slot, attempt.version),)
    return None, ()


def _external(attempt: Attempt, state: SlotState) -> str | None:
    if state.problem:
        return state.problem.sentence
    if state.version is not None and state.version != attempt.version:
        return f"waiting for CI to bring it up; the slot runs version {state.version}"
    return None if state.ready else "waiting for the slot to be ready"


def _fail(turn: Turn, reason: Reason) -> Decision:
    """The version cannot be brought up: the attempt ends, and no traffic was moved."""
    status = record(turn, turn.go(Event.LOAD_FAILED), "Failed", reason)
    assert status.phase is Phase.STALLED
    return Decision(status, reason, turn.now, tells=(turn.tell(reason, warning=True),))
