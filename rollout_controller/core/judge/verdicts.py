"""The verdict on one SLO, with all its numbers and its sentence.

`false_alarm` is 1 / max w_m M_m, for the blamed SLO 1 / max M, at most 1. Both are p-values that hold at any time and for all
SLOs together: w_m M_m <= M, and P(max M >= 1/p) <= p when the version meets every objective.
"""

from __future__ import annotations

from math import exp, log

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Verdict, VerdictKind
from rollout_controller.core.explain import verdict as sentences
from rollout_controller.core.judge import health
from rollout_controller.core.judge.interval import interval
from rollout_controller.core.judge.slo import SloJudge
from rollout_controller.core.judge.step import StepView
from rollout_controller.core.observation import Counts, SliReading, Unknown

_SUSPICIOUS = log(3)
"""ln M_m above which nothing is called healthy."""
_NOT_READ = Unknown("not-read-yet", "not read yet")
_UNUSABLE = "the source gave counts that cannot be (negative, more bad than all, or a window that ends before it starts)"


def verdict_on(
    judge: SloJudge, policy: PolicySpec, step: StepView, *, state: JudgeState, reading: SliReading | None, now: float
) -> Verdict:
    """What is known about the SLO of `judge`, whose evidence is already in `state`."""
    problem = _problem(judge, reading)
    if _is_violated(judge, policy, state):
        verdict = _numbers(judge, state, VerdictKind.VIOLATED)
        return _said(verdict, sentences.violated(verdict))
    if problem is not None:
        verdict = _numbers(judge, state, VerdictKind.UNKNOWN, unknown=problem.code)
        return _said(verdict, sentences.unknown(verdict, problem))
    log_beta = log(policy.judge.false_promotion)
    p_tol = health.tolerable(judge.objective, health.BUDGET[judge.slo.kind], step.next_weight)
    seen = _of_this_step(judge, step)
    suspicious = judge.log_e > _SUSPICIOUS
    if not suspicious and health.log_health(seen, p_tol, step.design_effect) >= -log_beta:
        verdict = _numbers(judge, state, VerdictKind.SATISFIED)
        return _said(verdict, sentences.satisfied(verdict, step.next_weight))
    counted = seen if seen.total else judge.canary
    needed = (
        health.requests_needed(seen, counted.bad / counted.total, p_tol, log_beta=log_beta, design_effect=step.design_effect)
        if counted.total
        else None
    )
    verdict = _numbers(judge, state, VerdictKind.UNDECIDED, needed=needed)
    return _said(verdict, _undecided(judge, verdict, now, suspicious=suspicious))


def _numbers(
    judge: SloJudge, state: JudgeState, kind: VerdictKind, *, unknown: str | None = None, needed: int | None = None
) -> Verdict:
    """The verdict before it is said in words."""
    slo, canary, stable = judge.slo, judge.canary, judge.stable
    blamed = state.harm is not None and state.harm.slo == slo.name
    log_p = -state.max_log_e if blamed else -log(judge.weight) - judge.max_log_e
    return Verdict(
        slo=slo.name,
        kind=slo.kind,
        verdict=kind,
        unknown=unknown,
        value=canary.bad / canary.total if canary.total else None,
        interval=interval(canary.total, canary.bad),
        objective=judge.objective,
        limit_ms=round(slo.latency.max * 1000, 6) if slo.latency else None,
        requests=canary.total,
        bad=canary.bad,
        stable_value=stable.bad / stable.total if stable.total else None,
        stable_requests=stable.total,
        stable_bad=stable.bad,
        false_alarm=exp(min(log_p, 0.0)),
        requests_needed=needed,
    )


def _said(verdict: Verdict, sentence: str) -> Verdict:
    return verdict.model_copy(update={"sentence": sentence})


def _is_violated(judge: SloJudge, policy: PolicySpec, state: JudgeState) -> bool:
    """Blamed, or enough evidence by itself; either is not forgotten."""
    if state.harm is None:
        return False
    return state.harm.slo == judge.slo.name or log(judge.weight) + judge.max_log_e >= -log(policy.judge.false_rollback)


def _problem(judge: SloJudge, reading: SliReading | None) -> Unknown | None:
    """Why the SLO cannot be seen now."""
    if reading is None:
        return _NOT_READ
    if reading.problem is None and judge.unusable_since is not None:
        return Unknown("bad-data", _UNUSABLE, judge.unusable_since)
    return reading.problem


def _of_this_step(judge: SloJudge, step: StepView) -> Counts:
    """What counts for health at the present weight; the judge may not have seen a window of it yet."""
    return judge.step_canary if judge.step == step.step and step.step_started_at is not None else Counts(0, 0)


def _undecided(judge: SloJudge, verdict: Verdict, now: float, *, suspicious: bool) -> str:
    stable_share = judge.stable_share_over()
    if stable_share is not None and verdict.value is not None and verdict.value > verdict.objective:
        return sentences.both_miss(verdict, stable_share)
    grace_end = judge.grace_end()
    return sentences.undecided(
        verdict, suspicious=suspicious, judged_from=grace_end if grace_end is not None and now < grace_end else None
    )
