"""The verdict on one SLO, with all its numbers and its sentence.

`false_alarm` is 1 / max w_m M_m, for the blamed SLO 1 / max M, at most 1. Both are p-values that hold at any time and for all
SLOs together: w_m M_m <= M, and P(max M >= 1/p) <= p when the version meets every objective.
"""

from __future__ import annotations

from math import exp, log

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Verdict, VerdictKind
from rollout_controller.core.explain import verdict as sentences
from rollout_controller.core.judge import health, routing
from rollout_controller.core.judge.interval import interval
from rollout_controller.core.judge.slo import SloJudge
from rollout_controller.core.judge.step import StepView
from rollout_controller.core.observation import Counts, SliReading, Unknown

_SUSPICIOUS = log(3)
"""ln M_m above which nothing is called healthy."""
_NOT_READ = Unknown("not-read-yet", "not read yet")
_UNUSABLE = "the source gave counts that cannot be (negative, more bad than all, or a window that ends before it starts)"


def verdict_on(
    judge: SloJudge,
    policy: PolicySpec,
    step: StepView,
    *,
    state: JudgeState,
    reading: SliReading | None,
    now: float,
    said: Verdict | None = None,
) -> Verdict:
    """What is known about the SLO of `judge`, whose evidence is already in `state`. `said`: whose words are kept."""
    problem = _problem(judge, reading) or (routing.problem(judge.routing, step) if judge.terms.hanging else None)
    if _is_violated(judge, policy, state):
        verdict = _numbers(judge, state, VerdictKind.VIOLATED, said=said)
        return verdict if said else evolve(verdict, sentence=_violated(judge, policy, verdict))
    if problem is not None:
        verdict = _numbers(judge, state, VerdictKind.UNKNOWN, unknown=problem.code, said=said)
        return verdict if said else evolve(verdict, sentence=sentences.unknown(verdict, problem))
    if judge.terms.failures is not None:
        return _by_threshold(judge, step, state, said=said)
    effect = judge.health_effect(step)
    log_beta = log(policy.judge.false_promotion)
    p_tol = health.tolerable(judge.terms.objective, health.BUDGET[judge.terms.kind], step.next_weight)
    seen = _of_this_step(judge, step)
    suspicious = judge.log_e > _SUSPICIOUS
    if not suspicious and health.proves(seen, p_tol, log_beta=log_beta, design_effect=effect):
        verdict = _numbers(judge, state, VerdictKind.SATISFIED, said=said)
        return verdict if said else evolve(verdict, sentence=sentences.satisfied(verdict, step.next_weight))
    verdict = _numbers(judge, state, VerdictKind.UNDECIDED, said=said)
    if said:
        return verdict
    counted = seen if seen.total else judge.canary
    if counted.total:
        share = counted.bad / counted.total
        needed = health.requests_needed(seen, share, p_tol, log_beta=log_beta, design_effect=effect)
        verdict = evolve(verdict, requests_needed=needed)
    return evolve(verdict, sentence=_undecided(judge, verdict, now, suspicious=suspicious))


def _by_threshold(judge: SloJudge, step: StepView, state: JudgeState, *, said: Verdict | None) -> Verdict:
    """With the rule threshold: satisfied while the last window of this step was within the objective."""
    fine = judge.fine and judge.step == step.step and step.step_started_at is not None
    verdict = _numbers(judge, state, VerdictKind.SATISFIED if fine else VerdictKind.UNDECIDED, said=said)
    if said:
        return verdict
    words = sentences.satisfied(verdict, step.next_weight) if fine else sentences.so_far(verdict, judge.failures)
    return evolve(verdict, sentence=words)


def _numbers(
    judge: SloJudge, state: JudgeState, kind: VerdictKind, *, unknown: str | None = None, said: Verdict | None = None
) -> Verdict:
    """The verdict before it is said in words; with those of `said` where there is one."""
    terms, canary, stable = judge.terms, judge.canary, judge.stable
    blamed = state.harm is not None and state.harm.slo == terms.name
    log_p = -state.max_log_e if blamed else -judge.max_log_part
    verdict = said or Verdict(
        slo=terms.name,
        kind=terms.kind,
        verdict=kind,
        objective=terms.objective,
        interval=interval(canary.total, canary.bad),
        limit_ms=terms.limit_ms,
    )
    return evolve(
        verdict,
        verdict=kind,
        unknown=unknown,
        value=canary.bad / canary.total if canary.total else None,
        requests=canary.total,
        bad=canary.bad,
        stable_value=stable.bad / stable.total if stable.total else None,
        stable_requests=stable.total,
        stable_bad=stable.bad,
        false_alarm=exp(min(log_p, 0.0)),
    )


def _is_violated(judge: SloJudge, policy: PolicySpec, state: JudgeState) -> bool:
    """Blamed, or enough evidence by itself; either is not forgotten."""
    if state.harm is None:
        return False
    return state.harm.slo == judge.terms.name or judge.over or judge.max_log_part >= -log(policy.judge.false_rollback)


def _violated(judge: SloJudge, policy: PolicySpec, verdict: Verdict) -> str:
    """What was measured where the evidence comes from."""
    if judge.terms.failures is not None:
        return sentences.over(verdict, judge.terms.failures, policy.judge.window)
    if judge.blamed.question.needs_good_stable or judge.terms.ratio is None:
        return sentences.violated(verdict)
    edge = judge.worst_edge()
    if edge is not None and edge.requests and edge.stable_requests:
        there = {"limit_ms": edge.edge_ms, "requests": edge.requests, "bad": edge.slow}
        shares = {
            "value": edge.slow / edge.requests,
            "interval": interval(edge.requests, edge.slow),
            "stable_value": edge.stable_slow / edge.stable_requests,
        }
        verdict = evolve(verdict, **there, **shares)
    return sentences.worse(verdict, judge.terms.ratio)


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
