"""Bring the version up in the idle slot; no traffic moves before it is there, ready, warm, and enough for the first step."""

from __future__ import annotations

from rollout_controller.api import images
from rollout_controller.api.status import Attempt, Phase, Reason
from rollout_controller.core import capacity
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain import pods
from rollout_controller.core.observation import SlotState, Unknown, WorkloadState
from rollout_controller.core.phases.endings import adopted_request, at, interrupted, record, refuse_command
from rollout_controller.core.phases.steps import first_step
from rollout_controller.core.plan import Deed, LoadVersion, SetImage, WarmUp
from rollout_controller.core.states import Event
from rollout_controller.core.turn import ACTIVE_LOOK_S, Decision, Turn


def prepare(turn: Turn) -> Decision:
    """One turn of Preparing."""
    if (decision := interrupted(turn)) is not None:
        return decision
    turn = refuse_command(at(turn, adopted_request(turn)), "the canary has no traffic yet")
    attempt = turn.attempt
    state = turn.seen.slots.get(attempt.slot, SlotState())
    if (failure := _failure(turn, state)) is not None:
        return _fail(turn, explain.load_failed(attempt.version, attempt.slot, failure))
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


def _failure(turn: Turn, state: SlotState) -> str | None:
    """Why the version cannot be brought up, if that is known. What is older than the attempt is about an earlier one."""
    attempt, template = turn.attempt, turn.rollout.spec.deploy.image
    if template is not None and not images.is_image(images.image_of(template, attempt.version)):
        return pods.no_image(attempt.version, images.image_of(template, attempt.version))
    fresh = state.failed_at is None or state.failed_at >= attempt.started_at
    return state.failed if state.failed_version == attempt.version and fresh else None


def _next_deed(turn: Turn, attempt: Attempt, state: SlotState) -> tuple[str | None, tuple[Deed, ...]]:
    """What is being waited for, in words, and what to do about it; None when the slot is ready for traffic."""
    route = turn.seen.route
    if isinstance(route, Unknown):
        return route.sentence, ()
    if not turn.route_is(turn.status):
        return f"the route says {explain.shares(route.weights)}", ()
    if (other := _other_version(turn, attempt, state)) is not None:
        return other
    lacking = capacity.missing(turn, turn.policy.steps[0].weight if turn.policy else 1)
    if lacking is not None:
        return lacking, ()
    if turn.rollout.spec.deploy.model_repository is not None:
        return _through_triton(attempt, state)
    if state.problem is not None:
        return state.problem.sentence, ()
    return None if state.ready else "waiting for the slot to be ready", ()


def _other_version(turn: Turn, attempt: Attempt, state: SlotState) -> tuple[str, tuple[Deed, ...]] | None:
    """What to do about a slot that is seen to stand for another version, where Triton is not asked for it."""
    deploy = turn.rollout.spec.deploy
    if deploy.model_repository is not None or state.problem is not None or state.version == attempt.version:
        return None
    if deploy.image is not None:
        return f"setting the image; it is that of {explain.named(state.version)}", (SetImage(attempt.slot, attempt.version),)
    if state.version is not None:
        return f"waiting for CI to bring it up; the slot runs version {state.version}", ()
    return None


def _through_triton(attempt: Attempt, state: SlotState) -> tuple[str | None, tuple[Deed, ...]]:
    """Loads and warm-ups through Triton's repository API."""
    if isinstance(state.workload, WorkloadState) and state.workload.replicas > 1:
        return pods.one_triton(state.workload), ()
    if state.version != attempt.version or not state.ready:
        if state.loading == attempt.version:
            return "Triton is loading it", ()
        seen = state.problem.sentence if state.problem else f"the slot runs {state.version or 'no version'}"
        return seen, (LoadVersion(attempt.slot, attempt.version),)
    if state.warmed != attempt.version:
        return "waiting for the answer to a warm-up request", (WarmUp(attempt.slot, attempt.version),)
    return None, ()


def _fail(turn: Turn, reason: Reason) -> Decision:
    """The version cannot be brought up: the attempt ends, and no traffic was moved."""
    status = record(turn, turn.go(Event.LOAD_FAILED), "Failed", reason)
    assert status.phase is Phase.STALLED
    return Decision(status, reason, turn.now, tells=(turn.tell(reason, warning=True),))
