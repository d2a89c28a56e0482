"""Nobody gets more traffic because time has passed, and an attempt is over only when its traffic was seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.core.observation import Counts, SliReading, SlotState, Unknown, WorkloadState
from rollout_controller.core.plan import Plan, SetWeights
from tests import kubelet
from tests.unit.core.story import Story
from tests.world import Behaviour, World, policy

GPU = {"name": "gpu", "source": "dcgm", "above": "90%", "for": "2m"}
PAUSES: list[dict[str, Any]] = [{"weight": 10, "pause": {"duration": "5m"}}, {"weight": 50}, {"weight": 100}]


def trying(rules: RolloutPolicy, **behaviour: Any) -> Story:
    """Version 2 has its first traffic."""
    told = Story(World(behaviours={"1": Behaviour(), "2": Behaviour(**behaviour)}), rules)
    told.settle()
    told.ask("2", "r1")
    run_to(told, Phase.PROGRESSING)
    return told


def run_to(told: Story, phase: Phase) -> None:
    for _ in range(2000):
        if told.status.phase is phase:
            return
        told.world.advance(told.world.now + 5)
        told.settle()
    raise AssertionError(f"{told.status.phase} for ever: {told.status.reason}")


def while_in(told: Story, phase: Phase) -> None:
    for _ in range(30_000):
        if told.status.phase is not phase:
            return
        told.world.advance(told.world.now + 5)
        told.settle()
    raise AssertionError(f"{phase} for ever")


def test_a_pause_that_ends_in_the_dark_is_no_step_forward() -> None:
    told = trying(policy(steps=PAUSES))
    run_to(told, Phase.PAUSED)
    told.world.dark = (told.world.now + 5, told.world.now + 40_000)
    while_in(told, Phase.PAUSED)
    assert told.status.attempts[0].weight == 10
    assert told.status.reason is not None
    assert (told.status.reason.code, told.weights) == ("BlindTooLong", {"blue": 100, "green": 0})


def test_a_pause_that_ends_with_a_guard_over_its_limit_is_no_step_forward() -> None:
    told = trying(policy(guards=[{**GPU, "then": "Hold"}], steps=PAUSES))
    run_to(told, Phase.PAUSED)
    told.world.behaviours["2"] = Behaviour(gpu=0.99)
    told.run(600)
    assert (told.status.phase, told.weights["green"]) == (Phase.PAUSED, 10)
    told.world.behaviours["2"] = Behaviour()
    while_in(told, Phase.PAUSED)
    assert told.weights["green"] == 50


def test_a_pause_for_a_person_does_what_the_policy_says_also_in_a_step_with_a_pause_of_its_own() -> None:
    rules = policy(
        undecided={"after": "3m", "then": "Pause"},
        paused={"after": "20m", "then": "Rollback"},
        steps=PAUSES,
    )
    told = Story(World(rps=20, behaviours={"1": Behaviour(), "2": Behaviour(errors=0.011)}), rules)
    told.settle()
    told.ask("2", "r1")
    run_to(told, Phase.PAUSED)
    assert told.status.reason is not None
    assert told.status.reason.code == "UndecidedPause"
    while_in(told, Phase.PAUSED)
    assert told.status.attempts[0].reason.code == "PauseRanOut"
    assert told.weights["green"] == 0


def test_who_resumes_what_somebody_set_to_nothing_gets_the_steps_weight_again() -> None:
    told = trying(policy(drift={"then": "Pause"}))
    told.run(20)
    told.somebody_sets(blue=100, green=0)
    told.run(20)
    assert told.status.phase is Phase.PAUSED
    told.command("resume", "a1")
    told.run(20)
    assert (told.status.phase, told.weights["green"]) == (Phase.PROGRESSING, 10)


@pytest.mark.parametrize("then", ["Restore", "Pause", "Abort"])
def test_a_rollback_that_was_stuck_is_made_up_for_when_it_can_be_whatever_drift_means(then: str) -> None:
    errors = [{"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}}]
    told = trying(policy(drift={"then": then}, steps=[{"weight": 50}, {"weight": 100}], slos=errors), errors=0.3)
    perform = told.perform

    def suppressed(action: object, plan: Plan) -> None:
        """As the applier does: no route, no traffic to move."""
        if not (isinstance(action, SetWeights) and told.route_problem):
            perform(action, plan)

    told.perform = suppressed  # type: ignore[method-assign]
    told.route_problem = Unknown("not-found", "there is no http route 'resnet50'")
    run_to(told, Phase.STALLED)
    assert told.status.attempts[0].traffic_off_at is None, "nobody may say that it is off"
    assert told.weights["green"] == 50
    told.route_problem = None
    told.run(300)
    assert told.weights == {"blue": 100, "green": 0}


def test_a_version_whose_last_step_was_under_way_is_not_stable_because_the_status_is_lost() -> None:
    told = trying(policy())
    for _ in range(1000):
        if told.weights["green"] == 100:
            break
        told.run(5)
    told.run(5)
    assert told.status.phase is Phase.PROGRESSING
    told.stored, told.memory = RolloutStatus(), None
    told.settle()
    assert told.status.stable_slot == "blue"
    assert told.weights["green"] < 100


@pytest.mark.parametrize("retreat", [None, {"coolDown": "60s", "strikes": 3}])
def test_users_are_taken_from_a_slot_without_pods_whose_failures_nobody_counts(retreat: dict[str, Any] | None) -> None:
    """Istio names no workload for a request that found no healthy pod; before, users stayed for minutes."""
    spec = {name: value for name, value in kubelet.spec().items() if name != "scale"}
    rules = policy(steps=[{"weight": 50}, {"weight": 100}], unknown={"after": "10m"}, retreat=retreat or "off")
    told = Story(World(behaviours={"1": Behaviour(), "2": Behaviour()}), rules, spec)
    told.deploy_pods(blue=2, green=2)
    told.settle()
    told.ask("2", "r1")
    run_to(told, Phase.PROGRESSING)
    slot, reading = told.slot, told.world.reading

    def crashed(name: str) -> SlotState:
        state = slot(name)
        if name == "blue" or not isinstance(state.workload, WorkloadState):
            return state
        return replace(state, ready=False, workload=replace(state.workload, ready=0))

    def uncounted(kind: str, canary: str, since: float) -> SliReading:
        found = reading(kind, canary, since)
        return replace(found, windows=tuple(window._replace(canary=Counts(0, 0)) for window in found.windows))

    told.slot, told.world.reading = crashed, uncounted  # type: ignore[method-assign]
    began = told.world.now
    while told.weights["green"]:
        told.run(5)
        assert told.world.now < began + 60
    assert told.status.phase is (Phase.RETREATED if retreat else Phase.ROLLED_BACK)
    run_to(told, Phase.ROLLED_BACK)
    assert "green has no pod that serves (0 of 2 pods of triton-green ready)" in told.status.attempts[0].reason.sentence.lower()
