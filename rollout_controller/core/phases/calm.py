"""When an attempt with traffic is calm, and what its next windows may be so that they can wait."""

from __future__ import annotations

from rollout_controller.api.evidence import JudgeState, SloEvidence
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Attempt, Phase, RolloutStatus, VerdictKind
from rollout_controller.core.calm import Calm, Quiet
from rollout_controller.core.judge.routing import least_share
from rollout_controller.core.judge.terms import SloTerms, terms_of
from rollout_controller.core.phases.steps import current_step
from rollout_controller.core.turn import Turn

_EARLY_S = 0.002
"""Joined windows that are so much shorter than they must be may be long enough: times are whole milliseconds."""


def calm(turn: Turn, status: RolloutStatus) -> Calm | None:
    """What may wait after a turn that left `status`; None: everything new is looked at at once."""
    attempt, judge, policy = status.attempt, status.judge, turn.policy
    if attempt is None or judge is None or policy is None or not _is_calm(policy, status, attempt, judge, turn.now):
        return None
    slos = {}
    for terms in terms_of(policy):
        memory = judge.slos.get(terms.name)
        if memory is None or (memory.step, memory.entry) != (attempt.step, attempt.retreats):
            return None  # what is pending is of another weight, and judged with the first window of this one
        if memory.window_end is None or memory.unusable_since is not None:
            return None
        slos[terms.name] = _quiet(policy, terms, memory, memory.window_end, attempt.weight)
    return Calm(attempt.slot, slos, {guard.name: guard.above for guard in policy.guards})


def _is_calm(policy: PolicySpec, status: RolloutStatus, attempt: Attempt, judge: JudgeState, now: float) -> bool:
    """Whether only data could make something happen, and nothing that was seen is out of the ordinary.

    From the end of `minHold` on nothing waits: any window may be the one that takes the version forward.
    """
    started = attempt.step_started_at
    if started is None or status.phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return False
    lasted = now - started + attempt.held_before
    if status.phase is Phase.PROGRESSING and lasted >= policy.min_hold(current_step(policy, attempt.weight)):
        return False
    if attempt.go_next or attempt.go_full or attempt.unknown_since is not None or attempt.lost_since is not None:
        return False
    if judge.harm is not None or judge.lane.fired is not None:
        return False
    seen = all(verdict.verdict is not VerdictKind.UNKNOWN for verdict in status.verdicts)
    return seen and all(guard.state == "fine" for guard in status.guards)


def _quiet(policy: PolicySpec, terms: SloTerms, memory: SloEvidence, judged_to: float, weight: int) -> Quiet:
    """Which windows of an SLO can wait.

    The lane's evidence cannot grow with a window whose bad share is within its bound: its likelihood ratios of a larger share
    are at most 1 there, alone and beside stable (b (ln x - x + 1) <= 0). In the same way the absolute question, the only one
    where stable is not compared with, gains nothing from windows within the objective, if what is pending is within it, too.
    """
    pending = memory.pending
    missing = terms.joined - (pending.seconds if pending is not None else 0.0)
    watched = policy.retreat != "off" and policy.judge.rule == "evidence"
    fine = pending is None or pending.canary.bad <= terms.objective * pending.canary.total
    alone = terms.ratio is None and terms.failures is None and fine
    return Quiet(
        judged_to=judged_to,
        whole_at=judged_to + missing - _EARLY_S,
        alarming=terms.lane_bound if watched else 1.0,
        harmless=min(terms.objective, terms.lane_bound) if alone else -1.0,
        least=least_share(weight) if terms.hanging else 0.0,
    )
