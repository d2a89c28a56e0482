"""Stable itself in trouble: nothing is started next to it, its lost version is loaded again, and no rollback waits for it."""

from __future__ import annotations

import pytest

from rollout_controller.api.status import Phase
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import Unknown
from rollout_controller.core.plan import LoadVersion, SetWeights, Tell, WriteStatus
from tests.unit.core.story import Story
from tests.world import T0, Behaviour, World, policy

GOOD, SICK, DEAD = Behaviour(errors=0.001), Behaviour(errors=0.05), Behaviour(errors=1.0)


def story(**rules: object) -> Story:
    told = Story(World(behaviours={"1": GOOD, "2": GOOD, "3": GOOD, "5": DEAD}), policy(**rules))
    told.settle()
    return told


def sick() -> Story:
    told = story()
    told.world.behaviours["1"] = SICK
    told.note("stable begins to fail 5 % of its requests")
    told.run(120)
    told.ask("2", "run-1")
    told.settle()
    told.run(30)
    assert told.status.phase is Phase.PREPARING
    assert told.status.reason is not None
    assert told.status.reason.code == Code.STABLE_MISSES
    return told


def test_no_traffic_is_shifted_while_stable_misses_its_objective() -> None:
    told = sick()
    assert told.weights == {"blue": 100, "green": 0}
    assert told.status.reason is not None
    assert "errors: error rate 5.0 %, at most 1 %" in told.status.reason.sentence
    assert "`rollouts promote resnet50` starts it now" in told.status.reason.sentence
    told.world.behaviours["1"] = GOOD
    told.note("stable is well again")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("stable-misses")


def test_a_stable_that_stays_in_trouble_ends_the_attempt_before_it_has_traffic() -> None:
    told = sick()
    told.run(560)
    assert told.status.phase is Phase.PREPARING
    assert told.run_until_rest() is Phase.STALLED
    assert told.weights == {"blue": 100, "green": 0}
    assert (told.status.attempts[0].outcome, told.status.attempts[0].reason.code) == ("Failed", Code.STABLE_MISSES)
    assert told.world.now < T0 + 1000
    told.check("stable-misses-for-good")


def test_a_person_may_start_it_all_the_same() -> None:
    """The version may be the remedy. It begins with the first step: nothing is known of it."""
    told = sick()
    told.command("promote-full", "c1")
    told.settle()
    assert told.status.phase is Phase.PREPARING
    assert told.status.command_result == "promote-full was not done: the canary has no traffic yet."
    told.command("promote", "c2")
    told.settle()
    assert str(told.status.phase) == "Progressing"
    assert told.weights == {"blue": 90, "green": 10}
    assert (told.status.observed_command, told.status.command_done) == ("promote c2", True)


def test_the_way_back_to_a_version_that_was_stable_is_open() -> None:
    told = story()
    told.ask("2", "run-1")
    told.settle()
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.world.behaviours["2"] = SICK
    told.note("version 2, now stable, begins to fail")
    told.run(120)
    told.ask("1", "run-2")
    told.settle()
    told.run(20)
    assert told.status.phase is Phase.PROGRESSING
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("way-back")


def test_a_source_that_does_not_answer_is_no_sign_against_stable() -> None:
    told = story()
    told.world.dark = (told.world.now, told.world.now + 1000)
    told.run(100)
    told.ask("2")
    told.settle()
    told.run(20)
    assert told.status.phase is Phase.PROGRESSING


# --- a stable that lost its version


def loads(told: Story) -> list[tuple[str, str]]:
    return [(a.slot, a.version) for plan in told.plans for a in plan.actions if isinstance(a, LoadVersion)]


def lost(told: Story) -> list[str]:
    return [a.sentence for plan in told.plans for a in plan.actions if isinstance(a, Tell) and a.code == Code.STABLE_LOST]


def test_stable_is_loaded_again_at_rest() -> None:
    told = story()
    told.world.running["blue"] = None
    told.note("blue's Triton was restarted: it answers, and runs no version")
    told.settle()
    assert loads(told) == [("blue", "1")]
    assert lost(told) == ["Blue, which is stable, no longer runs version 1, it runs no version; it is loaded again."]
    told.run(60)
    assert told.world.running["blue"] == "1"
    assert told.status.phase is Phase.IDLE
    assert told.status.stable_loss is None
    told.run(600)
    assert loads(told) == [("blue", "1")], "once"


def test_after_a_promotion_the_promoted_version_is_the_one_that_is_kept() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run_until_rest()
    told.world.running["green"] = None
    told.settle()
    assert loads(told)[-1] == ("green", "2")


def test_stable_is_loaded_again_in_an_attempt_which_goes_on() -> None:
    told = story()
    told.ask("2")
    told.settle()
    told.run(30)
    told.world.running["blue"] = None
    told.note("blue's Triton was restarted: it answers, and runs no version")
    told.settle()
    assert loads(told)[-1] == ("blue", "1")
    assert told.run_until_rest() is Phase.SUCCEEDED


def test_a_rollback_does_not_wait_for_a_lost_stable() -> None:
    told = story()
    told.ask("5")
    told.settle()
    while told.status.phase is not Phase.PROGRESSING:
        told.run(5)
    told.run(20)
    told.world.running["blue"] = None
    told.world.load = lambda _slot, _version: None  # type: ignore[method-assign,assignment]
    told.note("blue loses its version and no load helps")
    told.command("abort", "c1")
    plan = told.tick()
    assert [type(action) for action in plan.actions[:2]] == [SetWeights, WriteStatus]
    assert LoadVersion("blue", "1") in plan.actions
    assert told.run_until_rest() is Phase.ABORTED
    assert told.weights == {"blue": 100, "green": 0}


def test_a_load_that_does_not_help_is_tried_at_ever_longer_intervals() -> None:
    told = story()
    told.world.running["blue"] = None
    told.world.load = lambda _slot, _version: None  # type: ignore[method-assign,assignment]
    told.world.window_s = 15.0
    told.run(3600)
    assert 12 <= len(loads(told)) <= 20
    assert len(lost(told)) == 1
    told.restart()
    told.run(60)
    assert len(loads(told)) <= 21, "also after a restart"


@pytest.mark.parametrize("then", ["Restore", "Pause", "Abort"])
def test_another_version_loaded_by_hand_is_a_matter_of_the_policy(then: str) -> None:
    told = story(drift={"then": then})
    told.world.load = lambda _slot, _version: None  # type: ignore[method-assign,assignment]
    told.world.running["blue"] = "3"
    told.run(10)
    assert len(lost(told)) == 1
    assert lost(told)[0].endswith("it is loaded again." if then == "Restore" else "left as it is, as the policy says.")
    assert bool(loads(told)) == (then == "Restore")
    told.run(600)
    assert len(lost(told)) == 1


def test_a_triton_that_does_not_answer_is_left_alone() -> None:
    told = story()
    seen = told.world.slot
    silent = Unknown("no-answer", "refused")
    told.world.slot = lambda name: type(seen(name))(problem=silent) if name == "blue" else seen(name)  # type: ignore[method-assign]
    told.run(600)
    assert loads(told) == []
