"""What must hold for the pods behind slots whatever happens outside."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rollout_controller import workload
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.core.capacity import needed
from rollout_controller.core.observation import Observation, RouteState, WorkloadState
from rollout_controller.core.plan import Plan, Scale, SetImage, SetWeights, WriteStatus
from rollout_controller.core.states import ON_TRAFFIC, RESTING
from tests import kubelet
from tests.unit.core.story import Story
from tests.unit.core.test_decide_properties import RULES, deeds, do
from tests.world import Behaviour, World

pytestmark = pytest.mark.long

IDLE_AFTER_S = 60.0
slots = st.sampled_from(["blue", "green"])
outside = st.one_of(
    deeds,
    st.tuples(st.just("scaled"), slots, st.integers(0, 6)),
    st.tuples(st.just("nodes"), st.integers(0, 10), st.none()),
    st.tuples(st.just("image"), slots, st.sampled_from(["1", "2", "9"])),
)
scripts = st.lists(st.tuples(outside, st.integers(0, 8)), max_size=15)
"""Deeds, each with the windows that pass after it."""
fuzz = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@dataclass(frozen=True)
class Turn:
    """One turn: what was known, what was seen, what was planned."""

    at: float
    before: RolloutStatus
    seen: Observation
    plan: Plan

    def weight(self, slot: str) -> int:
        return self.seen.route.weights[slot] if isinstance(self.seen.route, RouteState) else -1

    def pods(self, slot: str) -> WorkloadState:
        state = self.seen.slots[slot].workload
        assert isinstance(state, WorkloadState)
        return state

    def scaled(self) -> list[Scale]:
        return [action for action in self.plan.actions if isinstance(action, Scale)]


def play(script: list[tuple[tuple[str, Any, Any], int]]) -> tuple[Story, list[Turn]]:
    """An attempt is under way when the deeds begin."""
    behaviours = {version: Behaviour(errors=0.001, load_s=10.0) for version in "123"}
    spec = kubelet.spec(scale={"idle": 0, "idleAfter": "1m"}, deploy={"image": kubelet.TEMPLATE, "timeout": "2m"})
    story = Story(World(behaviours=behaviours), RULES, spec)
    story.kubelet.nodes = 10
    story.deploy_pods(blue=4, green=0)
    turns: list[Turn] = []
    observe, tick = story.observe, story.tick
    seen: list[Observation] = []

    def watched(status: RolloutStatus) -> Observation:
        seen.append(observe(status))
        return seen[-1]

    def turn() -> Plan:
        before = story.status
        plan = tick()
        turns.append(Turn(story.world.now, before, seen[-1], plan))
        return plan

    story.observe, story.tick = watched, turn  # type: ignore[method-assign]
    story.settle()
    story.ask("2")
    story.settle()
    story.run(20)
    for (what, first, second), windows in script:
        match what:
            case "scaled":
                story.change(first, [{"op": "replace", "path": "/spec/replicas", "value": second}])
            case "nodes":
                story.kubelet.nodes = first
            case "image":
                story.change(first, workload.patch_image(story.rollout().spec.deploy, story.workloads[first], second))
            case _:
                do(story, (what, first, second))
        story.settle()
        story.run(windows * story.world.window_s)
    return story, turns


@fuzz
@given(scripts, st.booleans())
def test_whatever_happens_to_the_pods(script: list[tuple[tuple[str, Any, Any], int]], full: bool) -> None:
    """And every attempt ends."""
    story, turns = play(script)
    story.kubelet.nodes = 0 if full else 10
    story.world.window_s = 30.0
    story.run_until_rest(limit_s=10_000)
    for turn in turns:
        what_moves_traffic_changes_no_workload(turn)
        a_rollback_waits_for_no_pods(turn)
        traffic_goes_only_where_its_pods_are(turn)
        stable_is_never_touched_in_an_attempt(turn)
        pods_go_only_long_after_the_traffic(turn)
        an_image_is_set_only_where_no_traffic_is(turn)


def what_moves_traffic_changes_no_workload(turn: Turn) -> None:
    kinds = {type(action) for action in turn.plan.actions}
    assert not (SetWeights in kinds and kinds & {Scale, SetImage})
    if WriteStatus in kinds and kinds & {Scale, SetImage}:
        assert isinstance(turn.plan.actions[0], WriteStatus), "what was decided is written before it is done"


def a_rollback_waits_for_no_pods(turn: Turn) -> None:
    if turn.plan.status.phase is Phase.ROLLING_BACK and turn.before.phase is not Phase.ROLLING_BACK:
        assert isinstance(turn.plan.actions[0], SetWeights)


def traffic_goes_only_where_its_pods_are(turn: Turn) -> None:
    """A rise of the canary's weight meets its share of the pods that all the traffic needed."""
    attempt, before = turn.plan.status.attempt, turn.before.attempt
    if attempt is None or turn.plan.status.phase is not Phase.PROGRESSING or not turn.plan.actions:
        return
    had = before.weight if before is not None and before.id == attempt.id else 0
    if attempt.weight > had:
        pods, stable = turn.pods(attempt.slot), turn.pods("blue" if attempt.slot == "green" else "green")
        assert pods.settled
        assert pods.ready >= max(1, ceil(max(stable.replicas, attempt.stable_replicas or 0) * attempt.weight / 100))
        assert turn.seen.slots[attempt.slot].version == attempt.version


def stable_is_never_touched_in_an_attempt(turn: Turn) -> None:
    status = turn.plan.status
    touched = {action.slot for action in turn.plan.actions if isinstance(action, (Scale, SetImage))}
    assert status.stable_slot not in touched
    if status.attempt is not None:
        assert all(action.replicas > turn.pods(action.slot).replicas for action in turn.scaled()), "in an attempt pods only come"


def pods_go_only_long_after_the_traffic(turn: Turn) -> None:
    for action in turn.scaled():
        if action.replicas < turn.pods(action.slot).replicas:
            assert turn.plan.status.phase in RESTING
            assert turn.weight(action.slot) == 0
            assert turn.at - turn.plan.status.attempts[0].ended_at >= IDLE_AFTER_S


def an_image_is_set_only_where_no_traffic_is(turn: Turn) -> None:
    for action in turn.plan.actions:
        if isinstance(action, SetImage):
            assert turn.weight(action.slot) == 0
            assert turn.plan.status.phase not in ON_TRAFFIC


@given(st.integers(1, 100), st.integers(0, 10_000))
def test_the_share_of_pods_is_never_less_than_the_share_of_traffic(weight: int, full: int) -> None:
    count = needed(weight, full)
    assert count >= 1
    assert count * 100 >= full * weight
    assert count <= max(1, full)
    assert needed(100, full) == max(1, full)
