"""Design effect: requests of one batch or one pod fail together, so counts vary more than those of independent ones.

D = Pearson dispersion of stable's counts per window before the canary had traffic, X2 / (K - 1). Evidence is divided by it.
"""

from __future__ import annotations

from math import sqrt

from rollout_controller.api.evidence import Dispersion
from rollout_controller.api.meta import evolve
from rollout_controller.core.observation import Counts

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
        squares=round(before.squares + counts.bad * counts.bad / counts.total, 9),
    )
    return evolve(grown, effect=design_effect(grown))


def design_effect(before: Dispersion) -> float:
    """D, at least 1; 1 where nothing, or nothing for sure, says that it is more.

    X2 has mean K - 1 and variance about (K - 1)(2 + 1 / bad ones per window).
    """
    free = before.windows - 1
    if free < _LEAST_WINDOWS - 1 or not 0 < before.bad < before.total:
        return 1.0
    share = before.bad / before.total
    x2 = (before.squares - before.bad * share) / (share * (1 - share))
    noise = sqrt(free * (2 + before.windows / before.bad))
    if x2 <= free + _SURE * noise:
        return 1.0
    return round(max(x2 / free, 1.0), 6)
