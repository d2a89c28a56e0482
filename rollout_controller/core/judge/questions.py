"""What can be asked about a window of counts: likelihood ratios of harm against "no harm", on a grid of alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, log, log1p
from typing import Protocol

from rollout_controller.core.observation import Counts

GRID = 20
"""Alternatives of each question."""


class Question(Protocol):
    """One null hypothesis about the canary with its alternatives."""

    @property
    def name(self) -> str:
        """Names its evidence in the state."""

    @property
    def needs_good_stable(self) -> bool:
        """Whether it is ignored while stable itself misses the objective: true where stable is not compared with."""

    def log_likelihoods(self, canary: Counts, stable: Counts) -> Sequence[float]:
        """Log likelihood ratio of each of the 20 alternatives to the null, for one window.

        The exponentials must be at most 1 in the mean wherever the null hypothesis is true.
        """


@dataclass(frozen=True)
class AbsoluteQuestion:
    """H0: each request is bad with probability at most `objective`, in every window (judge.md, Absolute question)."""

    objective: float
    name: str = "absolute"
    needs_good_stable: bool = True

    def log_likelihoods(self, canary: Counts, stable: Counts) -> Sequence[float]:  # noqa: ARG002  (compared with the objective only)
        bad, good = canary.bad, canary.total - canary.bad
        return [bad * of_bad + good * of_good for of_bad, of_good in _log_ratios(self.objective)]


@lru_cache(maxsize=256)
def _log_ratios(p0: float) -> tuple[tuple[float, float], ...]:
    """(ln p1/p0, ln (1-p1)/(1-p0)) for p1 even in logit from 1.3 p0 to 0.99."""
    low, high = _logit(1.3 * p0), _logit(0.99)
    grid = (1 / (1 + exp(-(low + (high - low) * i / (GRID - 1)))) for i in range(GRID))
    return tuple((log(p1 / p0), log1p(-p1) - log1p(-p0)) for p1 in grid)


def _logit(p: float) -> float:
    return log(p / (1 - p))
