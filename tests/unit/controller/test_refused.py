"""What the cluster refuses is said once, in conditions and an event, without a hot loop; when it is mended it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.status import Condition, Phase
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import VIRTUAL_SERVICE, Kind, PatchOp, Refused
from rollout_controller.core.obstacle import HURRY_S, SLOW_S
from tests.play import KEY, Play
from tests.world import Behaviour, World

GOOD = Behaviour(errors=0.001, slow=0.01)
WORDS = 'virtualservices "triton" is forbidden: User "controller" cannot patch'


class Forbidding(LocalStore):
    """A real store that refuses to patch routes, or to write statuses, while it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.routes = self.statuses = False
        self.calls = {"patch": 0, "replace_status": 0}

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        self.calls["patch"] += 1
        if self.routes and kind is VIRTUAL_SERVICE:
            raise Refused(WORDS)
        return super().patch(kind, key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        self.calls["replace_status"] += 1
        if self.statuses:
            raise Refused("tritonrollouts/status is forbidden")
        return super().replace_status(kind, key, status, resource_version)


@pytest.fixture
def played(tmp_path: Path) -> Play:
    play = Play(tmp_path / "rollouts.db", World(behaviours={"1": GOOD, "2": GOOD, "3": Behaviour(errors=1.0)}, window_s=10.0))
    play.store = Forbidding(tmp_path / "rollouts.db")
    play.start(play.store)
    play.settle()
    return play


def gates(played: Play) -> Forbidding:
    assert isinstance(played.store, Forbidding)
    return played.store


def stalled(played: Play) -> Condition:
    return next(c for c in played.status.conditions if c.type == "Stalled")


def turn(played: Play, seconds: float = 0.0) -> float:
    """One turn, and how long until the next is asked for."""
    played.world.advance(played.world.now + seconds)
    again = played.reconciler.reconcile(KEY)
    assert again is not None
    return again - played.world.now


def to_traffic(played: Play, version: str) -> None:
    played.annotate(version=version, request=f"run-{version}")
    for _ in range(100):
        turn(played, 10.0)
        if played.status.phase is Phase.PROGRESSING and played.weights()["green"] == 10:
            return
    raise AssertionError("never on traffic")


def test_a_step_that_is_refused_is_said_once_and_done_when_it_is_allowed(played: Play) -> None:
    played.annotate(version="2", request="run-1")
    gates(played).routes = True
    for _ in range(30):
        turn(played, 10.0)
        if played.refusals:
            break
    condition, told = stalled(played), [m for m in played.told if m.code == "Refused"]
    assert (condition.status, condition.reason) == ("True", "Refused")
    assert WORDS in condition.message
    assert played.status.attempt is not None
    for _ in range(4):
        assert turn(played, SLOW_S) == SLOW_S
    assert stalled(played) == condition
    assert [m for m in played.told if m.code == "Refused"] == told
    assert len(told) == 1
    gates(played).routes = False
    turn(played, SLOW_S)
    played.settle()
    assert stalled(played).status == "False"
    assert played.weights()["green"] == 10
    played.run_until_rest(4000)
    assert played.status.phase is Phase.SUCCEEDED


def test_a_refusal_costs_no_more_writes_of_the_status_than_any_attempt(played: Play) -> None:
    played.annotate(version="2", request="run-1")
    gates(played).routes = True
    for _ in range(200):
        if played.refusals:
            break
        turn(played, 10.0)
    turn(played, SLOW_S)  # the first verdicts come in
    before = dict(gates(played).calls)
    for _ in range(12):  # new data wakes it before its time
        turn(played, 10.0)
    assert gates(played).calls["patch"] == before["patch"] + 12
    assert gates(played).calls["replace_status"] <= before["replace_status"] + 4, "evidence, every 30 s as always"


def test_a_rollback_that_is_refused_keeps_trying(played: Play) -> None:
    to_traffic(played, "3")
    gates(played).routes = True
    for _ in range(200):
        if played.refusals:
            break
        assert turn(played, 10.0) > 0
    assert turn(played) == HURRY_S
    assert stalled(played).reason == "Refused"
    assert played.weights()["green"] == 10
    gates(played).routes = False
    turn(played, 10.0)
    played.settle()
    assert played.weights()["green"] == 0
    assert played.status.phase is Phase.ROLLED_BACK
    assert played.status.attempts[0].reason.code != "Refused"


def test_drift_at_rest_that_may_not_be_mended_is_said(played: Play) -> None:
    document = played.store.get(VIRTUAL_SERVICE, Key("vision", "triton"))
    for share, weight in zip(document["spec"]["http"][0]["route"], (50, 50), strict=True):
        share["weight"] = weight
    played.store.replace(VIRTUAL_SERVICE, document)
    gates(played).routes = True
    assert turn(played) == SLOW_S
    assert stalled(played).reason == "Refused"
    gates(played).routes = False
    turn(played, SLOW_S)
    played.settle()
    assert stalled(played).status == "False"
    assert played.weights() == {"blue": 100, "green": 0}


def test_a_status_that_may_not_be_written_is_no_hot_loop(played: Play) -> None:
    gates(played).statuses = True
    played.annotate(version="2", request="run-1")
    assert turn(played) == SLOW_S
    assert turn(played, SLOW_S) == SLOW_S
    assert len(played.refusals) == 2
    gates(played).statuses = False
    turn(played, SLOW_S)
    played.settle()
    played.run_until_rest(4000)
    assert played.status.phase is Phase.SUCCEEDED
