"""How often a status is written for its evidence alone: with very many attempts less often; what people care about, at once."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.status import Phase
from rollout_controller.core.decide import decide
from rollout_controller.core.observation import RouteState
from rollout_controller.core.plan import Plan, WriteStatus
from rollout_controller.core.turn import REFRESH_S
from tests.unit.core.story import Story
from tests.world import Behaviour, World, policy


def in_an_attempt() -> Story:
    told = Story(World(behaviours={"1": Behaviour(), "2": Behaviour()}), policy(hold={"min": "10m"}, undecided={"after": "20m"}))
    told.settle()
    told.ask("2")
    told.settle()
    told.run(60)
    assert told.status.phase is Phase.PROGRESSING
    return told


def later(told: Story, seconds: float, evidence_s: float, *, drifted: bool = False) -> Plan:
    """What is decided so long after the last write, when nothing new was seen but the hand of somebody on the route."""
    written = told.stored.judge_written_at
    assert written is not None
    seen = told.observe(told.stored)
    if drifted:
        seen = replace(seen, route=RouteState({}, {"blue": 70, "green": 30}, told.mark))
    return decide(told.rollout(), told.policy, seen, written + seconds, told.stored, brief=True, evidence_s=evidence_s)


def test_evidence_is_written_by_its_time_and_the_status_says_when_the_next_is_due() -> None:
    told = in_an_attempt()
    for own_s, due_s in ((0.0, REFRESH_S), (67.0, 67.0)):
        assert not later(told, due_s - 1, own_s).actions
        plan = later(told, due_s, own_s)
        assert plan.actions == (WriteStatus(),)
        assert plan.status.next_check_at is not None
        assert plan.status.judge_written_at is not None
        assert round(plan.status.next_check_at - plan.status.judge_written_at, 3) == due_s


def test_with_a_clock_that_was_set_back_evidence_is_written_on() -> None:
    """Before, it was not until the clock was as late again: a restart in that time lost what was seen."""
    plan = later(in_an_attempt(), -3600, 0.0)
    assert WriteStatus() in plan.actions
    assert later(in_an_attempt(), 1, 0.0).actions == ()


def test_what_people_care_about_is_written_at_once_however_many_attempts_there_are() -> None:
    assert WriteStatus() in later(in_an_attempt(), 1, 120.0, drifted=True).actions
