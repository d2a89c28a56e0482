"""How a version varies from minute to minute: learned from stable, without its worst stretch."""

from __future__ import annotations

from math import sqrt
from random import Random
from statistics import mean, variance

import pytest

from rollout_controller.api.evidence import Minutes, PendingWindow
from rollout_controller.core.judge import variation
from rollout_controller.core.judge.compared import OWN
from rollout_controller.core.judge.facts import Facts
from rollout_controller.core.judge.questions import AbsoluteQuestion, Arms, RelativeQuestion
from rollout_controller.core.observation import Counts, Slower
from rollout_controller.replay.chance import binomial, poisson


def minutes_of(rng: Random, count: int, requests: float, share: float, spread: float = 0.0) -> tuple[list[int], list[int]]:
    """Requests and bad ones by minute; the share is multiplied by a gamma variable of mean 1 and this deviation."""
    totals = [poisson(rng, requests) for _ in range(count)]
    levels = [rng.gammavariate(spread**-2, spread**2) if spread else 1.0 for _ in range(count)]
    return totals, [binomial(rng, total, min(share * level, 1.0)) for total, level in zip(totals, levels, strict=True)]


@pytest.mark.parametrize(("requests", "share"), [(60, 0.05), (1200, 0.005), (12_000, 0.4), (120_000, 0.005)])
def test_independent_requests_are_seldom_taken_for_ones_that_vary(requests: float, share: float) -> None:
    rng = Random(1)
    found = [variation.of_ordinary(*minutes_of(rng, 20, requests, share)) for _ in range(400)]
    assert sum(value > 0 for value in found) <= 16
    assert max(found) * requests < 4


@pytest.mark.parametrize("spread", [0.3, 0.5])
def test_rates_that_vary_are_measured(spread: float) -> None:
    rng, share = Random(2), 0.01
    found = [variation.of_ordinary(*minutes_of(rng, 20, 60_000, share, spread)) for _ in range(200)]
    doubt = 1 + sqrt(2 / 14)
    assert mean(found) == pytest.approx(doubt * spread**2 * share / (1 - share), rel=0.35)


def test_rates_that_stay_for_some_minutes_tell_as_little_as_fewer_minutes_would() -> None:
    rng, share, spread = Random(2), 0.01, 0.5
    found = []
    for _ in range(200):
        levels = [rng.gammavariate(spread**-2, spread**2) for _ in range(4)]
        totals = [60_000] * 20
        bads = [binomial(rng, 60_000, share * levels[minute // 5]) for minute in range(20)]
        found.append(variation.of_ordinary(totals, bads))
    assert mean(found) > 2 * spread**2 * share / (1 - share)


def test_an_incident_of_a_quarter_of_the_minutes_is_left_out() -> None:
    totals, bads = minutes_of(Random(3), 20, 1200, 0.005)
    bads[8:13] = [total // 3 for total in totals[8:13]]
    assert variation.of_ordinary(totals, bads) == 0


@pytest.mark.parametrize(("dead", "counts_as"), [(0.02, 0.02), (0.33, 0.053)])
def test_incidents_that_come_back_are_how_the_service_is_up_to_ten_times_the_usual(dead: float, counts_as: float) -> None:
    """A minute in which a third fails is a burst; as a variance it would hide versions that fail a tenth of their requests."""
    totals, bads = minutes_of(Random(3), 20, 6000, 0.005)
    for minute in (4, 11, 18):
        bads[minute] = round(totals[minute] * dead)
    shares = [min(bad / total, counts_as) for total, bad in zip(totals, bads, strict=True)]
    found, whole = variation.of_ordinary(totals, bads), variance(shares) / (mean(shares) * (1 - mean(shares)))
    assert whole / 2 < found < 2 * whole


def test_too_few_minutes_and_none_bad_say_nothing() -> None:
    assert variation.of_ordinary([1000] * 5, [0, 90, 0, 80, 10]) == 0
    assert variation.of_ordinary([1000] * 20, [0] * 20) == 0
    assert variation.of_ordinary([10] * 20, [10] * 20) == 0


def test_windows_make_minutes_by_edge_and_the_last_twenty_are_kept() -> None:
    minutes = Minutes()
    for number in range(4 * 30):
        minutes = variation.remember(minutes, 15.0, Counts(100, number % 3), (Slower(50.0, 1, 20),))
        minutes = variation.remember(minutes, 15.0, Counts(0, 0), ())
    assert minutes.edges == (OWN, 50.0)
    assert minutes.counts[0] == (400,) * 20
    assert minutes.counts[2] == (80,) * 20
    assert minutes.now == (400, 5, 80)
    assert variation.at(minutes, 50.0) == 0
    assert variation.at(minutes, 25.0) == 0


def test_other_edges_begin_anew() -> None:
    minutes = variation.remember(Minutes(), 60.0, Counts(100, 3), (Slower(50.0, 1, 20),))
    minutes = variation.remember(minutes, 60.0, Counts(50, 1), ())
    assert (minutes.edges, minutes.now, minutes.counts) == ((OWN,), (50, 1), ((), ()))


def test_an_arm_s_evidence_is_divided_by_what_its_own_requests_vary() -> None:
    """With twice the requests in the same time, what varies weighs as much; what is independent weighs less beside it."""
    assert variation.effect(0.0, 10_000) == 1
    assert variation.effect(0.001, 10_000) == pytest.approx(11)
    question = AbsoluteQuestion(0.01)
    plain, divided = (question.log_likelihoods(Arms(Counts(1000, 20), Counts(0, 0), 0.0, effect)) for effect in (1.0, 5.0))
    assert divided == pytest.approx([value / 5 for value in plain])


def test_a_relative_question_with_one_effect_for_both_arms_is_that_of_fewer_requests() -> None:
    question = RelativeQuestion(1.1, 0.0005, "relative")
    few = question.log_likelihoods(Arms(Counts(1000, 10), Counts(9000, 45), 0.005))
    many = question.log_likelihoods(Arms(Counts(4000, 40), Counts(36_000, 180), 0.005, 4.0, 4.0))
    assert many == pytest.approx(few, abs=1e-9)


@pytest.mark.parametrize(("seconds", "expected"), [(30.0, 1 + 0.001 * 1000), (60.0, 1 + 0.001 * 500), (150.0, 1 + 0.001 * 500)])
def test_what_varies_is_the_same_for_a_minute_or_for_a_longer_window(seconds: float, expected: float) -> None:
    pending = PendingWindow(end=1.8e9, seconds=seconds, canary=Counts(500, 5), stable=Counts(4500, 45))
    known = Minutes(edges=(OWN,), counts=((), ()), variation=(0.001,))
    arms = Facts(pending, {OWN: (pending.canary, pending.stable)}, (), known, 1.0, 0.01).own(0.0)
    assert arms.effect == pytest.approx(expected)
    assert arms.stable_effect == pytest.approx(1 + 9 * (expected - 1))
