"""The memory: each window counts once, whenever it comes and however often the controller restarts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_controller.api.evidence import JudgeState, SloEvidence
from rollout_controller.api.meta import parse
from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge import StepView, assess
from rollout_controller.core.observation import SliReading, Slower, Unknown, Window
from tests.unit.judge.worlds import T0, play, policy, readings, row, step, window

pytestmark = pytest.mark.long

SPEC = PolicySpec.model_validate({**policy(grace="20s").to_raw(), "compareToStable": {"tolerance": "10%"}})
"""Everything that the judge can remember."""


@st.composite
def courses(draw: st.DrawFn) -> tuple[list[Window], list[Window]]:
    """Two SLOs' windows in a row, of uneven lengths; latency with another bucket edge, which may be missing."""
    at = 0.0
    errors: list[Window] = []
    latency: list[Window] = []
    for _ in range(draw(st.integers(1, 30))):
        end = at + draw(st.floats(0.5, 40))
        for windows in (errors, latency):
            total, stable = draw(st.integers(0, 50)), draw(st.integers(0, 300))
            made = window(at, end, (total, draw(st.integers(0, total))), (stable, draw(st.integers(0, min(stable, 5)))))
            if windows is latency and draw(st.booleans()):
                made = made._replace(slower=(Slower(50.0, draw(st.integers(0, total)), draw(st.integers(0, stable))),))
            windows.append(made)
        at = end
    return errors, latency


def through_json(state: JudgeState) -> JudgeState:
    return JudgeState.model_validate(json.loads(json.dumps(state.to_raw())))


@st.composite
def views(draw: st.DrawFn) -> StepView:
    """Somewhere in the second step, perhaps after a retreat."""
    first = draw(st.floats(0, 200))
    started = first + draw(st.floats(0, 200))
    view = replace(step(1, started, first=first), retreat=draw(st.booleans()))
    if not draw(st.booleans()):
        return view
    return replace(view, retreats=1, left_at=T0 + draw(st.floats(first, started)))


@settings(max_examples=25, deadline=None)
@given(courses(), views())
def test_a_batch_after_a_restart_decides_as_one_window_at_a_time(
    course: tuple[list[Window], list[Window]], view: StepView
) -> None:
    errors, latency = course
    batch = assess(SPEC, view, None, readings(errors=errors, latency=latency), T0)
    one = assess(SPEC, view, None, {}, T0)
    for e, s in zip(errors, latency, strict=True):
        one = assess(SPEC, view, one.state, readings(errors=[e], latency=[s]), T0)
    assert (one.state, one.verdicts, one.harm, one.harm_at) == (batch.state, batch.verdicts, batch.harm, batch.harm_at)


@settings(max_examples=25, deadline=None)
@given(courses(), views())
def test_what_was_written_goes_on_bit_for_bit(course: tuple[list[Window], list[Window]], view: StepView) -> None:
    kept = written = None
    for e, s in zip(*course, strict=True):
        kept = assess(SPEC, view, kept, readings(errors=[e], latency=[s]), T0).state
        written = through_json(assess(SPEC, view, written, readings(errors=[e], latency=[s]), T0).state)
    assert written == kept
    assert written is not None
    assert json.dumps(written.to_raw()) == json.dumps(kept.to_raw() if kept else None)


@settings(max_examples=25, deadline=None)
@given(courses(), views(), st.data())
def test_late_repeated_and_overlapping_windows_change_nothing(
    course: tuple[list[Window], list[Window]], view: StepView, data: st.DataObject
) -> None:
    errors, _ = course
    clean = play(SPEC, view, errors)
    state = None
    for index, each in enumerate(errors):
        seen = data.draw(st.lists(st.sampled_from(errors[: index + 1]), max_size=3))
        overlapping = [window(w.start - T0 - 1, w.end - T0 + 0.25, (9, 9)) for w in seen if w.end < each.end]
        state = assess(SPEC, view, state, readings(errors=[each]), T0).state
        state = assess(SPEC, view, state, readings(errors=[*seen, *overlapping]), T0).state
    assert state == clean.state


def test_windows_of_one_weight_are_joined_to_a_quarter_of_the_tolerance() -> None:
    short = play(policy(), step(), row([((5, 1), (20, 0))] * 9, 5)).state.slos["errors"]
    long = play(policy(), step(), row([((15, 3), (60, 0))] * 3, 15)).state.slos["errors"]
    assert short.questions == long.questions
    assert short.pending is None
    more = play(policy(), step(), row([((5, 1), (20, 0))] * 10, 5)).state.slos["errors"]
    assert more.questions == short.questions
    assert more.pending is not None
    assert (more.pending.seconds, more.pending.canary.total) == (5.0, 5)


def test_time_without_a_request_goes_to_the_next_window() -> None:
    """Else a service with a request a minute would meet the speed limit at each of them."""
    quiet = play(policy(), step(), row([((0, 0), (20, 0))] * 4, 15))
    assert quiet.state.slos["errors"].questions["absolute"].log_weights == ()
    one = play(policy(), step(), row([((1, 1), (20, 0))], 15, 60), quiet.state).state.slos["errors"]
    alone = play(policy(), step(), row([((1, 1), (20, 0))], 15)).state.slos["errors"]
    assert one.questions["absolute"].log_e > alone.questions["absolute"].log_e


def test_a_joined_window_never_mixes_two_weights() -> None:
    first = play(policy(), step(), row([((5, 1), (20, 0))] * 2, 5))
    assert first.state.slos["errors"].questions["absolute"].log_weights == ()
    second = play(policy(), step(1, 10), row([((9, 0), (20, 0))], 5, 10), first.state).state.slos["errors"]
    assert second.questions["absolute"].start_left == pytest.approx(0.9 - 0.7)
    assert second.pending is not None
    assert second.pending.canary.total == 9
    assert second.new_step


def test_a_window_across_a_change_of_weight_is_counted_but_is_no_evidence() -> None:
    before = play(policy(), step(), row([((5, 0), (20, 0))] * 3, 15))
    across = play(policy(), step(1, 50), [window(45, 60, (30, 30), (20, 0))], before.state)
    old, new = before.state.slos["errors"], across.state.slos["errors"]
    assert new.questions == old.questions
    assert new.step_canary == old.step_canary
    assert new.canary.bad == 30
    assert new.stable_bins != old.stable_bins


def test_latency_in_the_grace_is_no_evidence_but_errors_are() -> None:
    spec = policy(grace="60s")
    windows = row([((50, 50), (450, 0))] * 4, 15)
    for name, silent in (("latency", True), ("errors", False)):
        result = play(spec, step(), windows, name=name)
        evidence = result.state.slos[name]
        assert (evidence.questions["absolute"].log_weights == ()) is silent
        assert evidence.canary.total == 200
    late = play(spec, step(), row([((50, 50), (450, 0))] * 9, 15), name="latency")
    assert late.harm_at == T0 + 60 + 75


def test_impossible_counts_are_dropped_and_said() -> None:
    good = play(policy(), step(), row([((50, 0), (450, 0))] * 3, 15))
    for impossible in ((10, 11), (-1, 0), (10, -1)):
        result = play(policy(), step(), [window(45, 60, impossible, (5, 0))], good.state)
        verdict = result.verdicts[0]
        assert (verdict.verdict, verdict.unknown, verdict.requests) == ("Unknown", "bad-data", 150)
        assert "since 08:00:45 UTC" in verdict.sentence
        after = play(policy(), step(), [window(60, 75, (10, 0), (5, 0))], result.state)
        assert (after.verdicts[0].unknown, after.verdicts[0].requests) == (None, 160)


def test_what_cannot_be_seen_is_unknown_and_its_evidence_is_kept() -> None:
    good = play(policy(), step(), row([((50, 0), (450, 0))] * 3, 15))
    problem = Unknown("no-answer", "Prometheus has not answered (connection refused)", T0 + 50)
    blind = assess(policy(), step(), good.state, {"errors": SliReading((), problem)}, T0 + 100)
    errors, latency = blind.verdicts
    assert (errors.verdict, errors.unknown, errors.requests) == ("Unknown", "no-answer", 150)
    assert errors.sentence == (
        "canary error rate cannot be seen since 08:00:50 UTC: Prometheus has not answered (connection refused)"
    )
    assert (latency.verdict, latency.unknown) == ("Unknown", "not-read-yet")
    assert blind.state == good.state


def test_a_changed_objective_begins_anew() -> None:
    old = play(policy(), step(), row([((50, 3), (450, 0))] * 3, 15)).state
    raw: Any = policy().model_dump(by_alias=True, mode="json", exclude_none=True)
    raw["slos"][0]["errorRate"]["max"] = "2%"
    changed = play(type(policy()).model_validate(raw), step(), row([((50, 3), (450, 0))] * 4, 15), old)
    assert changed.verdicts[0].requests == 50
    assert changed.verdicts[0].objective == 0.02


def test_counts_that_were_written_as_objects_are_read() -> None:
    """So an earlier version wrote them: an attempt that is under way goes on after an upgrade."""
    counts = {"total": 3, "bad": 1}
    pending = {"end": "2026-01-31T13:02:07.250Z", "seconds": 5.0, "canary": counts, "stable": counts}
    slower = [{"edgeMs": 50.0, "canary": 1, "stable": 2}]
    bins, shares = [{"seconds": 30.0, **counts}], [{"edgeMs": 0.0, "total": 3.0, "bad": 1.0}]
    raw = {"objective": 0.01, "canary": counts, "pending": {**pending, "slower": slower}, "stableBins": bins, "recent": shares}
    memory = parse(SloEvidence, raw)
    assert memory.canary == (3, 1)
    assert memory.pending is not None
    assert memory.pending.slower == ((50.0, 1, 2),)
    assert (memory.stable_bins, memory.recent) == (((30.0, 3, 1),), ((0.0, 3.0, 1.0),))


def test_what_is_made_without_a_check_is_whole() -> None:
    """Every value of a memory has all the fields of its model and no others: it is what reading it back gives."""
    spec = PolicySpec.model_validate({**policy().to_raw(), "compareToStable": {"tolerance": "10%"}})
    slower = (Slower(50.0, 60, 520), Slower(25.0, 200, 1800))
    before = [w._replace(slower=slower) for w in row([((0, 0), (3600, 18))] * 20, 5, start=-100)]
    windows = [w._replace(slower=slower) for w in row([((400, 2), (3600, 18))] * 31, 5)]
    state = play(spec, replace(step(), retreat=True), [*before, *windows], name="latency").state
    memory = state.slos["latency"]
    assert memory.compared
    assert memory.pending
    assert memory.lane
    assert memory.routing.log_weights
    raw = state.model_dump(mode="json", by_alias=True)
    assert JudgeState.model_validate(raw).model_dump(mode="json", by_alias=True) == raw
    for made in (memory, memory.pending, memory.lane, memory.routing, *memory.compared, *memory.questions.values()):
        assert vars(made).keys() == type(made).model_fields.keys()
