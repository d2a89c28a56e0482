"""Draws of counts, in constant time however many requests there are: what `random` lacks before Python 3.12.

Few expected events are counted out one by one; many are drawn by transformed rejection with squeeze (W. Hörmann: "The
transformed rejection method for generating Poisson random variables", 1993, algorithm PTRS; "The generation of binomial random
variates", 1993, algorithm BTRS). Both are exact but for the rounding of floating point.
"""

from __future__ import annotations

from math import exp, floor, lgamma, log, log1p, sqrt
from random import Random

_FEW = 10.0
"""Expected events up to which counting them out is as quick."""


def poisson(rng: Random, mean: float) -> int:
    """A Poisson count; 0 where nothing is expected."""
    if mean <= 0:
        return 0
    if mean < _FEW:
        least, product, count = exp(-mean), rng.random(), 0
        while product > least:
            product *= rng.random()
            count += 1
        return count
    b = 0.931 + 2.53 * sqrt(mean)
    a = -0.059 + 0.02483 * b
    scale, quick = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    while True:
        u, v = rng.random() - 0.5, 1.0 - rng.random()
        side = 0.5 - abs(u)
        if side <= 0:
            continue
        count = floor((2 * a / side + b) * u + mean + 0.43)
        if side >= 0.07 and v <= quick:
            return count
        if count < 0 or (side < 0.013 and v > side):
            continue
        if log(v * scale / (a / (side * side) + b)) <= count * log(mean) - mean - lgamma(count + 1):
            return count


def binomial(rng: Random, total: int, share: float) -> int:
    """How many of `total` have a property that each has with probability `share` by itself."""
    if total <= 0 or share <= 0:
        return 0
    if share >= 1:
        return total
    if share > 0.5:
        return total - binomial(rng, total, 1 - share)
    if total * share < _FEW:
        return _counted_out(rng, total, share)
    return _rejected(rng, total, share)


def _counted_out(rng: Random, total: int, share: float) -> int:
    """By the waits between hits, which are geometric."""
    hits, at, scale = -1, 0, log1p(-share)
    while at <= total:
        hits += 1
        at += 1 + int(log(1.0 - rng.random()) / scale)
    return hits


def _rejected(rng: Random, total: int, share: float) -> int:
    deviation = sqrt(total * share * (1 - share))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * share
    middle, quick = total * share + 0.5, 0.92 - 4.2 / b
    scale, odds = (2.83 + 5.1 / b) * deviation, log(share / (1 - share))
    mode = floor((total + 1) * share)
    top = lgamma(mode + 1) + lgamma(total - mode + 1)
    while True:
        u, v = rng.random() - 0.5, 1.0 - rng.random()
        side = 0.5 - abs(u)
        if side <= 0:
            continue
        hits = floor((2 * a / side + b) * u + middle)
        if side >= 0.07 and v <= quick:
            return hits
        if not 0 <= hits <= total:
            continue
        if log(v * scale / (a / (side * side) + b)) <= top - lgamma(hits + 1) - lgamma(total - hits + 1) + (hits - mode) * odds:
            return hits
