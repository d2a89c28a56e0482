"""`decide`: the only place where a phase, a weight or an outcome is chosen. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase, Reason, RolloutStatus
from rollout_controller.core.capacity import sized
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import Observation, Unknown
from rollout_controller.core.phases.always import after, before, unfit
from rollout_controller.core.phases.calm import calm
from rollout_controller.core.phases.leaving import promote, roll_back
from rollout_controller.core.phases.preparing import prepare
from rollout_controller.core.phases.resting import rest
from rollout_controller.core.phases.retreated import wait
from rollout_controller.core.phases.traffic import hold, progress
from rollout_controller.core.plan import Plan
from rollout_controller.core.turn import Decision, Turn, finish, refresh_due, refresh_s

LEAST_LOOK_S = 0.1
"""Where nothing but a write of the evidence is due, there is no hurry."""

HANDLERS: dict[Phase, Callable[[Turn], Decision]] = {
    Phase.IDLE: rest,
    Phase.SUCCEEDED: rest,
    Phase.ROLLED_BACK: rest,
    Phase.ABORTED: rest,
    Phase.STALLED: rest,
    Phase.PREPARING: prepare,
    Phase.PROGRESSING: progress,
    Phase.PAUSED: hold,
    Phase.RETREATED: wait,
    Phase.PROMOTING: promote,
    Phase.ROLLING_BACK: roll_back,
}


def decide(
    rollout: TritonRollout,
    policy: RolloutPolicy | Unknown,
    seen: Observation,
    now: float,
    status: RolloutStatus | None = None,
    *,
    brief: bool = False,
    spec_problem: Reason | None = None,
    evidence_s: float = 0.0,
    policy_problem: Unknown | None = None,
) -> Plan:
    """What to do now.

    Args:
        rollout: the document as it stands in the store, its status included.
        policy: the policy it names, or why there is none that can be used.
        seen: everything else from outside.
        now: seconds since 1970, to the millisecond.
        status: the status as the last plan left it, when that is newer than the stored one (evidence is written at
            most every 30 s; with more than 300 attempts less often). None: the stored one.
        brief: while nothing is to be done, not even a status to be written, sentences, intervals and conditions stay those
            of `status`: most turns of a controller are of that kind, and nobody reads their words. What is decided is the same.
        spec_problem: why `rollout` still has an older spec than the document: the newer one cannot be used, or not now.
        policy_problem: why `policy` is the last one that could be used: harm is judged by it, and nothing goes forward.
        evidence_s: the status is not written for its evidence alone sooner than this after the last time: where very many
            attempts are under way, their statuses must not be all that the store does.
    """
    unusable = policy if isinstance(policy, Unknown) else policy_problem
    turn = Turn(
        rollout=rollout,
        policy=None if isinstance(policy, Unknown) else policy.spec,
        policy_problem=unusable.sentence if unusable is not None else "",
        seen=seen,
        now=now,
        status=rollout.status if status is None else status,
        refused=spec_problem or _refused(rollout, unusable),
        evidence_s=evidence_s,
    )
    if brief and turn.status.reason is not None and not refresh_due(turn, turn.status):
        plan = _plan(replace(turn, brief=True))
        if not plan.actions:
            return plan
    return _plan(turn)


def _plan(turn: Turn) -> Plan:
    begun = before(turn)
    decision = unfit(begun) or HANDLERS[begun.status.phase](begun)
    plan = finish(turn, sized(begun, after(begun, decision)))
    quiet = calm(turn, plan.status)
    if quiet is None:
        return plan
    written_at = plan.status.judge_written_at
    due = turn.now if written_at is None else written_at + refresh_s(turn)
    return replace(plan, calm=quiet, look_again=min(plan.look_again, max(due, turn.now + LEAST_LOOK_S)))


def _refused(rollout: TritonRollout, policy: Unknown | None) -> Reason | None:
    """What a person wrote that cannot be used, policy first: without it nothing begins, whatever is asked for."""
    if policy is not None and policy.code != "not-read-yet":
        return explain.policy_problem(policy.sentence)
    if rollout.asked_version is None and rollout.asked_text is not None:
        return explain.invalid_version(rollout.asked_text)
    return None
