"""The evidence process of one question: harm may start at any time, so the bet is spread over start times (judge.md).

Per alternative W_k = (W_{k-1} + pi_k) exp(l_k), with pi_k the share of the bet that starts at window k; M_k = mean of W_k over
the grid, weighted by the bet's shares of the alternatives, + what has not started yet. Under the null hypothesis M is a
supermartingale that begins at 1. ln W is rounded to a millionth: short to write, and far below what is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log, log1p
from operator import add, mul

from rollout_controller.api.evidence import QuestionEvidence
from rollout_controller.api.meta import unchecked
from rollout_controller.core.rounding import WHOLE, rounded

_UNIT = 1e6
_FAR = 30.0
"""What is so much less than what is added to it is lost in rounding."""
_LARGEST = 500.0
"""ln of what can be added up without fear that a float overflows or vanishes."""


@dataclass(frozen=True)
class Masses:
    """How the bet is spread over when harm starts; the shares sum to 1."""

    first: float
    """With the first traffic, or with the traffic's return."""
    later: float
    """Shared by the starts of all steps after the first."""
    planned: float
    """Uniform over the planned time of the attempt."""

    def none_spent(self) -> QuestionEvidence:
        """The evidence before the first window."""
        return QuestionEvidence(start_left=self.first + self.later, spread_left=self.planned)


SLOW = Masses(first=0.7, later=0.2, planned=0.1)
"""For the verdict: most versions that hurt do so at once."""
LANE = Masses(first=0.4, later=0.3, planned=0.3)
"""For the retreat: what is that bad often comes out of the blue."""
REENTRY = 0.025
"""For the verdict: the share of the bet on harm that starts with the traffic's return after a retreat."""


def start_mass(
    evidence: QuestionEvidence, *, new_step: bool, steps: int, masses: Masses = SLOW, reentered: bool = False
) -> float:
    """The share of the bet on "harm starts with this window, because traffic or a step starts here".

    With a single step nothing is kept back for later ones.
    """
    if evidence.log_weights and not new_step and not reentered:
        return 0.0
    if not evidence.log_weights:
        return min(masses.first, evidence.start_left) if steps > 1 else evidence.start_left
    if new_step and steps > 1:
        return min(masses.later / (steps - 1), evidence.start_left)
    return min(REENTRY, evidence.start_left) if reentered else 0.0


def spread_mass(evidence: QuestionEvidence, seconds: float, planned_s: float, masses: Masses = SLOW) -> float:
    """The share of the bet on "harm starts with this window, for no reason that we know"."""
    if evidence.spread_left == 0:
        return 0.0
    return min(masses.planned * seconds / max(planned_s, seconds), evidence.spread_left)


def grow(
    evidence: QuestionEvidence,
    increments: Sequence[float],
    priors: Sequence[float],
    *,
    start: float,
    spread: float,
    unexplained: Sequence[bool] = (),
) -> QuestionEvidence:
    """Take in one window: `increments` are its log likelihood ratios, one for each alternative, `priors` their shares of the bet.

    `start` and `spread`: the mass that starts with it. `unexplained`: for which alternatives the window is a burst (empty: for
    none). What they gain by it they lose with the first window that is none: less evidence is always valid.
    """
    before, burst = evidence.log_weights, evidence.burst
    if burst:
        lasts = unexplained or (False,) * len(burst)
        before = tuple([weight if more else weight - gain for weight, gain, more in zip(before, burst, lasts, strict=True)])
    if unexplained:
        held = burst or (0.0,) * len(increments)
        gains = zip(held, increments, unexplained, strict=True)
        burst = tuple([rounded(gain + max(more, 0.0), _UNIT) if is_burst else 0.0 for gain, more, is_burst in gains])
    else:
        burst = ()
    weights = grown(before, start + spread, increments)
    start_left, spread_left = _less(evidence.start_left, start), _less(evidence.spread_left, spread)
    log_e = _log_mean(weights, priors, start_left + spread_left)
    fields = {
        "log_weights": weights,
        "start_left": start_left,
        "spread_left": spread_left,
        "log_e": log_e,
        "max_log_e": max(evidence.max_log_e, log_e),
        "burst": burst,
    }
    return unchecked(QuestionEvidence, fields)


def _less(left: float, spent: float) -> float:
    return rounded(max(left - spent, 0.0), 1e12) if spent else left


def grown(log_weights: Sequence[float], mass: float, increments: Sequence[float]) -> tuple[float, ...]:
    """Ln ((W + mass) e^increment) to a millionth. W is 0 where there is none yet."""
    started = log_weights
    if mass > 0:
        new = log(mass)
        small = new - _FAR
        started = [weight + log1p(exp(new - weight)) if weight > small else new for weight in log_weights] or [new] * len(
            increments
        )
    return tuple([(value * _UNIT + WHOLE - WHOLE) / _UNIT for value in map(add, started, increments)])


def _log_mean(log_weights: Sequence[float], priors: Sequence[float], left: float) -> float:
    """Ln of the mean of W and of what has not started yet."""
    top = max(log_weights)
    if top < -_LARGEST and left > 0:
        return rounded(log(left), _UNIT)
    if -_LARGEST <= top <= _LARGEST:
        return rounded(log(sum(map(mul, priors, map(exp, log_weights))) + left), _UNIT)
    mean = sum([prior * exp(weight - top) for prior, weight in zip(priors, log_weights, strict=True)])
    if left > 0:
        mean += left * exp(-top)
    return rounded(top + log(mean), _UNIT)


def log_sum(logs: Sequence[float]) -> float:
    """Ln of the sum of what these are the logarithms of."""
    top = max(logs)
    return top + log(sum([exp(value - top) for value in logs]))
