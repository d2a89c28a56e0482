"""Design effect: requests of one batch or one pod fail together, so counts vary more than those of independent ones.

D = Pearson dispersion of stable's counts per window before the canary had traffic, X2 / (K - 1). Evidence is divided by it.
"""

from __future__ import annotations

from math import sqrt

from rollout_controller.api.evidence import Dispersion
from rollout_controller.api.meta import evolve
from rollout_controller.core.observation import Counts
from rollout_controller.core.rounding import rounded

LARGEST = 4.0
"""Design effect at most where nobody says how large the batches are. More would help larger batches, but an incident of stable
before the rollout looks the same, and must not make the judge blind."""
_LEAST_WINDOWS = 6
_SURE = 2.0
"""Standard deviations of X2 that must be exceeded: counts of independent requests give 1, and not 1 give or take noise."""


def remember(before: Dispersion, counts: Counts) -> Dispersion:
    """Add a window; those without traffic say nothing."""
    if counts.total == 0:
        return before
    grown = evolve(
        before,
        windows=before.windows + 1,
        total=before.total + counts.total,
        bad=before.bad + counts.bad,
        squares=rounded(before.squares + counts.bad * counts.bad / counts.total, 1e9),
    )
    effect = design_effect(grown)
    return grown if effect == grown.effect else evolve(grown, effect=effect)


def design_effect(before: Dispersion) -> float:
    """D, at least 1; 1 where nothing, or nothing for sure, says that it is more."""
    if before.windows < _LEAST_WINDOWS:
        return 1.0
    return round(beyond_chance(before.windows, before.total, before.bad, before.squares, sure=_SURE), 6)


def beyond_chance(windows: int, total: int, bad: int, squares: float, *, sure: float) -> float:
    """X2 / (K - 1); 1 if X2 is within `sure` standard deviations of what independent requests give.

    X2 has mean K - 1 and variance about (K - 1)(2 + 1 / bad ones per window). `squares` is the sum over the windows of bad
    squared / total.
    """
    if not 0 < bad < total:
        return 1.0
    free, share = windows - 1, bad / total
    x2 = (squares - bad * share) / (share * (1 - share))
    return x2 / free if x2 > free + sure * sqrt(free * (2 + windows / bad)) else 1.0
