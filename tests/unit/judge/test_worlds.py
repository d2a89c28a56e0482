"""Figures of whole attempts (tolerance 60 s, absolute question alone), with fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from benchmarks.judge_cells import DEFAULT, made
from rollout_controller.replay.attempt import play
from tests.unit.judge.worlds import World, attempt, policy

pytestmark = pytest.mark.long

SPEC = policy()


def always(share: float) -> Callable[[float], float]:
    return lambda _: share


@pytest.mark.parametrize(("rps", "runs"), [(0.2, 25), (20, 30), (2000, 1)])
def test_an_identical_clean_version_is_never_rolled_back(rps: float, runs: int) -> None:
    world = World(rps, always(0.005), always(0.005))
    assert not any(attempt(SPEC, world, seed).harm_at for seed in range(runs))


def test_a_version_exactly_at_the_objective_is_rolled_back_in_one_of_a_hundred_at_most() -> None:
    world = World(20, always(0.01), always(0.002))
    assert sum(attempt(SPEC, world, seed).harm_at is not None for seed in range(30)) <= 1


@pytest.mark.parametrize("rps", [3, 20])
def test_both_over_the_objective_is_no_reason_to_roll_back(rps: float) -> None:
    world = World(rps, always(0.02), always(0.02))
    assert sum(attempt(SPEC, world, seed).harm_at is not None for seed in range(20)) <= 1


def test_a_pod_hiccup_of_20_seconds_every_5_minutes_is_survived() -> None:
    world = World(20, lambda t: 1.0 if t % 300 < 20 else 0.005, always(0.005), scrape_s=5)
    assert not any(attempt(SPEC, world, seed).harm_at for seed in range(10))


@pytest.mark.parametrize(
    ("rps", "share", "seconds", "bad"), [(20, 1.0, 75, 170), (2000, 1.0, 75, 15_400), (0.2, 1.0, 285, 7), (20, 0.05, 240, 26)]
)
def test_harm_is_found_in_time(rps: float, share: float, seconds: float, bad: int) -> None:
    runs = [attempt(SPEC, World(rps, always(share), always(0.005)), seed) for seed in range(13)]
    assert all(run.harm_at is not None for run in runs)
    assert median(run.harm_at or 0 for run in runs) <= seconds
    assert median(run.bad for run in runs) <= bad


def test_harm_that_begins_at_half_the_traffic_is_found_as_fast() -> None:
    runs = [attempt(SPEC, World(20, lambda t: 1.0 if t >= 720 else 0.005, always(0.005)), seed) for seed in range(20)]
    assert median(run.harm_at or 0 for run in runs) <= 720 + 105


@pytest.mark.parametrize("seed", ["v0", "v2", "v7"])
def test_error_rates_that_flicker_from_minute_to_minute_are_no_reason_to_roll_back(seed: str) -> None:
    """A third of such attempts was rolled back, these among them, before the judge learned from stable how rates vary."""
    world = {"rps": 2000, "flicker": {"spread": 1, "every": "60s"}, "scrape": "15s", "shift": "2s"}
    assert play(made({}, world, DEFAULT, insist=True), seed).outcome == "promoted"
