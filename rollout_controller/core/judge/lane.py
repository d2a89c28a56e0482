"""The lane: is this bad enough to get users out of the way at once? The version is judged later (judge.md, Retreat).

The same mixture as for the verdict, without its speed limit, on every window as it comes, and about larger harm only: errors
over 3 times the objective, slow requests over 6 times, alone and against stable. It costs no error probability of the verdict:
a retreat fails no attempt, and what is bet on here is bet apart.

One bet for each SLO: half of it on a canary that is bad by itself, H0: p_c <= bound; half on one that is bad beside stable,
H0: p_c <= r p_s + bound, both with chances that may drift (judge.md, Relative question):

    rho = r n_c / (r n_c + n_s);  g = 1 + rho (theta - 1)
    l(theta) = b_c ln theta - (b_c + b_s) ln g - bound n_c (theta / g - 1)

Its exponential has a mean of at most 1 under H0, for binomial counts too, since (1 + p (x - 1))^n <= exp(n p (x - 1)).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log, log1p
from typing import NamedTuple

from rollout_controller.api.evidence import Alarm, Counts, Lane, QuestionEvidence
from rollout_controller.core.judge import mixture
from rollout_controller.core.judge.questions import PRIORS, THETAS, log_ratios
from rollout_controller.core.judge.step import StepView
from rollout_controller.core.observation import Window
from rollout_controller.core.rounding import rounded

FACTOR = {"errors": 3.0, "latency": 6.0}
"""By kind of SLO: so many times the objective is the harm that is looked for."""
THRESHOLD = log(100)
"""ln M of a retreat: a version within those bounds gets there with a chance of 1 % at most, at each return of the traffic."""
MOST_RETREATS = 5
"""Then the lane closes, and the verdict alone decides."""
STRIKE_S = 15.0
"""Harm that comes back within this time after the traffic (or within its first window) is a strike."""
_CAP = 40.0
_RATIO = 1.1
_LARGEST_BOUND = 0.6
_PICKED = slice(None, None, 2)
"""Every other alternative, the largest among them: large harm needs no fine grid."""
_THETAS = tuple((theta, log(theta), theta - 1) for theta in THETAS[_PICKED])
_PRIORS = tuple(prior / sum(PRIORS[_PICKED]) / 2 for prior in PRIORS[_PICKED]) * 2
_NOTHING = (0.0,) * len(_THETAS)


def bound(kind: str, p0: float) -> float:
    """The bad share up to which users may stay."""
    return min(FACTOR[kind] * p0, _LARGEST_BOUND)


class Look(NamedTuple):
    """One window as the lane sees it."""

    canary: Counts
    stable: Counts
    seconds: float
    guarded: bool
    """Stable misses the objective, too."""
    new_step: bool
    effect: float
    """D of the lane: not clipped to the batch size, so that pods that are known to hiccup cause no needless retreat."""
    step_count: int


def grow(bound: float, before: QuestionEvidence | None, look: Look, step: StepView) -> QuestionEvidence:
    """Take in one window; None: the first since the traffic came, or came back."""
    before, effect, most = before or mixture.LANE.none_spent(), look.effect, _CAP * look.effect
    ratios = [*(_NOTHING if look.guarded else _alone(bound, look.canary)), *_beside(bound, look.canary, look.stable)]
    if effect > 1 or max(ratios) > most:
        ratios = [ratio / effect if ratio < most else _CAP for ratio in ratios]
    return mixture.grow(
        before,
        ratios,
        _PRIORS,
        start=mixture.start_mass(before, new_step=look.new_step, steps=max(look.step_count, 2), masses=mixture.LANE),
        spread=mixture.spread_mass(before, look.seconds, step.planned_s, mixture.LANE),
    )


@lru_cache(maxsize=256)
def _picked(bound: float) -> tuple[tuple[float, float], ...]:
    return log_ratios(bound)[_PICKED]


def _alone(bound: float, canary: Counts) -> Sequence[float]:
    bad, good = canary.bad, canary.total - canary.bad
    return [bad * of_bad + good * of_good for of_bad, of_good in _picked(bound)]


def _beside(bound: float, canary: Counts, stable: Counts) -> Sequence[float]:
    if canary.total == 0 or stable.total == 0:
        return _NOTHING
    allowed, all_bad = bound * canary.total, canary.bad + stable.bad
    rho = _RATIO * canary.total / (_RATIO * canary.total + stable.total)
    bad = canary.bad
    return [
        bad * log_theta - all_bad * log1p(more := rho * above) - allowed * (theta / (1 + more) - 1)
        for theta, log_theta, above in _THETAS
    ]


def misses(last: Sequence[Counts], objective: float) -> bool:
    """Whether stable misses the objective over its last or its last two windows with traffic."""
    total = bad = 0
    for requests, bad_ones in reversed(last):
        total, bad = total + requests, bad + bad_ones
        if bad >= 3 and bad > objective * total:
            return True
    return False


def is_open(step: StepView) -> bool:
    """Whether anybody asks the lane."""
    return step.retreat and step.retreats < MOST_RETREATS


def at_entry(memory: Lane, step: StepView) -> Lane:
    """The lane of this return of the traffic: it begins anew."""
    return memory if memory.entry == step.retreats else Lane(entry=step.retreats)


def is_over(memories: Sequence[QuestionEvidence | None]) -> bool:
    """Whether M_lane, the mean over all SLOs, has reached the threshold."""
    logs = [0.0 if memory is None else memory.log_e for memory in memories]
    return max(logs) >= THRESHOLD and mixture.log_sum(logs) - log(len(logs)) >= THRESHOLD


def alarm(slo: str, window: Window) -> Alarm:
    """What people are told of it: the last window of many, or the only one."""
    seconds = rounded(window.end - window.start, 1e3)
    return Alarm(slo=slo, at=window.end, seconds=seconds, total=window.canary.total, bad=window.canary.bad)
