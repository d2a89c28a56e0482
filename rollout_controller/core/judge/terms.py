"""What a policy asks of one SLO, worked out once: the numbers that are the same for every window."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import Literal

from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge import dispersion, lane
from rollout_controller.core.judge.questions import AbsoluteQuestion, Question, RelativeQuestion

_JOINED = 0.95 / 4
"""Of the tolerance: joined windows that last this long are judged (a quarter, less what a timer may be early)."""
_WHOLE = 0.95
"""Of the window of the rule threshold: less what a timer may be early."""
_LONGEST = 1 / 3
"""Of the tolerance: a longer window has no higher speed limit. A hiccup of half the tolerance touches at most three windows
that long, so it cannot reach the threshold by itself, whatever the scrape interval."""
ABSOLUTE_WEIGHT, RELATIVE_WEIGHT = 0.3, 0.7
"""w of all absolute and all relative questions, where both are asked: small regressions are found by the relative ones, and large
ones by either at once."""
MARGIN = 0.05
"""eps of the relative questions, of p0: a canary that adds no more than this to what is allowed is no harm."""
_KEPT = 256
"""Policies whose terms are remembered."""


@dataclass(frozen=True)
class Asked:
    """A question with its part of the promise."""

    question: Question
    weight: float
    """w_m."""
    log_weight: float
    speed: float
    """Most that ln of the evidence may grow per second."""


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
    asked: tuple[Asked, ...]
    lane_bound: float
    """A larger bad share than this is looked for, for a retreat."""
    ratio: float | None
    """r of the relative question; None: stable is not compared with."""
    failures: int | None
    """With the rule threshold: so many windows in a row over the objective are harm; None: evidence decides."""
    hanging: bool
    """Whether completed requests are compared with the weight."""
    step_count: int
    tolerance: float
    largest_effect: float
    """The design effect is at most this."""
    joined: float
    """Windows of one weight are joined until they last this long."""
    longest: float
    """A longer window has the speed limit of this one."""

    @property
    def subject(self) -> tuple[float, float | None, str]:
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
        tolerance = policy.judge.tolerance.errors if slo.kind == "errors" else policy.judge.tolerance.latency
        terms.append(
            SloTerms(
                name=slo.name,
                kind=slo.kind,
                objective=slo.bad_share,
                limit_s=slo.latency.max if slo.latency else None,
                limit_ms=round(slo.latency.max * 1000, 6) if slo.latency else None,
                grace=slo.grace if slo.kind == "latency" else None,
                asked=_asked(policy, slo.bad_share, tolerance),
                lane_bound=lane.bound(slo.kind, slo.bad_share),
                ratio=1 + policy.compare_to_stable.tolerance if policy.compare_to_stable else None,
                failures=policy.judge.failures if policy.judge.rule == "threshold" else None,
                hanging=policy.judge.hanging == "Hold",
                step_count=len(policy.steps),
                tolerance=tolerance,
                largest_effect=float(policy.judge.batch_size or dispersion.LARGEST),
                joined=_JOINED * tolerance if policy.judge.rule == "evidence" else _WHOLE * policy.judge.window,
                longest=_LONGEST * tolerance,
            )
        )
    return tuple(terms)


def _asked(policy: PolicySpec, p0: float, tolerance: float) -> tuple[Asked, ...]:
    """The questions about one SLO; over all SLOs their weights sum to 1."""
    compare = policy.compare_to_stable
    questions: list[tuple[Question, float]] = [(AbsoluteQuestion(p0), ABSOLUTE_WEIGHT if compare else 1.0)]
    if compare is not None:
        name = f"relative {compare.tolerance * 100:.10g} %"
        questions.append((RelativeQuestion(1 + compare.tolerance, MARGIN * p0, name), RELATIVE_WEIGHT))
    asked = []
    for question, part in questions:
        weight = part / len(policy.slos)
        log_weight = log(weight)
        # All questions about an SLO grow with the same burst: together they take as long as the tolerance.
        speed = -(log_weight + log(policy.judge.false_rollback) + log(len(questions))) / tolerance
        asked.append(Asked(question, weight, log_weight, speed))
    return tuple(asked)
