"""A canary that completes less than its share cannot be judged; one that does, whatever its traffic, can."""

from __future__ import annotations

import random

import pytest

from tests.unit.judge.worlds import draw, play, policy, row, step


def share_of(canary: int, stable: int, windows: int = 20) -> str | None:
    return play(policy(), step(), row([((canary, 0), (stable, 0))] * windows, 10)).verdicts[0].unknown


@pytest.mark.parametrize(("canary", "stable"), [(0, 900), (10, 900), (40, 900), (0, 20)])
def test_too_few_completed_requests_are_unknown(canary: int, stable: int) -> None:
    assert share_of(canary, stable) == "routing-or-hanging"


@pytest.mark.parametrize(("canary", "stable"), [(100, 900), (80, 900), (0, 0), (10, 0), (1, 10), (900, 900)])
def test_about_its_share_or_more_is_fine(canary: int, stable: int) -> None:
    assert share_of(canary, stable) is None


@pytest.mark.parametrize(("index", "weight"), [(0, 10), (1, 25), (2, 50)])
def test_half_of_its_requests_is_too_few_at_every_weight(index: int, weight: int) -> None:
    """At 50 % a canary that hangs on half of its requests still has a third of the completed ones."""
    rows = row([((weight * 5, 0), ((100 - weight) * 10, 0))] * 20, 10)
    assert play(policy(), step(index), rows).verdicts[0].unknown == "routing-or-hanging"


def test_where_stable_gets_requests_by_other_ways_shares_say_nothing() -> None:
    ignoring = policy(hanging="Ignore")
    result = play(ignoring, step(), row([((40, 0), (900, 0))] * 20, 10))
    assert result.verdicts[0].unknown is None
    before = play(policy(), step(), row([((40, 0), (900, 0))] * 20, 10))
    assert before.verdicts[0].unknown == "routing-or-hanging"
    assert play(ignoring, step(), row([((40, 0), (900, 0))], 10, 200), before.state).verdicts[0].unknown is None


def test_it_says_so_and_ends_soon_after_its_cause() -> None:
    hangs = play(policy(), step(), row([((100, 0), (900, 0))] * 6 + [((0, 0), (900, 0))] * 6, 10))
    assert hangs.verdicts[0].sentence == (
        "canary error rate cannot be seen: the canary has 500 of 10,400 completed requests (4.8 %) at a weight of 10 %: "
        "it hangs, or requests do not get there"
    )
    again = play(policy(), step(), row([((100, 0), (900, 0))], 10, 120), hangs.state)
    assert again.verdicts[0].unknown is None


def test_the_first_seconds_of_a_weight_do_not_count() -> None:
    assert play(policy(), step(), row([((0, 0), (900, 0))], 10)).verdicts[0].unknown is None


@pytest.mark.long
@pytest.mark.parametrize("per_window", [3, 30, 300])
def test_chance_alone_seldom_looks_like_it(per_window: int) -> None:
    """With 0.7 of its requests completed, an hour of windows: 1 % at most."""
    rng, wrong = random.Random(0), 0
    for _ in range(40):
        counts = []
        for _ in range(60):
            canary = draw(rng, per_window, 0.7 * 0.1 / (1 - 0.3 * 0.1))
            counts.append(((canary, 0), (per_window - canary, 0)))
        wrong += play(policy(slos=["errors"]), step(), row(counts, 10)).verdicts[0].unknown is not None
    assert wrong <= 1
