"""The evidence process of one question: harm may start at any time, so the bet is spread over start times (judge.md).

Per alternative W_k = (W_{k-1} + pi_k) exp(l_k), with pi_k the share of the bet that starts at window k;
M_k = mean of W_k over the grid + what has not started yet. Under the null hypothesis M is a supermartingale that begins at 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, log1p

from rollout_controller.api.evidence import QuestionEvidence
from rollout_controller.api.meta import evolve

FIRST_TRAFFIC = 0.4
LATER_STEPS = 0.3
"""Shared by the starts of all steps after the first."""
PLANNED_TIME = 0.3
"""Uniform over the planned time of the attempt."""


def start_mass(evidence: QuestionEvidence, *, new_step: bool, steps: int) -> float:
    """The share of the bet on "harm starts with this window, because traffic or a step starts here".

    With a single step nothing is kept back for later ones.
    """
    if not evidence.log_weights:
        return FIRST_TRAFFIC if steps > 1 else evidence.start_left
    return min(LATER_STEPS / (steps - 1), evidence.start_left) if new_step and steps > 1 else 0.0


def spread_mass(evidence: QuestionEvidence, seconds: float, planned_s: float) -> float:
    """The share of the bet on "harm starts with this window, for no reason that we know"."""
    return min(PLANNED_TIME * seconds / max(planned_s, seconds), evidence.spread_left)


def grow(evidence: QuestionEvidence, increments: Sequence[float], *, start: float, spread: float) -> QuestionEvidence:
    """Take in one window: `increments` are its 20 log likelihood ratios, `start` and `spread` the mass that starts with it."""
    weights = _add_mass(evidence.log_weights, start + spread, len(increments))
    weights = [weight + increment for weight, increment in zip(weights, increments, strict=True)]
    start_left, spread_left = max(evidence.start_left - start, 0.0), max(evidence.spread_left - spread, 0.0)
    top = max(weights)
    log_e = top + log(sum([exp(weight - top) for weight in weights]) / len(weights))
    if start_left + spread_left > 0:
        log_e = log_add(log_e, log(start_left + spread_left))
    return evolve(
        evidence,
        log_weights=tuple(weights),
        start_left=start_left,
        spread_left=spread_left,
        log_e=log_e,
        max_log_e=max(evidence.max_log_e, log_e),
    )


def _add_mass(log_weights: Sequence[float], mass: float, size: int) -> Sequence[float]:
    if not mass > 0:
        return log_weights
    log_mass = log(mass)
    if not log_weights:
        return [log_mass] * size
    return [
        weight + log1p(exp(log_mass - weight)) if weight > log_mass else log_mass + log1p(exp(weight - log_mass))
        for weight in log_weights
    ]


def log_add(a: float, b: float) -> float:
    """ln(e^a + e^b)."""
    return a + log1p(exp(b - a)) if a > b else b + log1p(exp(a - b))
