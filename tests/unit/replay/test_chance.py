"""Draws have the mean and the variance that they say."""

from __future__ import annotations

from math import sqrt
from random import Random
from statistics import fmean, pvariance

import pytest

from rollout_controller.replay.chance import binomial, poisson

DRAWS = 4000


def assert_moments(drawn: list[int], mean: float, variance: float) -> None:
    """Within five standard deviations of the estimates; the seed is fixed."""
    assert abs(fmean(drawn) - mean) <= 5 * sqrt(variance / len(drawn)) + 1e-12
    assert variance * 0.85 <= pvariance(drawn) <= variance * 1.15


@pytest.mark.parametrize("mean", [0.02, 0.7, 9.9, 10.1, 150.0, 1e6])
def test_poisson_has_its_mean_and_variance(mean: float) -> None:
    rng = Random(7)
    many = [poisson(rng, mean) for _ in range(DRAWS * (20 if mean < 0.1 else 1))]
    assert_moments(many, mean, mean)


@pytest.mark.parametrize(("total", "share"), [(5, 0.01), (30, 0.5), (200, 0.03), (400, 0.9), (100_000, 0.005), (100_000, 0.6)])
def test_binomial_has_its_mean_and_variance(total: int, share: float) -> None:
    rng = Random(8)
    many = [binomial(rng, total, share) for _ in range(DRAWS * (4 if total * share < 1 else 1))]
    assert all(0 <= hits <= total for hits in many)
    assert_moments(many, total * share, total * share * (1 - share))


def test_what_cannot_be_and_what_must_be() -> None:
    rng = Random(9)
    assert [binomial(rng, 0, 0.5), binomial(rng, 10, 0.0), binomial(rng, 10, 1.0), poisson(rng, 0.0)] == [0, 0, 10, 0]


def test_rare_tails_of_the_quick_binomial_are_there() -> None:
    """20 expected of 1,000: over 33 come in 0.19 % of the draws."""
    rng = Random(10)
    over = sum(binomial(rng, 1000, 0.02) > 33 for _ in range(40_000)) / 40_000
    assert 0.0012 <= over <= 0.0028
