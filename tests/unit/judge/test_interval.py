"""The interval against the figures of its source and an exact coverage."""

from __future__ import annotations

import math

import pytest

from rollout_controller.core.judge.interval import interval


def test_known_intervals() -> None:
    low, high = interval(2000, 42) or (0, 0)
    assert (round(low, 3), round(high, 3)) == (0.011, 0.035)
    low, high = interval(3, 1) or (0, 0)
    assert (round(low, 3), round(high, 2)) == (0.003, 0.94)
    assert interval(0, 0) is None


@pytest.mark.parametrize(("total", "bad"), [(1, 0), (1, 1), (10, 3), (346, 18), (5000, 0), (5000, 4999), (10**7, 10**5)])
def test_its_ends_are_where_the_mixture_is_twenty_times_as_likely(total: int, bad: int) -> None:
    good = total - bad
    mixture = math.lgamma(bad + 0.5) + math.lgamma(good + 0.5) - math.lgamma(total + 1) - math.log(math.pi)
    low, high = interval(total, bad) or (0, 0)
    assert low <= bad / total <= high
    for end, at_the_rim in ((low, bad == 0), (high, good == 0)):
        if not at_the_rim:
            assert mixture - bad * math.log(end) - good * math.log1p(-end) == pytest.approx(math.log(20), abs=1e-6)
    assert bad or low == 0
    assert good or high == 1


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_the_true_share_is_inside_at_all_times_in_95_of_100_courses(share: float) -> None:
    """Exact: a recursion over all courses of 300 requests."""
    inside = {0: 1.0}
    for n in range(1, 301):
        after: dict[int, float] = {}
        for bad, chance in inside.items():
            after[bad] = after.get(bad, 0.0) + chance * (1 - share)
            after[bad + 1] = after.get(bad + 1, 0.0) + chance * share
        inside = {bad: c for bad, c in after.items() if c > 1e-15 and _holds(n, bad, share)}
    assert 0.95 <= sum(inside.values()) < 0.999


def _holds(n: int, bad: int, share: float) -> bool:
    low, high = interval(n, bad) or (0, 0)
    return low <= share <= high
