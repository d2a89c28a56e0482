"""Evidence of health against exact computations."""

from __future__ import annotations

import math
from itertools import product

import pytest

from rollout_controller.core.judge import assess, health
from rollout_controller.core.observation import Counts
from tests.unit.judge.worlds import T0, play, policy, readings, row, step


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


def test_the_tolerable_share_is_the_objective_plus_what_the_next_weight_may_cost() -> None:
    assert health.tolerable(0.01, 0.005, 25) == pytest.approx(0.03)
    assert health.tolerable(0.01, 0.005, 100) == pytest.approx(0.015)
    assert health.tolerable(0.05, 0.025, 1) == pytest.approx(0.525)


@pytest.mark.parametrize("share", [1.0, 1.2, 3.0])
def test_under_the_null_hypothesis_health_gains_nothing_in_the_mean(share: float) -> None:
    p_tol, n = 0.1, 60
    mean = sum(binomial(n, b, share * p_tol) * math.exp(health.log_health(Counts(n, b), p_tol)) for b in range(n + 1))
    assert mean <= 1 + 1e-9
    assert share > 1 or mean == pytest.approx(1)


@pytest.mark.long
def test_a_version_at_the_tolerable_share_is_called_healthy_too_seldom_to_matter() -> None:
    """Exact probability that S ever reaches 1/beta within 500 requests: a recursion over the counts."""
    p_tol, beta = 0.1, 0.05
    alive, healthy = {0: 1.0}, 0.0
    for n in range(1, 501):
        after: dict[int, float] = {}
        for bad, chance in alive.items():
            for more, p in ((0, 1 - p_tol), (1, p_tol)):
                after[bad + more] = after.get(bad + more, 0.0) + chance * p
        alive = {bad: c for bad, c in after.items() if health.log_health(Counts(n, bad), p_tol) < -math.log(beta)}
        healthy += sum(after.values()) - sum(alive.values())
    assert 0.005 < healthy <= beta


def test_what_is_proven_is_what_the_sum_says() -> None:
    for n, bad, effect in product(range(0, 600, 7), range(6), (1.0, 1.7)):
        enough = health.log_health(Counts(n, bad), 0.03, effect) >= -math.log(0.05)
        assert health.proves(Counts(n, bad), 0.03, log_beta=math.log(0.05), design_effect=effect) == enough


@pytest.mark.parametrize("p_tol", [0.015, 0.03, 0.15])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.33, 0.6])
@pytest.mark.parametrize("seen", [(0, 0), (20, 1), (100, 0)])
@pytest.mark.parametrize("design_effect", [1.0, 2.5])
def test_the_requests_needed_are_those_a_search_finds(
    p_tol: float, share: float, seen: tuple[int, int], design_effect: float
) -> None:
    bad_share = share * p_tol
    needed = health.requests_needed(Counts(*seen), bad_share, p_tol, log_beta=math.log(0.05), design_effect=design_effect)

    def enough(more: int) -> bool:
        total, bad = seen[0] + more, seen[1] + more * bad_share
        mean: float = sum(
            (f**bad * ((1 - f * p_tol) / (1 - p_tol)) ** (total - bad)) ** (1 / design_effect) for f in (0.1, 0.3, 0.5, 0.7)
        )
        return mean / 4 >= 20

    assert needed is not None
    assert enough(math.ceil(needed * 1.001))
    assert needed <= 1 or not enough(math.floor(needed * 0.97) - 1)


def test_at_the_tolerable_share_no_number_of_requests_is_enough() -> None:
    assert health.requests_needed(Counts(100, 3), 0.03, 0.03, log_beta=math.log(0.05)) is None


def test_health_begins_anew_with_each_step() -> None:
    good = play(policy(), step(), row([((200, 0), (1800, 9))] * 4, 15))
    assert good.verdicts[0].verdict == "Satisfied"
    next_step = assess(policy(), step(1, None), good.state, readings(errors=()), T0)
    assert next_step.verdicts[0].verdict == "Undecided"
    arrived = play(policy(), step(1, 60), row([((5, 0), (15, 0))], 15, 60), next_step.state)
    assert arrived.verdicts[0].verdict == "Undecided"
    assert arrived.state.slos["errors"].step_canary.total == 5
    assert arrived.verdicts[0].requests == 805


def test_nothing_is_called_healthy_while_signs_of_harm_are_fresh() -> None:
    good = play(policy(), step(), row([((5000, 1), (45000, 9))] * 6, 15))
    assert good.verdicts[0].verdict == "Satisfied"
    shaken = play(policy(), step(), row([((100, 60), (900, 1))] * 6, 15, 90), good.state)
    assert shaken.harm is None
    assert health.log_health(Counts(30_600, 366), 0.03) > math.log(20)
    assert shaken.state.slos["errors"].questions["absolute"].log_e > math.log(3)
    assert shaken.verdicts[0].verdict == "Undecided"
    assert "signs of harm" in shaken.verdicts[0].sentence
