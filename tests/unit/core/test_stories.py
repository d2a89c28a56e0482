"""Whole attempts as transcripts (tests/golden/stories): read them, they say what the controller does."""

from __future__ import annotations

import pytest

from rollout_controller.api.status import Phase
from rollout_controller.core.observation import Unknown
from tests.unit.core.story import Story
from tests.world import Behaviour, World, policy

GOOD = Behaviour(errors=0.001, slow=0.01)
WORLD = {
    "1": GOOD,
    "2": GOOD,
    "3": Behaviour(errors=0.05, slow=0.01),
    "4": Behaviour(errors=0.001, slow=0.38),
    "5": Behaviour(errors=1.0),
    "6": Behaviour(errors=0.001, gpu=0.98),
    "7": Behaviour(fails_to_load="No module named 'torchvision'"),
}


def story(**rules: object) -> Story:
    told = Story(World(behaviours=dict(WORLD)), policy(**rules))
    told.settle()
    return told


def test_a_good_version_is_promoted_step_by_step() -> None:
    told = story()
    told.ask("2", "run-8841")
    told.settle()
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert told.weights == {"blue": 0, "green": 100}
    assert told.status.attempts[0].outcome == "Promoted"
    assert not any(step.unproven for step in told.status.attempts[0].steps_done)
    told.check("good")


@pytest.mark.parametrize(("version", "name"), [("3", "errors"), ("4", "latency"), ("5", "dies")])
def test_harm_is_rolled_back(version: str, name: str) -> None:
    told = story()
    told.ask(version)
    told.settle()
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.weights == {"blue": 100, "green": 0}
    told.run(600)
    assert told.status.phase is Phase.ROLLED_BACK, "the version that was just rolled back is not tried again unasked"
    told.check(f"harm-{name}")


def test_gpu_saturation_is_rolled_back_by_its_guard() -> None:
    told = story(guards=[{"name": "gpu-saturation", "source": "dcgm", "above": "90%", "for": "1m"}])
    told.ask("6")
    told.settle()
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.status.reason is not None
    assert told.status.reason.code == "GuardOver"
    told.check("harm-gpu")


def test_gpu_guard_holds_while_stable_is_saturated_too() -> None:
    told = story(guards=[{"name": "gpu-saturation", "source": "dcgm", "above": "90%", "for": "1m"}])
    told.world.behaviours["1"] = Behaviour(errors=0.001, gpu=0.97)
    told.ask("6")
    told.settle()
    told.run(500)
    assert told.status.phase is Phase.PROGRESSING
    assert told.weights == {"blue": 90, "green": 10}
    told.run(200)
    assert str(told.status.phase) == "Paused", "the wait has an end: a person is asked"
    told.check("gpu-both")


def test_a_version_that_cannot_be_loaded_ends_without_traffic_moved() -> None:
    told = story()
    told.ask("7")
    told.settle()
    assert told.run_until_rest() is Phase.STALLED
    assert told.mark is None, "nothing was ever written to the route"
    told.ask("2")
    told.settle()
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("load-fails")


def test_pause_and_resume() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(30)
    told.command("pause", "c1")
    told.run(600)
    assert told.weights == {"blue": 90, "green": 10}
    told.command("resume", "c2")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("pause")


def test_harm_during_a_pause_is_rolled_back() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(30)
    told.command("pause", "c1")
    told.run(30)
    told.world.behaviours["2"] = Behaviour(errors=0.3)
    told.note("version 2 begins to fail 30 % of its requests")
    assert told.run_until_rest() is Phase.ROLLED_BACK
    told.check("pause-harm")


def test_abort_and_promote_by_command() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(20)
    told.command("promote", "c1")
    told.run(10)
    assert told.weights == {"blue": 75, "green": 25}
    told.command("resume", "c2")
    told.run(5)
    assert told.status.command_result == "resume was not done: nothing is paused."
    told.command("abort", "c3")
    assert told.run_until_rest() is Phase.ABORTED
    assert told.weights == {"blue": 100, "green": 0}
    told.check("commands")


def test_a_new_version_in_the_middle_supersedes() -> None:
    told = story()
    told.world.behaviours["8"] = GOOD
    told.ask("2", "run-1")
    told.settle()
    told.run(80)
    told.ask("8", "run-2")
    assert told.run_until_rest() in {Phase.IDLE, Phase.SUCCEEDED}
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert [record.outcome for record in told.status.attempts] == ["Promoted", "Superseded"]
    told.check("superseded")


def test_a_fix_asked_during_a_rollback_is_tried_next() -> None:
    told = story()
    told.ask("5")
    told.settle()
    while told.tick().status.phase is not Phase.ROLLING_BACK:
        told.world.advance(told.world.now + 5)
    told.ask("2")
    told.settle()
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert [record.outcome for record in told.status.attempts] == ["Promoted", "RolledBack"]
    told.check("fix-during-rollback")


def test_the_same_version_asked_again() -> None:
    told = story()
    told.ask("1")
    told.run(5)
    assert told.status.phase is Phase.SUCCEEDED, "stable serves it already"
    told.ask("5", "run-1")
    told.settle()
    told.run_until_rest()
    told.ask("5")
    told.run(60)
    assert told.status.attempt_count == 1, "without a new request id it is not tried again"
    told.ask("5", "run-2")
    told.settle()
    told.run_until_rest()
    assert told.status.attempt_count == 2
    told.check("same-again")


def test_a_prometheus_outage_in_a_healthy_attempt_rolls_nobody_back() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(40)
    told.world.dark = (told.world.now, told.world.now + 120)
    told.note("Prometheus is away for two minutes")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("prometheus-outage")


@pytest.mark.parametrize(("then", "phase"), [("Rollback", Phase.ROLLED_BACK), ("Pause", Phase.PAUSED)])
def test_blind_for_too_long_does_what_the_policy_says(then: str, phase: Phase) -> None:
    told = story(unknown={"after": "5m", "then": then})
    told.ask("2")
    told.settle()
    told.run(40)
    told.world.dark = (told.world.now, told.world.now + 100_000)
    told.note("Prometheus is away for good")
    told.run(290)
    assert told.status.phase is Phase.PROGRESSING, "never before its time"
    told.run(30)
    assert told.status.phase is phase
    told.check(f"blind-{then.lower()}")


@pytest.mark.parametrize("then", ["Restore", "Pause", "Abort"])
def test_drift_does_what_the_policy_says(then: str) -> None:
    told = story(drift={"then": then})
    told.ask("2")
    told.settle()
    told.run(40)
    told.somebody_sets(blue=50, green=50)
    told.run(20)
    expected = {"Restore": {"blue": 90, "green": 10}, "Pause": {"blue": 50, "green": 50}, "Abort": {"blue": 100, "green": 0}}
    assert told.weights == expected[then]
    told.check(f"drift-{then.lower()}")


def test_drift_at_rest_is_restored() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run_until_rest()
    told.somebody_sets(blue=100, green=0)
    told.run(10)
    assert told.weights == {"blue": 0, "green": 100}, "a re-applied manifest does not bring the old version back"
    told.check("drift-at-rest")


def test_a_restart_in_the_middle_changes_nothing() -> None:
    told, other = story(), story()
    for each in (told, other):
        each.ask("3")
        each.settle()
    for _ in range(60):
        told.run(5)
        other.run(5)
        other.memory = None
        assert other.status.phase is told.status.phase
        assert other.weights == told.weights
    assert told.status.phase is Phase.ROLLED_BACK
    assert other.status.attempts[0].reason == told.status.attempts[0].reason


def test_the_route_is_gone_in_the_middle() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(40)
    told.route_problem = Unknown("not-found", "there is no VirtualService 'triton' in namespace vision")
    told.note("somebody deletes the VirtualService")
    told.run(1300)
    assert told.status.phase is Phase.STALLED
    told.route_problem = None
    told.note("it is back, with the old weights")
    told.run(20)
    assert told.weights == {"blue": 100, "green": 0}
    told.check("route-gone")


def test_no_traffic_at_all_waits_and_then_does_what_the_policy_says() -> None:
    told = Story(World(behaviours=dict(WORLD), rps=0.0))
    told.settle()
    told.ask("2")
    told.settle()
    told.run(590)
    assert told.status.phase is Phase.PROGRESSING
    assert told.run_until_rest() is Phase.ROLLED_BACK
    told.check("no-traffic")


def test_signs_of_harm_are_not_taken_to_more_users_by_time_alone() -> None:
    told = story(
        undecided={"after": "5m"}, judge={"tolerance": {"errors": "5m", "latency": "5m"}}, hold={"min": "30s", "timeout": "20m"}
    )
    told.ask("3")
    told.settle()
    told.run(325)
    assert told.weights == {"blue": 90, "green": 10}
    assert told.status.reason is not None
    assert told.status.reason.code == "SignsOfHarm"
    assert told.run_until_rest() is Phase.ROLLED_BACK
    told.check("signs-of-harm")


def test_a_canary_that_lost_its_model_is_rolled_back() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(30)
    told.world.running["green"] = None
    told.note("green's Triton was restarted: it answers, and runs no version")
    assert told.run_until_rest() is Phase.ROLLED_BACK
    told.check("canary-lost")
