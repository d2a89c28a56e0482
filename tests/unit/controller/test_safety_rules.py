"""The safety rules of docs/safety.md, each with its name, on the product's own reconcile over a real store."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.names import mark_of
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE, Conflict, Kind
from rollout_controller.core.observation import SlotState, Unknown
from rollout_controller.core.plan import SetWeights
from rollout_controller.core.states import RESTING
from tests.play import KEY, ROUTE, Play
from tests.support.writes import DeadlyStore, Killed
from tests.unit.core.story import Story
from tests.world import T0, Behaviour, World, policy

GOOD = Behaviour(errors=0.001, slow=0.01)
DEAD = Behaviour(errors=1.0)


def play(path: Path, **versions: Behaviour) -> Play:
    behaviours = {"1": GOOD, "2": GOOD, **{name.removeprefix("v"): how for name, how in versions.items()}}
    played = Play(path / "rollouts.db", World(behaviours=behaviours, window_s=10.0))
    played.settle()
    return played


def ask(played: Play, version: str, request: str = "run-1") -> None:
    played.annotate(version=version, request=request)
    played.settle()


def until(played: Play, phase: Phase, limit_s: float = 600) -> None:
    end = played.world.now + limit_s
    while played.status.phase is not phase:
        assert played.world.now < end, f"never {phase}: {played.status.phase}"
        played.world.advance(played.world.now + played.world.window_s)
        played.settle()


def test_rule_1_rollback_moves_traffic_first_and_needs_nobody() -> None:
    """Not Prometheus, not a healthy stable: the verdict is known, so the weights are the first thing written."""
    story = Story(World(behaviours={"1": GOOD, "5": DEAD}), policy())
    story.settle()
    story.ask("5")
    story.settle()
    ready = story.world.slot
    story.world.slot = lambda name: SlotState(problem=Unknown("no-answer", "refused")) if name == "blue" else ready(name)  # type: ignore[method-assign]
    while story.status.phase is not Phase.ROLLING_BACK:
        story.world.advance(story.world.now + 5)
        plan = story.tick()
        assert story.world.now < T0 + 600, "never rolled back"
    assert isinstance(plan.actions[0], SetWeights)
    assert dict(plan.actions[0].weights) == {"blue": 100, "green": 0}


def test_rule_1_a_rollback_reads_again_when_somebody_else_wrote(tmp_path: Path) -> None:
    played = play(tmp_path, v5=DEAD)
    ask(played, "5")
    until(played, Phase.PROGRESSING)

    class Busy(DeadlyStore):
        """Somebody changes the route right before each write of ours."""

        def patch(self, kind: Kind, key: Key, operations: object) -> Raw:
            if self.writes < 2:
                self.writes += 1
                document = self._store.get(VIRTUAL_SERVICE, ROUTE)
                document["spec"]["http"][0]["route"][0]["weight"] = 80 - self.writes
                document["spec"]["http"][0]["route"][1]["weight"] = 20 + self.writes
                self._store.replace(VIRTUAL_SERVICE, document)
            return self._store.patch(kind, key, operations)  # type: ignore[arg-type]

    while played.status.phase is Phase.PROGRESSING:
        played.world.advance(played.world.now + 10)
        played.start(Busy(played.store, 10_000, landed=False))
        try:
            played.settle()
        except Conflict:
            continue
    until(played, Phase.ROLLED_BACK)
    assert dict(played.weights()) == {"blue": 100, "green": 0}


def test_rule_2_only_our_weights_and_our_mark_change(tmp_path: Path) -> None:
    played = play(tmp_path)
    before = played.store.get(VIRTUAL_SERVICE, ROUTE)
    ask(played, "2")
    until(played, Phase.PROGRESSING)
    after = played.store.get(VIRTUAL_SERVICE, ROUTE)
    expected = copy.deepcopy(before)
    for route, weight in zip(expected["spec"]["http"][0]["route"], (90, 10), strict=True):
        route["weight"] = weight
    assert after["spec"] == expected["spec"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]
    assert set(after["metadata"]["annotations"]) == {mark_of(KEY.name)}


def test_rule_3_the_route_alone_tells_what_was_decided(tmp_path: Path) -> None:
    """Killed after traffic moved and before the status was written, and Prometheus is gone: same end, same sentence."""
    calm = play(tmp_path, v5=DEAD)
    ask(calm, "5")
    until(calm, Phase.ROLLED_BACK)
    (tmp_path / "again").mkdir()
    played = play(tmp_path / "again", v5=DEAD)
    ask(played, "5")
    until(played, Phase.PROGRESSING)
    while dict(played.weights())["green"]:
        played.world.advance(played.world.now + 10)
        deadly = DeadlyStore(played.store, 1, landed=True)
        deadly.replace_status = played.store.replace_status  # type: ignore[method-assign]
        played.start(deadly)
        try:
            played.settle()
        except Killed:
            break
    assert played.status.phase is Phase.PROGRESSING, "the status was not written"
    played.world.dark = (played.world.now - 1e6, played.world.now + 1e6)
    played.start(played.store)
    played.settle()
    assert str(played.status.phase) == "RolledBack"
    assert played.status.attempts[0].reason == calm.status.attempts[0].reason


def test_rule_3_a_lost_status_takes_traffic_back_to_stable(tmp_path: Path) -> None:
    played = play(tmp_path)
    ask(played, "2")
    until(played, Phase.PROGRESSING)
    rollout = played.store.get(ROLLOUT, KEY)
    played.store.delete(ROLLOUT, KEY)
    fresh = {k: v for k, v in rollout.items() if k != "status"}
    fresh["metadata"] = {"name": KEY.name, "namespace": KEY.namespace}
    played.store.create(ROLLOUT, fresh)
    played.start(played.store)
    played.settle()
    assert dict(played.weights()) == {"blue": 100, "green": 0}
    assert any(message.code == "HalfDoneFound" for message in played.told)


def test_rule_5_a_late_writer_fails(tmp_path: Path) -> None:
    """Two controllers on the same documents: the one that read before the other wrote cannot write."""
    played = play(tmp_path)
    played.annotate(version="2", request="run-1")
    late = played.store.get(ROLLOUT, KEY)
    played.settle()
    with pytest.raises(Conflict):
        played.store.replace_status(ROLLOUT, KEY, {"phase": "Idle"}, late["metadata"]["resourceVersion"])


def test_rule_6_unknown_is_neither_harm_nor_health(tmp_path: Path) -> None:
    played = play(tmp_path)
    ask(played, "2")
    until(played, Phase.PROGRESSING)
    played.world.dark = (played.world.now, played.world.now + 1e6)
    for _ in range(25):
        played.world.advance(played.world.now + 10)
        played.settle()
        assert dict(played.weights()) == {"blue": 90, "green": 10}
    until(played, Phase.ROLLED_BACK, 200)
    assert played.status.attempts[0].reason.code == "BlindTooLong"


def test_rule_7_a_new_version_supersedes_and_the_rolled_back_one_is_not_tried_again(tmp_path: Path) -> None:
    played = play(tmp_path, v5=DEAD)
    ask(played, "2", "run-1")
    until(played, Phase.PROGRESSING)
    ask(played, "5", "run-2")
    assert dict(played.weights()) == {"blue": 100, "green": 0}
    until(played, Phase.ROLLED_BACK)
    assert [record.outcome for record in played.status.attempts] == ["RolledBack", "Superseded"]
    for _ in range(30):
        played.world.advance(played.world.now + 10)
        played.settle()
    assert played.status.attempt_count == 2


@pytest.mark.parametrize("missing", ["route", "policy", "prometheus", "triton"])
def test_rule_8_every_wait_ends(tmp_path: Path, missing: str) -> None:
    played = play(tmp_path)
    ask(played, "2")
    if missing != "triton":
        until(played, Phase.PROGRESSING)
    match missing:
        case "route":
            route = played.store.get(VIRTUAL_SERVICE, ROUTE)
            played.store.delete(VIRTUAL_SERVICE, ROUTE)
            played.world.weights = lambda: {"blue": 90, "green": 10}
            assert route
        case "policy":
            played.store.delete(POLICY, Key("vision", "story"))
        case "prometheus":
            played.world.dark = (played.world.now, played.world.now + 1e9)
        case _:
            played.world.loading["green"] = ("2", played.world.now + 1e9)
    end = played.world.now + 4000
    while played.status.phase not in RESTING:
        assert played.world.now < end, f"still {played.status.phase}: {played.status.reason}"
        played.world.advance(played.world.now + 10)
        played.settle()


def test_rule_10_nothing_outside_its_own_namespace(tmp_path: Path) -> None:
    played = play(tmp_path)
    looked: set[str] = set()
    get = played.get

    def spy(kind: Kind, key: Key) -> Raw | None:
        looked.add(key.namespace)
        return get(kind, key)

    played.get = spy  # type: ignore[method-assign]
    ask(played, "2")
    until(played, Phase.SUCCEEDED, 2000)
    assert looked == {"vision"}


def test_a_policy_that_is_missing_is_said_and_mended(tmp_path: Path) -> None:
    played = play(tmp_path)
    rules = played.store.get(POLICY, Key("vision", "story"))
    played.store.delete(POLICY, Key("vision", "story"))
    ask(played, "2")
    assert played.status.phase is Phase.STALLED
    assert played.status.reason is not None
    assert played.status.reason.sentence == "There is no RolloutPolicy 'story' in namespace vision."
    rules["metadata"] = {"name": "story", "namespace": "vision"}
    played.store.create(POLICY, rules)
    until(played, Phase.SUCCEEDED, 2000)
