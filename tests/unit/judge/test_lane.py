"""The lane: users are taken out of the way after one or two windows, and a retreat leaves the verdict's evidence valid."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rollout_controller.api.evidence import JudgeState, QuestionEvidence
from rollout_controller.core.judge import Assessment, StepView, assess, lane
from rollout_controller.core.observation import Counts, Window
from tests.unit.judge.test_harm import binomial
from tests.unit.judge.worlds import T0, play, policy, readings, row, step, window

SPEC = policy()


def watched(retreats: int = 0, left: float | None = None, started: float | None = 0.0) -> StepView:
    left_at = None if left is None else T0 + left
    return replace(step(0, started, first=0.0), retreat=True, retreats=retreats, left_at=left_at)


def alarm_after(windows: tuple[Window, ...], view: StepView | None = None, name: str = "errors") -> int | None:
    """How many windows it took."""
    state: JudgeState | None = None
    for index, each in enumerate(windows):
        result = assess(SPEC, view or watched(), state, readings(**{name: [each]}), each.end)
        state = result.state
        if result.alarm is not None:
            return index + 1
    return None


@pytest.mark.parametrize(("per_window", "least"), [(10, 1), (100, 1), (3, 1), (2, 2), (1, 3)])
def test_an_outage_takes_one_or_two_windows(per_window: int, least: int) -> None:
    assert alarm_after(row([((per_window, per_window), (per_window * 9, 0))] * 9, 5)) == least


def test_what_happened_is_said_of_the_window_that_showed_it() -> None:
    result = play(SPEC, watched(), row([((12, 12), (108, 0))], 5))
    assert result.alarm is not None
    assert (result.alarm.slo, result.alarm.total, result.alarm.bad, result.alarm.seconds, result.alarm.at) == (
        "errors",
        12,
        12,
        5.0,
        T0 + 5,
    )
    assert result.harm is None, "a retreat is no verdict"


@pytest.mark.parametrize(
    "arms",
    [
        ((100, 1), (900, 5)),
        ((100, 2), (900, 5)),
        ((400, 10), (3600, 20)),
        ((100, 50), (900, 450)),
    ],
)
def test_lesser_or_shared_harm_moves_nobody(arms: tuple[tuple[int, int], tuple[int, int]]) -> None:
    assert alarm_after(row([arms] * 200, 5)) is None


def test_nobody_asks_the_lane_when_the_policy_does_not_or_after_five_retreats() -> None:
    windows = row([((50, 50), (450, 0))] * 9, 5)
    assert alarm_after(windows, step()) is None
    assert alarm_after(windows, watched(retreats=5, left=-60)) is None
    assert alarm_after(windows, watched(retreats=4, left=-60)) == 1


def test_slow_requests_are_no_alarm_in_the_grace() -> None:
    spec, windows = policy(grace="30s"), row([((50, 50), (450, 0))] * 9, 5)
    result: Assessment | None = None
    for each in windows[:6]:
        result = assess(spec, watched(), result.state if result else None, readings(latency=[each]), each.end)
        assert result.alarm is None
    assert result is not None
    assert assess(spec, watched(), result.state, readings(latency=windows[6:]), T0).alarm is not None


def test_the_lane_begins_anew_when_the_traffic_comes_back() -> None:
    first = play(SPEC, watched(), row([((12, 12), (108, 0))], 5))
    away = play(SPEC, watched(1, 7, None), row([((0, 0), (120, 0))] * 12, 5, 5), first.state)
    assert away.alarm is None
    assert away.state.lane.entry == 1
    assert away.state.lane.entered_at is None
    back = play(SPEC, watched(1, 7, 66), row([((12, 0), (108, 0))], 5, 70), away.state)
    assert back.state.lane.entered_at == T0 + 70
    assert back.alarm is None
    again = play(SPEC, watched(1, 7, 66), row([((12, 12), (108, 0))], 5, 75), back.state)
    assert again.alarm is not None


def test_a_retreat_closes_the_verdicts_window_and_its_time_is_no_evidence() -> None:
    first = play(SPEC, watched(), row([((12, 12), (108, 0))], 5))
    assert first.state.slos["errors"].pending is not None
    across = play(SPEC, watched(1, 7, None), [window(5, 10, (3, 3), (100, 0))], first.state)
    memory = across.state.slos["errors"]
    assert memory.pending is None
    assert memory.questions["absolute"].log_weights != ()
    away = play(SPEC, watched(1, 7, None), [window(10, 40, (2, 2), (100, 0))], across.state)
    assert away.state.slos["errors"].questions == memory.questions
    left = memory.questions["absolute"].start_left
    back = play(SPEC, watched(1, 7, 45), row([((12, 0), (108, 0))] * 3, 5, 45), away.state).state.slos["errors"]
    assert back.questions["absolute"].start_left == pytest.approx(left - 0.025)
    assert back.step_started_at == T0, "the same step: no new grace"


def test_a_restart_in_a_retreat_decides_as_if_there_had_been_none() -> None:
    windows = (*row([((12, 3), (108, 0))], 5), *row([((12, 12), (108, 0))] * 3, 5, 5))
    one = assess(SPEC, watched(), None, {}, T0)
    for each in windows:
        one = assess(SPEC, watched(), one.state, readings(errors=[each]), T0)
        one = replace(one, state=JudgeState.model_validate(one.state.to_raw()))
    assert assess(SPEC, watched(), None, readings(errors=windows), T0).state == one.state
    assert one.alarm is not None


def test_the_chance_of_a_needless_retreat_is_bounded() -> None:
    """All courses of five windows of three requests at the bound itself."""
    bound, courses = lane.bound("latency", 0.05), 0.0

    def go_on(memory: QuestionEvidence | None, k: int, probability: float) -> None:
        nonlocal courses
        if memory is not None and memory.log_e >= math.log(10):
            courses += probability
            return
        if k == 5:
            return
        for bad in range(4):
            look = lane.Look(Counts(3, bad), Counts(0, 0), 5.0, guarded=False, new_step=k == 0, effect=1.0, step_count=4)
            go_on(lane.grow(bound, memory, look, watched()), k + 1, probability * binomial(3, bad, bound))

    go_on(None, 0, 1.0)
    assert 0 < courses <= 0.1


@pytest.mark.parametrize(("canary", "stable"), [(3, 3), (4, 9), (1, 30)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.6])
def test_the_evidence_of_one_window_beside_stable_is_at_most_one_in_the_mean(canary: int, stable: int, share: float) -> None:
    """At the worst truth, p_c = r p_s + bound, for any p_s: all outcomes, exactly."""
    bound = lane.bound("latency", 0.05)
    bad_share, mean = min(1.1 * share + bound, 1.0), 0.0
    for bad_c in range(canary + 1):
        for bad_s in range(stable + 1):
            look = lane.Look(
                Counts(canary, bad_c), Counts(stable, bad_s), 5.0, guarded=True, new_step=True, effect=1.0, step_count=1
            )
            chance = binomial(canary, bad_c, bad_share) * binomial(stable, bad_s, share)
            mean += chance * math.exp(lane.grow(bound, None, look, watched()).log_e)
    assert mean <= 1 + 1e-5
