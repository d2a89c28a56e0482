"""An interval for a share that holds at all times at once: the Beta(1/2, 1/2) mixture confidence sequence."""

from __future__ import annotations

from functools import lru_cache
from math import exp, lgamma, log, log1p, pi

_STEPS = 60


@lru_cache(maxsize=4096)
def interval(total: int, bad: int, miss: float = 0.05) -> tuple[float, float] | None:
    """All p with B(bad + 1/2, good + 1/2) / B(1/2, 1/2) < p^bad (1-p)^good / miss (Robbins' mixture; Ville's inequality).

    The true share is outside at some time with probability `miss` at most. None without requests.
    """
    if total == 0:
        return None
    good = total - bad
    mixture = lgamma(bad + 0.5) + lgamma(good + 0.5) - lgamma(total + 1) - log(pi)
    least = mixture + log(miss)
    return _lower(bad, good, least), 1 - _lower(good, bad, least)


def _lower(hits: int, others: int, least: float) -> float:
    """The smaller p at which hits ln p + others ln(1-p) = least.

    The function is concave and the first guess lies left of the solution, so Newton's method comes from the left only.
    """
    if hits == 0:
        return 0.0
    p = exp(least / hits)
    for _ in range(_STEPS):
        if others == 0:
            break
        missing = least - hits * log(p) - others * log1p(-p)
        step = missing / (hits / p - others / (1 - p))
        if not step > p * 1e-12:
            break
        p += step
    return p
