"""Bring the version up in the idle slot; no traffic moves before it is ready and warm."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Attempt, Phase, Reason
from rollout_controller.core.drift import Drift, abort, find, meet
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.judge.before import stable_misses
from rollout_controller.core.observation import SliReading, SlotState, Unknown
from rollout_controller.core.phases.endings import (
    adopted_request,
    at,
    echoed,
    interrupted,
    new_command,
    record,
    refuse_command,
)
from rollout_controller.core.phases.traffic import FIRST_WINDOWS_S, first_step
from rollout_controller.core.plan import LoadVersion, WarmUp
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
    if state.failed is not None and state.failed_version == attempt.version:
        return _fail(turn, explain.load_failed(attempt.version, attempt.slot, state.failed))
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


def _next_deed(turn: Turn, attempt: Attempt, state: SlotState) -> tuple[str | None, tuple[LoadVersion | WarmUp, ...]]:
    """What is being waited for, in words, and what to do about it; None when the slot is ready for traffic."""
    route = turn.seen.route
    if isinstance(route, Unknown):
        return route.sentence, ()
    if route.lacks:
        return route.lacks, ()
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
