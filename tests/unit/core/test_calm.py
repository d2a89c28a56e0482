"""Which news can wait: nothing may follow from it, and what follows later is what would have followed at once."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from rollout_controller.core.calm import Calm, Quiet
from rollout_controller.core.observation import Counts, GaugeReading, SliReading, Unknown, Window
from rollout_controller.core.plan import Plan
from rollout_controller.replay import attempt
from rollout_controller.replay.attempt import Play, Result
from tests.unit.replay.plays import a_play

T = 1_800_000_000.0
JOINING = Quiet(judged_to=T, whole_at=T + 20, alarming=0.03, harmless=-1.0, least=0.07)
"""Compared with stable: windows wait while they only join what is pending."""
ALONE = JOINING._replace(whole_at=T, harmless=0.01)
"""Not compared: windows within the objective wait, whole or not."""


def window(end: float, bad: int, *, requests: int = 200, stable: int = 1800) -> Window:
    return Window(T + end - 10, T + end, Counts(requests, bad), Counts(stable, 9))


@pytest.mark.parametrize(
    ("quiet", "windows", "waits"),
    [
        (JOINING, [], True),
        (JOINING, [window(10, 0)], True),
        (JOINING, [window(10, 6)], True),  # over the objective, and yet no question is asked of it before it is whole
        (JOINING, [window(10, 7)], False),  # the lane may fire
        (JOINING, [window(10, 0), window(20, 0)], False),  # whole: it is judged
        (JOINING, [window(10, 0, requests=0, stable=0)], True),
        (JOINING, [window(10, 0, requests=100)], False),  # of 1,900 at 10 %: the canary may hang
        (ALONE, [window(10, 2), window(20, 2), window(30, 0)], True),
        (ALONE, [window(10, 3)], False),
        (ALONE, [window(10, 0), window(20, 3), window(30, 0)], False),
    ],
)
def test_a_window_waits_while_nothing_can_follow_from_it(quiet: Quiet, windows: list[Window], waits: bool) -> None:
    assert quiet.covers(windows) is waits


def test_what_cannot_be_seen_and_what_is_over_its_limit_never_waits() -> None:
    calm = Calm("green", {"errors": ALONE}, {"gpu": 0.9})
    fine, usual = SliReading((window(10, 1),)), GaugeReading(0.5, 0.5, T + 9)
    dark = Unknown("no-answer", "Prometheus does not answer")
    assert calm.covers({"errors": fine}, {"gpu": usual})
    assert not calm.covers({"errors": SliReading((), dark)}, {"gpu": usual})
    assert not calm.covers({"errors": fine}, {"gpu": dark})
    assert not calm.covers({"errors": fine}, {"gpu": GaugeReading(0.91, 0.5, T + 9)})


class Eager(attempt._Attempt):
    """A controller that has a turn for each window."""

    def _can_wait(self, now: float) -> bool:
        return False


class Counted(attempt._Attempt):
    """One that notes how many windows waited."""

    waited = 0

    def _can_wait(self, now: float) -> bool:
        waits = super()._can_wait(now)
        self.waited += waits
        return waits


DEFAULTS: dict[str, Any] = {"hold": {"min": "2m", "minRequests": 0}, "undecided": {"after": "4m"}}
ABSOLUTE: dict[str, Any] = {**DEFAULTS, "compareToStable": None}
GPU = {"guards": [{"name": "gpu", "source": "dcgm", "above": "90%", "for": "1m", "then": "Rollback"}]}
HICCUPS = {"hiccups": [{"length": "15s", "every": "6m", "pods": 2, "stablePods": 8}]}
PLAYS: dict[str, Play] = {
    "identical": a_play({}, DEFAULTS, scrape="5s"),
    "identical, hiccups": a_play({}, DEFAULTS, insist=True, scrape="5s", **HICCUPS),
    "identical, hiccups, not compared": a_play({}, ABSOLUTE, insist=True, scrape="10s", **HICCUPS),
    "identical, few requests": a_play({}, DEFAULTS, scrape="10s", rps=2),
    "errors": a_play({"errors": "4%"}, DEFAULTS, scrape="5s"),
    "errors, not compared": a_play({"errors": "3%"}, ABSOLUTE, scrape="10s"),
    "errors later": a_play({"errors": "10%", "after": "3m"}, ABSOLUTE, scrape="5s"),
    "slow": a_play({"p95": "110ms"}, DEFAULTS, scrape="10s", rps=100),
    "outage": a_play({"outage": True, "after": "1m"}, DEFAULTS, scrape="5s"),
    "outage at 50 %": a_play({"outage": True, "fromWeight": "50%"}, ABSOLUTE, scrape="5s"),
    "gpu": a_play({"gpu": "97%", "after": "1m"}, {**DEFAULTS, **GPU}, scrape="5s"),
    "three bad minutes": a_play({}, {**DEFAULTS, "judge": {"rule": "threshold", "failures": 2}}, scrape="10s", errors="0.9%"),
    "Prometheus away": a_play({}, DEFAULTS, scrape="5s", gaps={"length": "40s", "every": "3m", "what": "unanswered"}),
}


@pytest.mark.parametrize("name", PLAYS)
def test_who_looks_at_every_window_at_once_decides_the_same_at_the_same_moment(name: str) -> None:
    found: list[Result] = []
    waited = 0
    for seed in ("1", "2", "3"):
        calm = Counted(PLAYS[name], Random(seed))
        found.append(calm.run())
        waited += calm.waited
        assert found[-1] == Eager(PLAYS[name], Random(seed)).run()
    assert waited >= 5


class Watched(attempt._Attempt):
    """One that keeps its plans."""

    def _perform(self, plan: Plan, now: float) -> bool:
        self.plans = [*getattr(self, "plans", []), (now, plan)]
        return super()._perform(plan, now)


@pytest.mark.parametrize("hold_s", [20, 120])
def test_calm_does_not_keep_the_status_from_being_written_in_time(hold_s: int) -> None:
    """Who watches a step of twenty seconds sees it every ten."""
    rules = {"hold": {"min": f"{hold_s}s", "minRequests": 0}, "undecided": {"after": f"{2 * hold_s}s"}}
    watched = Watched(a_play({}, rules, scrape="5s", rps=200), Random("1"))
    watched.run()
    calm = [(now, plan) for now, plan in watched.plans if plan.calm is not None]
    assert calm
    for now, plan in calm:
        assert plan.status.judge_written_at is not None
        assert now < plan.look_again <= plan.status.judge_written_at + min(hold_s / 2, 30.0) + 0.1
