"""What must hold for `decide` whatever happens outside."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import Retreat, RolloutPolicy
from rollout_controller.api.status import Phase, RolloutStatus, VerdictKind
from rollout_controller.core.decide import decide
from rollout_controller.core.observation import Counts, SliReading, Unknown, Window
from rollout_controller.core.plan import Plan, SetWeights, WriteStatus
from rollout_controller.core.states import ON_TRAFFIC, RESTING, TRANSITIONS, Event, IllegalEvent, transition
from tests.unit.core.story import Story
from tests.world import T0, Behaviour, World, policy, with_spec

pytestmark = pytest.mark.long

STEPS = (10, 25, 50, 100)
BLIND_S, PAUSED_S = 60.0, 300.0
RULES = policy(
    unknown={"after": "1m"},
    undecided={"after": "1m"},
    hold={"min": "10s", "minRequests": 10, "timeout": "2m"},
    paused={"after": "5m"},
    judge={"tolerance": {"errors": "10s", "latency": "10s"}},
)
RETREATING = with_spec(RULES, evolve(RULES.spec, retreat=Retreat.model_validate({"coolDown": "20s", "strikes": 2})))
"""The same, with users taken out of the way."""

rules = st.sampled_from([RULES, RETREATING])
deeds = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(["1", "2", "3"]), st.sampled_from([None, "r1", "r2"])),
    st.tuples(st.just("command"), st.sampled_from(["pause", "resume", "promote", "abort", "nonsense"]), st.integers(0, 9)),
    st.tuples(st.just("weights"), st.sampled_from([(100, 0), (0, 100), (50, 50), (75, 25), (90, 10)]), st.none()),
    st.tuples(st.just("behave"), st.sampled_from([0.0, 0.002, 0.05, 1.0]), st.sampled_from(["1", "2", "3"])),
    st.tuples(st.just("dark"), st.integers(5, 100), st.none()),
    st.tuples(st.just("route"), st.booleans(), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
    st.tuples(st.just("wait"), st.integers(1, 12), st.none()),
)


def do(story: Story, deed: tuple[str, object, object]) -> None:
    what, first, second = deed
    match what, first, second:
        case "ask", str(version), request:
            story.ask(version, str(request) if request else None)
        case "command", str(verb), ident:
            story.command(verb, str(ident))
        case "weights", (int(blue), int(green)), _:
            story.weights = {"blue": blue, "green": green}
        case "behave", float(errors), str(version):
            story.world.behaviours[version] = Behaviour(errors=errors)
        case "dark", int(seconds), _:
            story.world.dark = (story.world.now, story.world.now + seconds)
        case "route", bool(gone), _:
            story.route_problem = Unknown("not-found", "gone") if gone else None
        case "restart", _, _:
            story.restart()
        case "wait", int(windows), _:
            story.run(windows * story.world.window_s)


def watched(story: Story) -> list[tuple[RolloutStatus, dict[str, int], Plan]]:
    """From here on, each plan with the status and the weights it met."""
    seen: list[tuple[RolloutStatus, dict[str, int], Plan]] = []
    turn = story.tick

    def tick() -> Plan:
        before, weights = story.status, dict(story.weights)
        plan = turn()
        seen.append((before, weights, plan))
        return plan

    story.tick = tick  # type: ignore[method-assign]
    return seen


fuzz = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@fuzz
@given(st.lists(deeds, max_size=25), rules)
def test_whatever_happens_outside(script: list[tuple[str, object, object]], rules: RolloutPolicy) -> None:
    story = Story(World(behaviours=dict.fromkeys(("1", "2", "3"), Behaviour())), RULES)
    story.settle()
    turns = watched(story)
    for deed in script:
        do(story, deed)
        story.settle()
    for before, weights, plan in turns:
        weights_sum_to_100_and_rise_by_one_step(before, plan)
        unknown_never_goes_back_before_its_time_nor_promotes(before, plan)
        harm_moves_traffic_first(weights, plan)
        a_step_forward_is_written_before_traffic(before, plan)
        a_retreat_moves_traffic_first(before, weights, plan)
        assert plan.look_again >= T0


def weights_sum_to_100_and_rise_by_one_step(before: RolloutStatus, plan: Plan) -> None:
    for action in plan.actions:
        if not isinstance(action, SetWeights):
            continue
        assert sum(action.weights.values()) == 100
        assert all(0 <= weight <= 100 for weight in action.weights.values())
        attempt = plan.status.attempt
        if attempt is None or plan.status.phase not in ON_TRAFFIC:
            continue
        had = before.attempt.weight if before.attempt and before.attempt.id == attempt.id else 0
        if before.phase is Phase.RETREATED and before.attempt is not None:
            assert action.weights[attempt.slot] in {0, before.attempt.back_to}
            continue
        following = next((step for step in STEPS if step > had), 100)
        assert action.weights[attempt.slot] <= following


def unknown_never_goes_back_before_its_time_nor_promotes(before: RolloutStatus, plan: Plan) -> None:
    if before.phase is not Phase.PROGRESSING or not plan.status.verdicts or plan.reason.code == "StepBegun":
        return
    if all(verdict.verdict is VerdictKind.UNKNOWN for verdict in plan.status.verdicts):
        assert plan.status.phase is not Phase.PROMOTING or "promote" in (plan.status.observed_command or "")
        if plan.reason.code == "BlindTooLong":
            assert before.attempt is not None
            assert before.attempt.unknown_since is not None
        else:
            assert plan.reason.code not in {"ErrorsViolated", "LatencyViolated", "TooFewRequests", "Undecided"}


def harm_moves_traffic_first(weights: dict[str, int], plan: Plan) -> None:
    if any(verdict.verdict is VerdictKind.VIOLATED for verdict in plan.status.verdicts) and plan.status.attempt is not None:
        if plan.status.phase is Phase.ROLLING_BACK and weights.get(plan.status.attempt.slot):
            assert isinstance(plan.actions[0], SetWeights)
            assert plan.actions[0].weights[plan.status.attempt.slot] == 0
        assert plan.status.phase not in {Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING}


def a_step_forward_is_written_before_traffic(before: RolloutStatus, plan: Plan) -> None:
    kinds = [type(action) for action in plan.actions]
    if plan.status.phase in ON_TRAFFIC and before.attempt is not None and plan.status.attempt is not None:
        rises = plan.status.attempt.weight > before.attempt.weight
        if rises and SetWeights in kinds:
            assert kinds.index(WriteStatus) < kinds.index(SetWeights)


def a_retreat_moves_traffic_first(before: RolloutStatus, weights: dict[str, int], plan: Plan) -> None:
    if plan.status.phase is Phase.RETREATED and before.phase is not Phase.RETREATED:
        assert plan.status.attempt is not None
        assert isinstance(plan.actions[0], SetWeights)
        assert plan.actions[0].weights[plan.status.attempt.slot] == 0
        assert plan.actions[0].mark.phase == Phase.RETREATED


@fuzz
@given(st.lists(deeds, max_size=12), rules)
def test_deciding_twice_on_the_same_input_gives_the_same_plan(
    script: list[tuple[str, object, object]], rules: RolloutPolicy
) -> None:
    story = Story(World(behaviours=dict.fromkeys(("1", "2", "3"), Behaviour())), RULES)
    story.settle()
    for deed in script:
        do(story, deed)
        status = story.status
        seen = story.observe(status)
        rollout = story.rollout()
        first = decide(rollout, story.policy, seen, story.world.now, status)
        assert decide(rollout, story.policy, seen, story.world.now, status) == first
        story.settle()


@fuzz
@given(st.lists(deeds, max_size=15), rules)
def test_a_brief_turn_decides_the_same_and_differs_in_words_only(
    script: list[tuple[str, object, object]], rules: RolloutPolicy
) -> None:
    story = Story(World(), rules)
    story.settle()
    for deed in script:
        do(story, deed)
        for _ in range(4):
            story.world.advance(story.world.now + story.world.window_s)
            seen, rollout, now, memory = story.observe(story.status), story.rollout(), story.world.now, story.status
            full = decide(rollout, story.policy, seen, now, memory)
            brief = decide(rollout, story.policy, seen, now, memory, brief=True)
            assert (brief.actions, brief.look_again) == (full.actions, full.look_again)
            assert brief.status == full.status if full.actions else numbers(brief.status) == numbers(full.status)
            story.tick()
            if not full.actions:
                story.memory = brief.status


def numbers(status: RolloutStatus) -> RolloutStatus:
    """A status without what is there to be read by people only."""
    wordless = {"sentence": "", "interval": None, "requests_needed": None}
    return evolve(
        status,
        reason=status.reason and status.reason.code,
        verdicts=tuple(evolve(verdict, **wordless) for verdict in status.verdicts),
        guards=tuple(evolve(guard, sentence="") for guard in status.guards),
        conditions=tuple(evolve(condition, message="") for condition in status.conditions),
    )


@fuzz
@given(st.lists(deeds, max_size=15), st.booleans(), rules)
def test_every_phase_that_is_not_final_moves_on_when_time_passes(
    script: list[tuple[str, object, object]], blind: bool, rules: RolloutPolicy
) -> None:
    story = Story(World(behaviours=dict.fromkeys(("1", "2", "3"), Behaviour())), RULES)
    story.settle()
    for deed in script:
        do(story, deed)
        story.settle()
    if blind:
        story.world.dark = (story.world.now, story.world.now + 1e9)
    story.world.window_s = 30.0
    story.run_until_rest(limit_s=10_000)


@given(st.sampled_from(list(Phase)), st.sampled_from(list(Event)))
def test_an_event_that_is_not_in_the_table_raises(phase: Phase, event: Event) -> None:
    if (phase, event) in TRANSITIONS:
        assert transition(phase, event) in Phase
    else:
        with pytest.raises(IllegalEvent):
            transition(phase, event)


def test_every_phase_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS.values()) | {Phase.IDLE} == set(Phase)
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)
    assert RESTING | ON_TRAFFIC | {Phase.PREPARING, Phase.ROLLING_BACK} == set(Phase)


@fuzz
@given(st.integers(1, 10_000), st.integers(0, 10_000))
def test_a_single_window_never_rolls_back(total: int, bad: int) -> None:
    """No burst shorter than the tolerance can do it: the speed limit (judge.md)."""
    story = Story(World(behaviours=dict.fromkeys(("1", "2", "3"), Behaviour())), RULES)
    story.settle()
    story.ask("2")
    story.settle()
    while story.status.phase is not Phase.PROGRESSING or story.status.attempt is None or not story.status.attempt.step_started_at:
        story.world.advance(story.world.now + 5)
        story.settle()
        assert story.world.now < T0 + 600, story.status.reason
    now = story.world.now
    window = Window(now, now + 5, Counts(total, min(bad, total)), Counts(1000, 1))
    seen = replace(story.observe(story.status), windows={"errors": SliReading((window,)), "latency": SliReading((window,))})
    plan = decide(story.rollout(), story.policy, seen, now + 5, story.status)
    assert plan.status.phase is Phase.PROGRESSING
