"""Whole attempts by the product's own decide."""

from __future__ import annotations

from typing import Any

import pytest

from rollout_controller.controller import observe
from rollout_controller.core.explain.codes import Code
from rollout_controller.replay import attempt
from rollout_controller.replay.attempt import Result, play
from rollout_controller.slo import reader
from tests.unit.replay.plays import a_play

ALIGNED: dict[str, Any] = {"aligned": True, "readAfter": "0s", "shift": "0s"}


def test_what_the_controller_does_around_decide_is_done_here_too() -> None:
    assert (attempt.BEFORE_S, attempt.PATIENCE) == (observe.BEFORE_S, reader.PATIENCE)


def test_an_identical_version_is_promoted_step_by_step() -> None:
    result = play(a_play(**ALIGNED), "1")
    assert (result.outcome, result.code, result.harm_met_s, result.off_s, result.verdict_s) == (
        "promoted",
        Code.PROMOTED,
        None,
        None,
        None,
    )
    assert result.weights == ((0.0, 10), (60.0, 50), (120.0, 100))
    assert result.lasted_s == 180.0
    assert result.requests == pytest.approx(20 * (6 + 30 + 60), rel=0.1)


def test_the_same_seed_is_the_same_attempt_and_another_is_another() -> None:
    what = a_play({"errors": "5%"}, hiccups=[{"length": "10s", "every": "2m"}])
    assert play(what, "1/7") == play(what, "1/7")
    assert play(what, "1/7") != play(what, "1/8")


def outage(**rules: object) -> Result:
    return play(a_play({"outage": True}, {"undecided": {"after": "5m"}, **rules}, **ALIGNED), "1")


def test_an_outage_is_out_of_the_way_at_once_and_rolled_back_at_the_third_strike() -> None:
    result = outage()
    assert (result.outcome, result.code, result.retreats) == ("rolled-back", Code.HARM_CAME_BACK, 2)
    assert result.off_s == 15.0
    assert result.verdict_s is not None
    assert result.verdict_s > 120
    assert [weight for _, weight in result.weights] == [10, 0, 10, 0, 10, 0]
    assert result.failed == result.requests


def test_without_a_retreat_the_verdict_takes_the_users_off() -> None:
    result = outage(retreat="off")
    assert (result.code, result.retreats, result.off_s) == (Code.ERRORS_VIOLATED, 0, result.verdict_s)


def test_harm_from_a_weight_on_counts_from_there() -> None:
    result = play(a_play({"outage": True, "fromWeight": "50%"}, {"retreat": "off"}, **ALIGNED), "1")
    assert result.harm_met_s == 60.0
    assert result.verdict_s is not None
    assert result.lasted_s == pytest.approx(60 + result.verdict_s)


def test_a_saturated_gpu_is_rolled_back_by_its_guard() -> None:
    guard = {"name": "gpu", "source": "dcgm", "above": "90%", "for": "30s"}
    result = play(a_play({"gpu": "95%"}, {"guards": [guard], "undecided": {"after": "5m"}}), "1")
    assert (result.outcome, result.code) == ("rolled-back", Code.GUARD_OVER)


def test_a_canary_that_hangs_is_given_up_and_not_called_harmful() -> None:
    result = play(a_play({"hang": "100%"}, {"unknown": {"after": "2m"}, "undecided": {"after": "5m"}}), "1")
    assert (result.outcome, result.code) == ("gave-up", Code.BLIND_TOO_LONG)
    assert result.failed == result.requests > 0


def test_nothing_begins_while_stable_misses_its_objective_unless_a_person_insists() -> None:
    waited = play(a_play(errors="5%", rps=50), "1")
    assert (waited.outcome, waited.code, waited.requests) == ("not-started", Code.STABLE_MISSES, 0)
    assert play(a_play(insist=True, errors="5%", rps=50), "1").outcome != "not-started"


def test_a_gap_delays_and_condemns_nobody() -> None:
    for what in ("unanswered", "unscraped"):
        result = play(a_play(gaps={"length": "50s", "every": "90s", "what": what}), "3")
        assert result.outcome == "promoted"
        assert result.requests == pytest.approx(20 * result.lasted_s * 0.5, rel=0.5)


def test_a_pause_of_the_policy_is_ended_and_another_is_for_a_person() -> None:
    steps = [{"weight": 10, "pause": {}}, {"weight": 100}]
    assert play(a_play(rules={"steps": steps}), "1").outcome == "promoted"
    few = play(a_play(rules={"undecided": {"after": "1m", "then": "Pause"}, "hold": {"min": "1m"}}, rps=0.1), "1")
    assert few.outcome in {"paused", "gave-up"}


def test_too_few_requests_are_no_harm() -> None:
    result = play(a_play(rules={"hold": {"min": "1m", "minRequests": 30, "timeout": "3m"}}, rps=0.05), "1")
    assert (result.outcome, result.code) == ("gave-up", Code.TOO_FEW_REQUESTS)
