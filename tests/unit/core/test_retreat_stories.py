"""Retreats as transcripts: users are out of the way at once, the version is judged later (tests/golden/stories/retreat-*)."""

from __future__ import annotations

from rollout_controller.api.status import Phase
from rollout_controller.core.plan import SetWeights, WriteStatus
from rollout_controller.core.states import RESTING
from tests.unit.core.story import Story
from tests.world import Behaviour, World, policy

GOOD, DEAD = Behaviour(errors=0.001, slow=0.01), Behaviour(errors=1.0)
RULE = {"coolDown": "60s", "strikes": 3}


def story(canary: Behaviour = GOOD, **rules: object) -> Story:
    told = Story(World(behaviours={"1": GOOD, "2": canary}), policy(**{"retreat": RULE, **rules}))
    told.settle()
    told.ask("2")
    told.settle()
    return told


def until(told: Story, *phases: Phase, limit_s: float = 2000) -> None:
    end = told.world.now + limit_s
    while told.status.phase not in phases:
        assert told.world.now < end, told.status.phase
        told.run(told.world.window_s)


def test_a_dead_version_strikes_three_times_and_is_rolled_back() -> None:
    told = story(DEAD)
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.status.attempts[0].reason.code == "HarmCameBack"
    served = sum(counted["green"]["errors"].total for _, counted in told.world.history)
    assert served <= 3 * 2 * 50, "10 % of 100 requests a second, two windows of 5 s at most each time"
    told.check("retreat-dead")


PROBED = [{"weight": 1, "minHold": "60s", "probe": True}, {"weight": 10}, {"weight": 100}]


def test_a_probe_ends_by_time_and_is_no_step_without_proof() -> None:
    told = story(steps=PROBED, hold={"min": "3m", "minRequests": 1_000_000, "timeout": "30m"})
    until(told, Phase.PROGRESSING)
    told.run(65)
    attempt = told.status.attempt
    assert attempt is not None
    assert [(step.weight, step.seconds, step.unproven) for step in attempt.steps_done] == [(1, 60, False)]
    assert attempt.weight == 10


def test_a_probe_spares_users_an_outage() -> None:
    told = story(DEAD, steps=PROBED)
    assert told.run_until_rest() is Phase.ROLLED_BACK
    served = sum(counted["green"]["errors"].total for _, counted in told.world.history)
    assert served <= 3 * 3 * 5, "1 % of 100 requests a second, three windows of 5 s at most each time"
    told.check("retreat-probe")


def test_signs_of_harm_end_no_probe_by_time() -> None:
    told = story(Behaviour(errors=0.06, slow=0.01), steps=[{"weight": 5, "minHold": "60s", "probe": True}, {"weight": 100}])
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.status.attempts[0].steps_done == ()


def test_a_hiccup_costs_a_minute_and_not_the_attempt() -> None:
    told = story()
    until(told, Phase.PROGRESSING)
    told.run(40)
    told.world.behaviours["2"] = DEAD
    until(told, Phase.RETREATED, limit_s=20)
    assert told.weights == {"blue": 100, "green": 0}
    told.world.behaviours["2"] = GOOD
    assert told.run_until_rest() is Phase.SUCCEEDED
    done = told.status.attempts[0].steps_done
    assert [step.weight for step in done] == [10, 25, 50, 100]
    first = next(plan for plan in told.plans if plan.reason.code == "StepBegun")
    second = next(plan for plan in told.plans if plan.reason.code == "StepBegun" and "step 2" in plan.reason.sentence)
    assert done[0].seconds == 180, "the clock of the step stood still in the retreat"
    assert second.status.attempt
    assert first.status.attempt
    assert (second.status.attempt.weight_set_at or 0) - (first.status.attempt.weight_set_at or 0) == 240
    told.check("retreat-hiccup")


def test_a_retreat_moves_traffic_first_and_the_return_is_written_first() -> None:
    told = story(DEAD)
    until(told, Phase.RETREATED)
    away = next(plan for plan in told.plans if plan.status.phase is Phase.RETREATED)
    assert isinstance(away.actions[0], SetWeights)
    assert away.actions[0].weights == {"blue": 100, "green": 0}
    until(told, Phase.PROGRESSING)
    back = next(
        p for p in reversed(told.plans) if p.reason.code == "Returned" and any(isinstance(a, SetWeights) for a in p.actions)
    )
    kinds = [type(action) for action in back.actions]
    assert kinds.index(WriteStatus) < kinds.index(SetWeights)


def test_a_controller_that_died_after_the_weights_goes_on_with_the_same_retreat() -> None:
    """Also when nothing can be read any more: the route's mark says it."""
    told = story(DEAD)
    until(told, Phase.PROGRESSING)
    stored = told.stored
    until(told, Phase.RETREATED)
    said, count = told.status.reason, told.status.attempt.retreats if told.status.attempt else 0
    told.stored = stored
    told.restart()
    told.world.dark = (0.0, told.world.now + 30)
    told.settle()
    assert told.status.phase is Phase.RETREATED
    assert told.status.reason == said
    assert told.status.attempt is not None
    assert (told.status.attempt.retreats, told.status.attempt.back_to) == (count, 10)
    until(told, Phase.PROGRESSING)


def test_a_person_ends_the_attempt_in_a_retreat_and_other_commands_get_an_answer() -> None:
    told = story(DEAD)
    until(told, Phase.RETREATED)
    told.command("promote", "a1")
    told.settle()
    assert told.status.command_result is not None
    assert "users are back on stable until" in told.status.command_result
    told.command("abort", "a2")
    told.settle()
    until(told, Phase.ABORTED, limit_s=30)
    assert told.weights == {"blue": 100, "green": 0}


def test_a_pause_is_a_pause_again_after_a_retreat() -> None:
    told = story()
    until(told, Phase.PROGRESSING)
    told.run(20)
    told.command("pause", "p1")
    told.settle()
    ends = told.status.attempt and told.status.attempt.pause_ends_at
    told.world.behaviours["2"] = DEAD
    until(told, Phase.RETREATED, limit_s=20)
    told.world.behaviours["2"] = GOOD
    until(told, Phase.PAUSED, limit_s=90)
    assert told.status.attempt is not None
    assert (told.status.attempt.weight, told.status.attempt.pause_ends_at) == (10, ends)


def test_drift_in_a_retreat_is_put_back_whatever_the_policy_says_of_pauses() -> None:
    told = story(DEAD, drift={"then": "Pause"})
    until(told, Phase.RETREATED)
    told.weights = {"blue": 50, "green": 50}
    told.run(5)
    assert told.weights == {"blue": 100, "green": 0}
    assert told.status.phase is Phase.RETREATED


def test_without_retreat_the_verdict_alone_decides() -> None:
    told = story(DEAD, retreat="off")
    told.run_until_rest()
    assert Phase.RETREATED not in {plan.status.phase for plan in told.plans}


def test_one_strike_is_a_rollback_at_once() -> None:
    told = story(DEAD, retreat={"strikes": 1})
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert Phase.RETREATED not in {plan.status.phase for plan in told.plans}
    assert told.status.reason is not None
    assert "takes that for harm at once" in told.status.reason.sentence


def test_harm_that_comes_and_goes_ends_after_five_retreats() -> None:
    """Later than 15 s after the return it is no strike; then the lane closes and the verdict decides."""
    told = story(unknown={"after": "1h"})
    for _ in range(200):
        entered = told.status.attempt.step_started_at if told.status.attempt else None
        late = entered is not None and told.world.now - entered > 25
        told.world.behaviours["2"] = DEAD if late else GOOD
        told.run(5)
        if told.status.phase in RESTING:
            break
    assert told.status.phase is Phase.ROLLED_BACK
    assert told.status.attempts[0].reason.code == "ErrorsViolated"
    retreats = {p.status.attempt.retreats for p in told.plans if p.status.attempt is not None}
    assert max(retreats) <= 5
