"""Whether stable itself misses the objective, so that the canary cannot be blamed for it (common-cause guard)."""

from __future__ import annotations

from collections.abc import Sequence

from rollout_controller.api.evidence import StableBin
from rollout_controller.core.observation import Counts
from rollout_controller.core.rounding import rounded

_BIN_S = 30.0
_SHORT_S, _LONG_S = 60.0, 300.0
_MIN_BAD = 3

Bins = tuple[StableBin, ...]


def remember(bins: Bins, seconds: float, counts: Counts) -> Bins:
    """Add a window of stable; windows without its traffic are not remembered, and do not age what is."""
    if counts.total == 0:
        return bins
    if bins and bins[-1].seconds < _BIN_S:
        last = bins[-1]
        grown = StableBin(rounded(last.seconds + seconds, 1e3), last.total + counts.total, last.bad + counts.bad)
        return (*bins[:-1], grown)
    return (*_newest(bins, _LONG_S), StableBin(seconds, counts.total, counts.bad))


def share_over(bins: Bins, objective: float) -> float | None:
    """Stable's share of bad requests over the last 1 or 5 minutes with traffic if it is over the objective, else None.

    Fewer than 3 bad requests say nothing. The horizons are met to half a minute.
    """
    covered, total, bad, is_short = 0.0, 0, 0, True
    for seconds, requests, bad_ones in reversed(bins):
        covered, total, bad = covered + seconds, total + requests, bad + bad_ones
        if is_short and covered >= _SHORT_S:
            is_short = False
            if _misses(total, bad, objective):
                break
        if covered >= _LONG_S:
            break
    return bad / total if _misses(total, bad, objective) else None


def _misses(total: int, bad: int, objective: float) -> bool:
    return bad >= _MIN_BAD and bad > objective * total


def _newest(bins: Sequence[StableBin], seconds: float) -> Bins:
    """The fewest newest bins that make up `seconds`."""
    covered = 0.0
    for index in range(len(bins) - 1, -1, -1):
        covered += bins[index].seconds
        if covered >= seconds:
            return tuple(bins[index:])
    return tuple(bins)
