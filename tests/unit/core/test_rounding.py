"""Rounding for the memory: the same numbers as `round` gives."""

from __future__ import annotations

import random

import pytest

from rollout_controller.core.rounding import rounded


@pytest.mark.parametrize("digits", [3, 6, 12])
def test_numbers_are_rounded_as_round_does(digits: int) -> None:
    rng = random.Random(digits)
    for scale in (1e-9, 1e-3, 1.0, 40.0, 800.0):
        for _ in range(2000):
            value = rng.uniform(-scale, scale)
            assert rounded(value, 10.0**digits) == round(value * 10.0**digits) / 10.0**digits


def test_of_two_whole_numbers_that_are_as_near_the_even_one_is_taken() -> None:
    assert [rounded(value, 1.0) for value in (0.5, 1.5, 2.5, -0.5, -1.5, -2.5)] == [0, 2, 2, 0, -2, -2]


def test_what_is_rounded_stays_as_it_is() -> None:
    for value in (0.1, -3.141593, 17.000001, 123456.789):
        assert rounded(rounded(value, 1e6), 1e6) == rounded(value, 1e6) == value


def test_nothing_is_written_with_a_minus_and_no_digits() -> None:
    assert str(rounded(-1e-9, 1e6)) == "0.0"
