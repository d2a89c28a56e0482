"""What can be asked about a window of counts: likelihood ratios of harm against "no harm", on a grid of alternatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import exp, inf, log, log1p, sqrt
from typing import NamedTuple, Protocol

from rollout_controller.core.observation import Counts

GRID = 7
"""Alternatives of each question: ten find nothing sooner (docs/judge.md), and cost half as much again."""
PRIORS = tuple((2 * GRID - i) / (GRID * (3 * GRID + 1) / 2) for i in range(GRID))
"""Their shares of the bet: more on small effects, which are the hard ones. On the largest still half as much as on the smallest,
so that an outage is found from five requests."""
_SMALLEST = 1.3
"""Harm that is less than this times the allowed share is not looked for."""
_SURE = 0.99
_STEEPEST = 200.0
"""Largest ratio of odds that is compared."""
_TOO_BAD = 0.95
"""While a canary that is no worse than stable may be this bad, nothing can be said of it."""
_SEARCH = range(60)
_SPREAD, _FEW = 3.0, 2.0
"""Standard deviations over what is expected, and requests (or batches), that are still plausible."""
_NEAR = 0.05
"""Of stable's share: so exactly is the nearest point looked for."""


class Arms(NamedTuple):
    """One window, and what was known of stable before it."""

    canary: Counts
    stable: Counts
    share: float
    """Stable's bad share of late: from earlier windows only."""
    effect: float = 1.0
    """D of the canary's counts: so many requests are bad together."""
    stable_effect: float = 1.0
    """D of stable's."""
    floor: float = 0.0
    """The canary may be this bad, whatever the objective."""
    together: float = 1.0
    """So many requests are bad together in batches: D without what varies from minute to minute."""


class Question(Protocol):
    """One null hypothesis about the canary with its alternatives."""

    @property
    def name(self) -> str:
        """Names its evidence in the state."""

    @property
    def needs_good_stable(self) -> bool:
        """Whether it is ignored while stable itself misses the objective: true where stable is not compared with."""

    def log_likelihoods(self, arms: Arms) -> Sequence[float]:
        """Log likelihood ratio of each of the alternatives to the null, for one window.

        The exponentials must be at most 1 in the mean wherever the null hypothesis is true.
        """

    def unexplained(self, arms: Arms) -> int:
        """For how many of the alternatives, the smallest ones, the canary has more bad requests than they explain: a burst."""


@dataclass(frozen=True)
class AbsoluteQuestion:
    """H0: each request is bad with probability at most `objective`, in every window (judge.md, Absolute question)."""

    objective: float
    name: str = "absolute"
    needs_good_stable: bool = True

    def log_likelihoods(self, arms: Arms) -> Sequence[float]:
        (total, bad), effect = arms.canary, arms.effect
        p0 = max(self.objective, arms.floor)
        most = total * alternatives(p0)[0]
        if bad <= most:  # as for most windows: no alternative explains less
            return [(bad * of_bad + (total - bad) * of_good) / effect for of_bad, of_good in log_ratios(p0)]
        ratios = []
        for p1, (of_bad, of_good) in zip(alternatives(p0), log_ratios(p0), strict=True):
            counted = bad if bad <= total * p1 else min(bad, _plausible(total, p1, effect))
            ratios.append((counted * of_bad + (total - counted) * of_good) / effect)
        return ratios

    def unexplained(self, arms: Arms) -> int:
        return _explaining_less(arms, alternatives(max(self.objective, arms.floor)))


@dataclass(frozen=True)
class RelativeQuestion:
    """H0: the canary's bad share is at most `ratio` times stable's plus `margin` in every window; both may drift.

    The alternative: stable as of late, the canary's odds theta times what it may have at most. It is compared with the nearest
    (p_c, p_s) on p_c = ratio p_s + margin, nearest by n_c KL(q_c, p_c) + n_s KL(q_s, p_s). With g = (q - p) / (p (1 - p)) the
    mean of the exponential is (1 + g_c dp_c)^n_c (1 + g_s dp_s)^n_s <= exp(n_c g_c dp_c + n_s g_s dp_s), dp what the truth
    differs from p by; and at the nearest point n_s g_s = -ratio n_c g_c, so that the exponent is n_c g_c (dp_c - ratio dp_s),
    at most 0 wherever H0 is true. q_s is computed from that equation: this holds exactly, however well the point was found.
    """

    ratio: float
    margin: float
    name: str
    needs_good_stable: bool = False

    def log_likelihoods(self, arms: Arms) -> Sequence[float]:
        (n_c, bad), (n_s, bad_s), share, effect, stable_effect, _, _ = arms
        base = self.ratio * share + self.margin
        if n_c == 0 or n_s == 0 or base >= _TOO_BAD:
            return _NOTHING
        known = self.ratio * (n_c / effect) / (n_s / stable_effect)
        of_bad_s, of_good_s, found = bad_s / stable_effect, (n_s - bad_s) / stable_effect, []
        for q_c, p_c, under, odds_s in self._nearest(known, base, share):
            over = q_c - p_c
            bad_c = bad if bad <= n_c * q_c else min(bad, _plausible(n_c, q_c, effect))
            of_canary = bad_c * log1p(over / p_c) + (n_c - bad_c) * log1p(-over / (1 - p_c))
            found.append(of_canary / effect + of_bad_s * log1p(-under) + of_good_s * log1p(under * odds_s))
        return found

    def unexplained(self, arms: Arms) -> int:
        base = self.ratio * arms.share + self.margin
        odds = base / (1 - base) if base < _TOO_BAD else inf
        return _explaining_less(arms, [theta * odds / (1 + theta * odds) for theta in THETAS]) if odds < inf else 0

    def _nearest(self, known: float, base: float, share: float) -> list[tuple[float, float, float, float]]:
        """By alternative q_c: p_c, 1 - q_s / p_s and the odds of p_s, with p about the nearest point to (q_c, share).

        `known`: ratio n_c / n_s. With k = known (1 - p_s) / (1 - p_c) the nearest point has (p_s - share) / p_s =
        k (q_c - p_c) / p_c, which is quadratic in p_s, and its root lies between what is nearest to either arm alone. k changes
        slowly, so that the one of the alternative before mostly gives a point that is near enough at once.
        """
        ratio, margin, odds, near = self.ratio, self.margin, base / (1 - base), _NEAR * share
        twice, least, cross = 2 * ratio, share * ratio - margin, 4 * ratio * share * margin
        k, points = known * (1 - share) / (1 - base), []
        for theta in THETAS:
            q_c = theta * odds / (1 + theta * odds)
            at_c = q_c - margin
            low, high = share, at_c / ratio
            for _ in _SEARCH:
                one, half = 1 + k, least + k * at_c
                p_s = (half + sqrt(half * half + cross * one)) / (twice * one)
                if not low < p_s < high:
                    p_s = (low + high) / 2
                p_c, good_s = ratio * p_s + margin, 1 - p_s
                k = known * good_s / (1 - p_c)
                under = k * (q_c - p_c) / p_c
                off = p_s - p_s * under - share  # q_s = p_s (1 - under)
                if -near < off < near:
                    points.append((q_c, p_c, under, p_s / good_s))
                    break
                low, high = (p_s, high) if off < 0 else (low, p_s)
            else:
                points.append((q_c, q_c, 0.0, 0.0))
        return points


_NOTHING = (0.0,) * GRID


def _plausible(total: int, p1: float, effect: float) -> float:
    """As many bad requests as an alternative explains: more of them are a burst, and say no more for it.

    Without this a hiccup would count in full for the small alternatives, which earlier good windows hardly speak against.
    Fewer bad requests never give more evidence, so the promise holds.
    """
    return total * p1 + _SPREAD * sqrt(total * p1 * effect) + _FEW * effect


def _explaining_less(arms: Arms, shares: Sequence[float]) -> int:
    total, bad = arms.canary
    if bad <= total * shares[0]:
        return 0
    return sum([bad > _plausible(total, share, arms.together) for share in shares])


def _rising(smallest: float, largest: float) -> tuple[float, ...]:
    """Effects in logarithms, denser where they are small: each is the same times the one before."""
    return tuple(smallest * (largest / smallest) ** (i / (GRID - 1)) for i in range(GRID))


THETAS = tuple(exp(effect) for effect in _rising(log(_SMALLEST), log(_STEEPEST)))
"""Ratios of odds that are compared with stable."""


@lru_cache(maxsize=256)
def alternatives(p0: float) -> tuple[float, ...]:
    """Bad shares over `p0` that are bet on, from 1.3 p0 to 0.99."""
    here, smallest = _logit(p0), min(_SMALLEST * p0, (p0 + _SURE) / 2)
    return tuple(1 / (1 + exp(-here - effect)) for effect in _rising(_logit(smallest) - here, _logit(_SURE) - here))


@lru_cache(maxsize=256)
def log_ratios(p0: float) -> tuple[tuple[float, float], ...]:
    """(ln p1/p0, ln (1-p1)/(1-p0)) of each alternative: what a bad and what a good request say."""
    return tuple((log(p1 / p0), log1p(-p1) - log1p(-p0)) for p1 in alternatives(p0))


def _logit(p: float) -> float:
    return log(p / (1 - p))
