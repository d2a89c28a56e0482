"""Evidence that a step is healthy enough for the next weight (judge.md, Evidence of health).

H0: each request is bad with probability at least p_tol. The bet is spread over four smaller probabilities, fixed fractions of
p_tol; it needs 30-40 % more requests than one that knows the truth. It depends on the step's totals only, so it has no memory.
"""

from __future__ import annotations

from functools import lru_cache
from math import ceil, exp, log, log1p

from rollout_controller.core.observation import Counts

BUDGET = {"errors": 0.005, "latency": 0.025}
"""By kind of SLO: the share of all traffic that may become bad without being noticed before the next weight."""
_NEWTON_STEPS = 3
"""Enough for the two digits that are said."""
_FRACTIONS = (0.1, 0.3, 0.5, 0.7)
_LOG_PARTS = log(len(_FRACTIONS))


def tolerable(objective: float, budget: float, next_weight: int) -> float:
    """p_tol: the bad share of the canary at which the next weight would cost the budget; at most halfway to 1."""
    return min(objective + budget * 100 / next_weight, (1 + objective) / 2)


def log_health(counts: Counts, p_tol: float, design_effect: float = 1.0) -> float:
    """Logarithm of S. If H0 is true, S ever reaches 1/beta with probability beta at most."""
    return _log_mean(_logs(counts, p_tol, design_effect))


def proves(counts: Counts, p_tol: float, *, log_beta: float, design_effect: float = 1.0) -> bool:
    """Whether S >= 1/beta. S lies between its largest part and a quarter of it, which is mostly enough to know."""
    logs, goal = _logs(counts, p_tol, design_effect), -log_beta
    top = max(logs)
    return top >= goal and (top >= goal + _LOG_PARTS or log_health(counts, p_tol, design_effect) >= goal)


def requests_needed(counts: Counts, share: float, p_tol: float, *, log_beta: float, design_effect: float = 1.0) -> int | None:
    """About how many more requests until S >= 1/beta if `share` of them are bad; None: never.

    ln S along that line is convex, so Newton's method from a point beyond the solution closes in on it from above.
    """
    goal = -log_beta
    lines = _lines(counts, share, p_tol, design_effect)
    rising = [(at, slope) for at, slope in lines if slope > 1e-9]
    if not rising:
        return None
    x = max(min((goal + log(len(lines)) - at) / slope for at, slope in rising), 0.0)
    for _ in range(_NEWTON_STEPS):
        values = [at + slope * x for at, slope in lines]
        top = max(values)
        shares = [exp(value - top) for value in values]
        slope = sum([share * line[1] for share, line in zip(shares, lines, strict=True)]) / sum(shares)
        x = max(x - (_log_mean(values) - goal) / slope, 0.0) if slope > 0 else x
    return ceil(x - 1e-6)


def _logs(counts: Counts, p_tol: float, design_effect: float) -> list[float]:
    bad, good = counts.bad, counts.total - counts.bad
    return [(bad * of_bad + good * of_good) / design_effect for of_bad, of_good in _log_ratios(p_tol)]


@lru_cache(maxsize=1024)
def _log_ratios(p_tol: float) -> tuple[tuple[float, float], ...]:
    return tuple((log(f), log1p(-f * p_tol) - log1p(-p_tol)) for f in _FRACTIONS)


def _lines(counts: Counts, share: float, p_tol: float, design_effect: float) -> list[tuple[float, float]]:
    """By alternative: the log likelihood ratio now, and what each further request adds at this share of bad ones."""
    bad, good = counts.bad, counts.total - counts.bad
    return [
        ((bad * of_bad + good * of_good) / design_effect, (share * of_bad + (1 - share) * of_good) / design_effect)
        for of_bad, of_good in _log_ratios(p_tol)
    ]


def _log_mean(values: list[float]) -> float:
    top = max(values)
    return top + log(sum([exp(value - top) for value in values]) / len(values))
