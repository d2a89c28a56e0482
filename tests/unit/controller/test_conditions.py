"""Conditions by the kstatus rules: what Flux, Argo CD and `kubectl wait` make of every status that is ever written."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE, Kind, ObjectStore
from rollout_controller.core.conditions import BY_PHASE
from rollout_controller.core.states import RESTING
from tests.play import Play, playing
from tests.support.writes import DeadlyStore


class Recorder(DeadlyStore):
    """Keeps every status that is written, with the document's generation then."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, 1_000_000, landed=True)
        self.written: list[tuple[int, Raw]] = []

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        document = super().replace_status(kind, key, status, resource_version)
        self.written.append((document["metadata"]["generation"], document["status"]))
        return document


def kstatus(generation: int, status: Raw) -> str:
    """kstatus' order: observedGeneration, Reconciling, Stalled, Ready."""
    states = {condition["type"]: condition["status"] for condition in status["conditions"]}
    if status["observedGeneration"] != generation or states["Reconciling"] == "True":
        return "InProgress"
    if states["Stalled"] == "True":
        return "Failed"
    return "Current" if states["Ready"] == "True" else "InProgress"


def promoted(play: Play) -> None:
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)


def rolled_back(play: Play) -> None:
    play.ask("5", "run-1")
    play.reach(Phase.ROLLED_BACK)


def not_loaded(play: Play) -> None:
    play.ask("7", "run-1")
    play.reach(Phase.STALLED)


def aborted(play: Play) -> None:
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.annotate(command="pause c1")
    play.run(20)
    play.annotate(command="abort c2")
    play.reach(Phase.ABORTED)


def served_already(play: Play) -> None:
    play.ask("1", "run-1")


def route_gone(play: Play) -> None:
    promoted(play)
    play.delete_route()
    play.run(60)


def policy_gone(play: Play) -> None:
    promoted(play)
    play.store.delete(POLICY, Key(play.key.namespace, "story"))
    play.run(60)


def spec_edited(play: Play) -> None:
    promoted(play)
    play.edit_spec(lambda spec: spec.update(deploy={"modelRepository": {"model": "resnet50"}, "timeout": "5m"}))
    play.settle()


def fixed(play: Play) -> None:
    rolled_back(play)
    play.ask("6", "run-2")
    play.reach(Phase.SUCCEEDED)


ENDS: dict[str, tuple[Callable[[Play], Any], str, Phase]] = {
    "promoted": (promoted, "Current", Phase.SUCCEEDED),
    "rolled back": (rolled_back, "Failed", Phase.ROLLED_BACK),
    "not loaded": (not_loaded, "Failed", Phase.STALLED),
    "aborted": (aborted, "Failed", Phase.ABORTED),
    "served already": (served_already, "Current", Phase.SUCCEEDED),
    "route gone": (route_gone, "Failed", Phase.SUCCEEDED),
    "policy gone": (policy_gone, "Failed", Phase.SUCCEEDED),
    "spec edited": (spec_edited, "Current", Phase.SUCCEEDED),
    "a fix after a rollback": (fixed, "Current", Phase.SUCCEEDED),
}


@pytest.fixture(params=list(ENDS))
def case(request: pytest.FixtureRequest, store: ObjectStore, namespace: str) -> tuple[Play, Recorder, str, Phase]:
    act, end, phase = ENDS[request.param]
    play = playing(store, namespace)
    recorder = Recorder(store)
    play.start(recorder)
    act(play)
    return play, recorder, end, phase


def test_every_status_ever_written_keeps_the_rules(case: tuple[Play, Recorder, str, Phase]) -> None:
    play, recorder, end, phase = case
    assert (play.status.phase, kstatus(*recorder.written[-1])) == (phase, end)
    for generation, status in recorder.written:
        states = {condition["type"]: condition["status"] for condition in status["conditions"]}
        assert list(states) == ["Ready", "Reconciling", "Stalled", "Accepted", "RouteInSync"]
        assert (states["Reconciling"], states["Stalled"]) != ("True", "True")
        assert status["observedGeneration"] == generation
        assert all(condition["observedGeneration"] == generation for condition in status["conditions"])
        if kstatus(generation, status) == "Current":
            assert status["phase"] in {"Idle", "Succeeded"}
        if Phase(status["phase"]) not in RESTING:
            assert kstatus(generation, status) == "InProgress"
        for condition in status["conditions"]:
            assert condition["reason"].isalnum()
            assert condition["message"]


def test_the_transition_time_moves_only_when_the_status_changes(case: tuple[Play, Recorder, str, Phase]) -> None:
    _, recorder, _, _ = case
    for (_, before), (_, after) in pairwise(recorder.written):
        old = {condition["type"]: condition for condition in before["conditions"]}
        for condition in after["conditions"]:
            had = old[condition["type"]]
            if condition["status"] == had["status"]:
                assert condition["lastTransitionTime"] == had["lastTransitionTime"], condition["type"]
            else:
                assert condition["lastTransitionTime"] >= had["lastTransitionTime"], condition["type"]


def test_every_phase_has_a_row_and_a_finished_rollout_is_ready_or_stalled() -> None:
    assert set(BY_PHASE) == set(Phase)
    for phase, (ready, reconciling, stalled) in BY_PHASE.items():
        assert (reconciling == "True") == (phase not in RESTING)
        assert phase not in RESTING or (ready == "True") != (stalled == "True")


def test_a_status_written_by_an_older_controller_gets_the_new_conditions(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    raw = store.get(ROLLOUT, play.key)
    old = {**raw["status"], "conditions": raw["status"]["conditions"][:3]}
    store.replace_status(ROLLOUT, play.key, old, raw["metadata"]["resourceVersion"])
    play.start(store)
    play.settle()
    assert len(play.status.conditions) == 5
    assert store.get(VIRTUAL_SERVICE, play.route)["metadata"].get("annotations") is None, "and nothing else is written"
