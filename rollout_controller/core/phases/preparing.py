"""Bring the version up in the idle slot; no traffic moves before it is there, ready, warm, and enough for the first step."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api import images
from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Attempt, Phase, Reason
from rollout_controller.core import capacity
from rollout_controller.core.drift import Drift, abort, find, meet
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain import pods
from rollout_controller.core.judge.before import stable_misses
from rollout_controller.core.observation import SliReading, SlotState, Unknown, WorkloadState
from rollout_controller.core.phases.endings import (
    adopted_request,
    at,
    echoed,
    interrupted,
    new_command,
    record,
    refuse_command,
)
from rollout_controller.core.phases.steps import first_step
from rollout_controller.core.phases.traffic import FIRST_WINDOWS_S
from rollout_controller.core.plan import Deed, LoadVersion, SetImage, WarmUp
from rollout_controller.core.states import Event
from rollout_controller.core.turn import ACTIVE_LOOK_S, Decision, Turn


def prepare(turn: Turn) -> Decision:
    """One turn of Preparing."""
    if (decision := interrupted(turn)) is not None:
        return decision
    turn = at(turn, adopted_request(turn))
    if (drift := find(turn)) is not None and drift.mendable:
        return _put_back(turn, drift)
    attempt = turn.attempt
    state = turn.seen.slots.get(attempt.slot, SlotState())
    if (failure := _failure(turn, state)) is not None:
        return _fail(turn, explain.load_failed(attempt.version, attempt.slot, failure))
    doing, does = _next_deed(turn, attempt, state)
    if doing is None and turn.policy is not None:
        return _start(turn, turn.policy)
    turn = refuse_command(turn, "the canary has no traffic yet")
    deadline = attempt.started_at + turn.rollout.spec.deploy.timeout
    reason = explain.preparing(attempt.version, attempt.slot, doing or turn.policy_problem)
    if turn.now >= deadline:
        after = turn.rollout.spec.deploy.timeout
        return _fail(turn, explain.load_timeout(attempt.version, attempt.slot, after, doing) if doing is not None else reason)
    decision = Decision(turn.status, reason, min(turn.now + ACTIVE_LOOK_S, deadline), does=does)
    if drift is None:
        return decision
    met = meet(turn, drift, "", repaired=False)
    return replace(decision, status=met.turn.status, tells=met.tells, drift=met.reason)


def _put_back(turn: Turn, drift: Drift) -> Decision:
    """Somebody gave the idle slot traffic. Never load into a slot that has some: first the weights are put back."""
    turn = refuse_command(turn, "the canary has no traffic yet")
    if turn.policy is not None and turn.policy.drift.then == "Abort":
        return abort(turn, drift)
    met = meet(turn, drift, "restored before anything is loaded", repaired=True)
    status = met.turn.status
    reason = explain.preparing(turn.attempt.version, turn.attempt.slot, drift.found)
    move = turn.set_weights(status, reason)
    return Decision(status, reason, turn.now, move=move, back=True, tells=met.tells, drift=met.reason)


def _start(turn: Turn, policy: PolicySpec) -> Decision:
    """The version is ready and warm: shift traffic, unless stable itself is in trouble. A person may say `promote`."""
    attempt, now = turn.attempt, turn.now
    command = new_command(turn)
    if command is not None and command[0] == "promote":
        decision = first_step(turn)
        return replace(decision, status=echoed(decision.status, *command, decision.reason.sentence))
    turn = refuse_command(turn, "the canary has no traffic yet")
    since = attempt.stuck_since if attempt.stuck_since is not None else now
    waiting = at(turn, evolve(turn.status, attempt=evolve(attempt, stuck_since=since)))
    unread = any(_not_read(turn.seen.windows.get(slo.name)) for slo in policy.slos)
    if unread and now - since < FIRST_WINDOWS_S:
        reason = explain.preparing(attempt.version, attempt.slot, "it is ready; a first look at stable's own figures is awaited")
        return Decision(waiting.status, reason, now + 1.0)
    misses = None if _way_back(turn) else stable_misses(policy, turn.seen.windows)
    if misses is None:
        return first_step(turn)
    timeout = turn.rollout.spec.deploy.timeout
    if now - since >= timeout:
        return _fail(turn, explain.stable_missed(attempt.version, misses, now - since))
    reason = explain.stable_misses(misses, since + timeout, turn.rollout.metadata.name)
    tell = turn.tell(reason, warning=True, again=True)
    return Decision(waiting.status, reason, min(now + ACTIVE_LOOK_S, since + timeout), tells=(tell,))


def _way_back(turn: Turn) -> bool:
    """The version was stable before: with a stable that is in trouble, this is how one leaves it."""
    promoted = (record for record in turn.status.attempts if record.outcome == "Promoted")
    return any(turn.attempt.version in {record.version, record.from_version} for record in promoted)


def _not_read(reading: SliReading | None) -> bool:
    """A source that was asked and does not answer was read: it is no reason to wait, and no sign of harm."""
    return reading is None or (reading.problem is not None and reading.problem.code == "not-read-yet")


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
    if route.lacks:
        return route.lacks, ()
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
