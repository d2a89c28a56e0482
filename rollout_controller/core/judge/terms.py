"""What a policy asks of one SLO, worked out once: the numbers that are the same for every window."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Literal

from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge.questions import AbsoluteQuestion, Question

_JOINED = 0.95 / 4
"""Of the tolerance: joined windows that last this long are judged (a quarter, less what a timer may be early)."""
_LONGEST = 1 / 3
"""Of the tolerance: a longer window has no higher speed limit. A hiccup of half the tolerance touches at most three windows
that long, so it cannot reach the threshold by itself, whatever the scrape interval."""
_KEPT = 256
"""Policies whose terms are remembered."""


@dataclass(frozen=True)
class SloTerms:
    """Times are seconds, shares from 0 to 1."""

    name: str
    kind: Literal["errors", "latency"]
    objective: float
    limit_s: float | None
    """For latency: slower than this is bad."""
    limit_ms: float | None
    grace: float | None
    questions: tuple[Question, ...]
    weight: float
    """w_m, of each of its questions."""
    log_weight: float
    step_count: int
    tolerance: float
    speed: float
    """Most that ln of the evidence may grow per second."""
    joined: float
    """Windows of one weight are joined until they last this long."""
    longest: float
    """A longer window has the speed limit of this one."""

    @property
    def asked(self) -> tuple[float, float | None, str]:
        """What a verdict is about."""
        return self.objective, self.limit_ms, self.kind


_known: dict[int, tuple[PolicySpec, tuple[SloTerms, ...]]] = {}
"""By identity; the policy is held, so that no other one gets it."""


def terms_of(policy: PolicySpec) -> tuple[SloTerms, ...]:
    """One for each SLO, in the policy's order."""
    known = _known.get(id(policy))
    if known is None:
        if len(_known) >= _KEPT:
            _known.clear()
        known = _known[id(policy)] = (policy, _worked_out(policy))
    return known[1]


def _worked_out(policy: PolicySpec) -> tuple[SloTerms, ...]:
    terms = []
    for slo in policy.slos:
        questions = (AbsoluteQuestion(slo.bad_share),)
        weight = 1 / (len(policy.slos) * len(questions))
        tolerance = policy.judge.tolerance.errors if slo.kind == "errors" else policy.judge.tolerance.latency
        terms.append(
            SloTerms(
                name=slo.name,
                kind=slo.kind,
                objective=slo.bad_share,
                limit_s=slo.latency.max if slo.latency else None,
                limit_ms=round(slo.latency.max * 1000, 6) if slo.latency else None,
                grace=slo.grace if slo.kind == "latency" else None,
                questions=questions,
                weight=weight,
                log_weight=log(weight),
                step_count=len(policy.steps),
                tolerance=tolerance,
                speed=-log(weight * policy.judge.false_rollback) / tolerance,
                joined=_JOINED * tolerance,
                longest=_LONGEST * tolerance,
            )
        )
    return tuple(terms)
