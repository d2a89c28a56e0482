"""The simple rule: windows in a row over the objective."""

from __future__ import annotations

from typing import Any

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge import assess
from tests.unit.judge.worlds import T0, play, policy, readings, row, step

BAD, GOOD, NONE = ((100, 2), (900, 1)), ((100, 0), (900, 1)), ((0, 0), (900, 1))


def simple(**judge: Any) -> PolicySpec:
    return policy(rule="threshold", window="1m", **judge)


def test_three_windows_in_a_row_are_harm() -> None:
    found = play(simple(), step(), row([BAD] * 20, 15))
    assert found.harm is not None
    assert found.harm_at == T0 + 180
    assert found.harm.sentence == (
        "canary error rate 2.0 % [1.0, 3.4] (40 of 2,000), stable 0.1 %, at most 1 %: 3 windows of 60 s in a row over the limit"
    )


def test_a_window_within_it_begins_anew_and_one_without_requests_says_nothing() -> None:
    assert play(simple(), step(), row([BAD, BAD, GOOD] * 20, 60)).harm is None
    assert play(simple(), step(), row([BAD, BAD, NONE, BAD], 60)).harm is not None
    assert play(simple(failures=1), step(), row([GOOD, BAD], 60)).harm_at == T0 + 120


def test_a_step_is_fine_while_its_last_window_is() -> None:
    fine = play(simple(), step(), row([GOOD], 60))
    assert fine.verdicts[0].verdict == "Satisfied"
    assert play(simple(), step(), row([BAD], 60, 60), fine.state).verdicts[0].verdict == "Undecided"
    assert play(simple(), step(1, 60), row([GOOD], 15, 60), fine.state).verdicts[0].verdict == "Undecided"


def test_worse_than_stable_counts_where_it_is_compared() -> None:
    counts = [((1000, 9), (9000, 9))] * 4
    assert play(simple(), step(), row(counts, 60)).harm is None
    raw = {**simple().to_raw(), "compareToStable": {"tolerance": "10%"}}
    assert play(PolicySpec.model_validate(raw), step(), row(counts, 60)).harm is not None


def test_it_survives_a_restart() -> None:
    windows = row([BAD, BAD, GOOD, BAD, BAD, BAD], 60)
    state: JudgeState | None = None
    for each in windows:
        state = assess(simple(), step(), state, readings(errors=[each]), each.end).state
        state = JudgeState.model_validate(state.to_raw())
    assert state == assess(simple(), step(), None, readings(errors=windows), T0).state
