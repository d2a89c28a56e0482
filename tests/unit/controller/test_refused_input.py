"""Bad input gives one clear error in the status, and nothing is lost by it."""

from __future__ import annotations

from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE, ObjectStore
from rollout_controller.core.explain.codes import Code
from tests.play import Play, playing
from tests.world import Behaviour


def one_slot(spec: Raw) -> None:
    spec["slots"].pop("green")


def refused(play: Play) -> list[str]:
    codes = {Code.INVALID_SPEC, Code.POLICY_INVALID, Code.INVALID_VERSION, Code.SPEC_HELD, Code.STATUS_LOST}
    return [message.sentence for message in play.told if message.code in codes]


def states(play: Play) -> dict[str, str]:
    return {condition.type: condition.status for condition in play.status.conditions}


def shares(play: Play) -> list[int]:
    return [share["weight"] for share in play.store.get(VIRTUAL_SERVICE, play.route)["spec"]["http"][0]["route"]]


AT_REST = {"Ready": "True", "Reconciling": "False", "Stalled": "False", "Accepted": "True", "RouteInSync": "True"}
BLOCKED = {"Ready": "False", "Reconciling": "False", "Stalled": "True", "Accepted": "False", "RouteInSync": "True"}


def test_an_invalid_spec_at_first_sight_is_said_in_the_status(store: ObjectStore, namespace: str) -> None:
    play = Play(store, playing(store, namespace, name="other").world, namespace=namespace, name="new", route="triton-new")
    play.edit_spec(one_slot)
    play.annotate(version="2", request="run-1")
    play.settle()
    words = "spec.slots: 1 slots (blue); exactly two, for example blue and green"
    assert play.status.phase is Phase.STALLED
    assert play.code == Code.INVALID_SPEC
    assert words in play.condition("Stalled").message
    assert states(play) == {**BLOCKED, "RouteInSync": "Unknown"}
    assert play.status.observed_generation == store.get(ROLLOUT, play.key)["metadata"]["generation"] == 2
    assert play.status.observed_version is None, "not taken up"
    version = store.get(ROLLOUT, play.key)["metadata"]["resourceVersion"]
    for _ in range(10):
        play.run(10)
    assert store.get(ROLLOUT, play.key)["metadata"]["resourceVersion"] == version, "written once"
    assert len(refused(play)) == 1
    assert len(play.invalid_documents) == 1, "and logged once"
    play.edit_spec(lambda spec: spec["slots"].update(green={"host": "triton-green"}))
    play.settle()
    assert str(play.status.phase) == "Preparing", "what was asked for is taken up"
    assert states(play)["Accepted"] == "True"


@pytest.mark.parametrize("restart", [False, True])
def test_an_invalid_edit_at_rest(store: ObjectStore, namespace: str, restart: bool) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)
    assert states(play) == AT_REST
    play.edit_spec(one_slot)
    if restart:
        play.start(store)
    play.settle()
    assert (play.status.phase, play.code) == (Phase.SUCCEEDED, Code.INVALID_SPEC), "what was reached is not forgotten"
    assert {**states(play), "RouteInSync": "True"} == BLOCKED
    assert "spec.slots" in play.condition("Accepted").message
    play.ask("6", "run-2")
    play.run(60)
    assert play.status.observed_version == "2", "nothing new begins"
    assert len(refused(play)) == 1
    play.edit_spec(lambda spec: spec["slots"].update(green={"host": "triton-green"}))
    play.reach(Phase.SUCCEEDED)
    assert play.status.observed_version == "6"
    assert states(play) == AT_REST


def test_an_invalid_edit_in_an_attempt_leaves_the_last_valid_spec_in_force(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.edit_spec(one_slot)
    play.settle()
    assert play.status.phase is Phase.PROGRESSING
    assert states(play)["Accepted"] == "False"
    assert states(play)["Reconciling"] == "True"
    assert play.condition("Accepted").reason == Code.INVALID_SPEC
    assert play.status.observed_generation == 2
    assert len(refused(play)) == 1
    play.reach(Phase.SUCCEEDED)
    assert dict(play.weights()) == {"blue": 0, "green": 100}
    assert play.code == Code.INVALID_SPEC, "at rest it is what a person must look at"
    assert len(refused(play)) == 1
    assert play.status.attempts[0].outcome == "Promoted"


def test_an_invalid_edit_in_an_attempt_and_a_restart_lose_nothing(store: ObjectStore, namespace: str) -> None:
    """Which route is meant is not known then: traffic stays, the attempt is kept, and goes on when the spec is mended."""
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    attempt = play.status.attempt
    assert attempt is not None
    play.edit_spec(one_slot)
    play.start(store)
    play.run(60)
    assert play.status.phase is Phase.PROGRESSING
    assert play.status.attempt is not None
    assert play.status.attempt.id == attempt.id
    assert states(play)["Accepted"] == "False"
    route = store.get(VIRTUAL_SERVICE, play.route)
    assert [d["weight"] for d in route["spec"]["http"][0]["route"]] == [90, 10]
    play.edit_spec(lambda spec: spec["slots"].update(green={"host": "triton-green"}))
    play.reach(Phase.SUCCEEDED)
    assert play.status.attempts[0].id == attempt.id


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"route": {"virtualService": "another"}}, "spec.route"),
        ({"slots": {"red": {"host": "triton-red"}, "green": {"host": "triton-green"}}}, "spec.slots"),
        ({"deploy": {}}, "spec.deploy"),
    ],
)
def test_what_traffic_hangs_on_does_not_change_under_an_attempt(
    store: ObjectStore, namespace: str, change: dict[str, Any], field: str
) -> None:
    play = playing(store, namespace)
    play.ask("3", "run-1")
    play.reach(Phase.PROGRESSING)
    spec = store.get(ROLLOUT, play.key)["spec"]
    play.edit_spec(lambda raw: raw.update(change))
    play.settle()
    condition = play.condition("Accepted")
    assert (condition.status, condition.reason) == ("False", Code.SPEC_HELD)
    assert condition.message.startswith(f"{field[0].upper()}{field[1:]} changed while version 3 is being tried")
    while play.status.phase is Phase.PROGRESSING:
        play.run(10)
    route = store.get(VIRTUAL_SERVICE, play.route)
    assert [d["weight"] for d in route["spec"]["http"][0]["route"]] == [100, 0], "the old route was put back"
    play.edit(ROLLOUT, play.key, lambda raw: raw.update(spec=spec))
    play.settle()
    assert play.status.phase is Phase.ROLLED_BACK
    assert states(play)["Accepted"] == "True"


@pytest.mark.parametrize("http", ["resnet50", "renamed"])
@pytest.mark.parametrize("seen", [True, False], ids=["seen before the restart", "edited meanwhile"])
def test_another_route_and_a_restart_in_an_attempt(store: ObjectStore, namespace: str, seen: bool, http: str) -> None:
    """Before, the attempt went on on the new route, and the old one kept its share of users on the canary, rolled back or not."""
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    copy = store.get(VIRTUAL_SERVICE, play.route)
    copy["metadata"] = {"name": "another", "namespace": namespace}
    copy["spec"]["http"][0]["route"][0]["weight"], copy["spec"]["http"][0]["route"][1]["weight"] = 100, 0
    copy["spec"]["http"][0]["name"] = http
    before = store.create(VIRTUAL_SERVICE, copy)
    play.edit_spec(lambda raw: raw.update(route={"virtualService": "another", "http": http}))
    if seen:
        play.settle()
    play.start(store)
    play.run(20)
    assert play.condition("Accepted").reason == Code.SPEC_HELD
    assert str(play.status.phase) == "Progressing"
    assert shares(play) == [90, 10], "the route that has the traffic is kept"
    play.annotate(command="abort c1")
    play.run(20)
    assert str(play.status.phase) == "Aborted"
    assert shares(play) == [100, 0]
    assert store.get(VIRTUAL_SERVICE, Key(namespace, "another"))["spec"] == before["spec"]
    assert play.condition("Accepted").status == "True"


def test_slots_renamed_while_no_controller_ran(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.edit_spec(lambda spec: spec.update(slots={"a": {"host": "triton-blue"}, "b": {"host": "triton-green"}}))
    play.start(store)
    play.world.history.clear()
    play.world.running = {"a": "1", "b": "2"}
    play.settle()
    assert play.status.phase is Phase.STALLED
    assert play.status.attempts[0].reason.code == Code.SPEC_CHANGED
    assert play.code == Code.ROLES_UNCLEAR, "90 to 10, and nothing says which one is stable"
    play.set_weights(100, 0)
    play.settle()
    assert play.status.stable_slot == "a"
    play.ask("2", "run-2")
    play.reach(Phase.SUCCEEDED)
    play.edit_spec(lambda spec: spec.update(slots={"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}}))
    play.world.history.clear()
    play.world.running = {"blue": "1", "green": "2"}
    play.settle()
    assert (play.status.stable_slot, dict(play.weights())) == ("green", {"blue": 0, "green": 100}), "at rest that is no trouble"


BAD_POLICIES: dict[str, Any] = {
    "missing": None,
    "invalid": lambda raw: raw["spec"].update(steps=[{"weight": 50}]),
    "not for its source": lambda raw: raw["spec"]["slos"][1]["latency"].update(max="99ms"),
}
WORDS = {
    "missing": "there is no RolloutPolicy 'story'",
    "invalid": "RolloutPolicy 'story': spec.steps: the last step is 50; the last step must be 100",
    "not for its source": "RolloutPolicy 'story': spec.slos[1].latency.max",
}


def break_policy(play: Play, how: str) -> Raw:
    """Gives the policy as it was."""
    key = Key(play.key.namespace, "story")
    before = play.store.get(POLICY, key)
    if BAD_POLICIES[how] is None:
        play.store.delete(POLICY, key)
    else:
        play.edit(POLICY, key, BAD_POLICIES[how])
    return before


def mend_policy(play: Play, before: Raw) -> None:
    key = Key(play.key.namespace, "story")
    if play.get(POLICY, key) is None:
        metadata = {"name": "story", "namespace": key.namespace}
        play.store.create(POLICY, {**{name: before[name] for name in ("apiVersion", "kind", "spec")}, "metadata": metadata})
    else:
        play.edit(POLICY, key, lambda raw: raw.update(spec=before["spec"]))


@pytest.mark.parametrize("how", list(BAD_POLICIES))
def test_a_policy_that_cannot_be_used_is_said_at_rest_already(store: ObjectStore, namespace: str, how: str) -> None:
    play = playing(store, namespace)
    before = break_policy(play, how)
    play.settle()
    assert (play.status.phase, play.code) == (Phase.IDLE, Code.POLICY_INVALID)
    assert WORDS[how].lower() in play.condition("Stalled").message.lower()
    assert states(play) == BLOCKED
    assert len(refused(play)) == 1
    play.ask("2", "run-1")
    assert play.status.phase is Phase.STALLED
    assert play.status.observed_version is None
    mend_policy(play, before)
    play.settle()
    assert str(play.status.phase) == "Preparing"
    assert states(play)["Accepted"] == "True"
    play.run(60)
    assert len(refused(play)) == 1


@pytest.mark.parametrize("how", list(BAD_POLICIES))
def test_a_policy_that_cannot_be_used_any_more_holds_an_attempt(store: ObjectStore, namespace: str, how: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.run(20)
    before = break_policy(play, how)
    play.settle()
    assert states(play)["Accepted"] == "False"
    assert len(refused(play)) == 1
    play.run(300)
    assert play.status.phase is Phase.PROGRESSING
    assert dict(play.weights()) == {"blue": 90, "green": 10}
    mend_policy(play, before)
    play.reach(Phase.SUCCEEDED)


@pytest.mark.parametrize("how", list(BAD_POLICIES))
def test_harm_is_found_by_the_last_policy_that_could_be_used(store: ObjectStore, namespace: str, how: str) -> None:
    """Before, users stayed on a version that failed everything for ten minutes."""
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.run(20)
    break_policy(play, how)
    play.settle()
    play.world.behaviours["2"] = Behaviour(errors=1.0)
    play.run(60)
    assert play.status.phase is not Phase.PROGRESSING
    assert dict(play.weights()) == {"blue": 100, "green": 0}
    assert states(play)["Accepted"] == "False"


def test_a_version_that_is_none_is_said_and_echoed(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)
    play.ask("no version!", "run-2")
    status = play.status
    assert (status.phase, status.observed_version, status.observed_request) == (Phase.STALLED, "no version!", "run-2")
    assert "'no version!'" in play.condition("Stalled").message
    assert states(play) == BLOCKED
    assert status.verdicts == ()
    assert len(refused(play)) == 1
    play.run(60)
    assert len(refused(play)) == 1
    play.ask("x" * 300)
    assert play.status.observed_version == "x" * 129
    play.ask("2", "run-3")
    assert (play.status.phase, play.code) == (Phase.SUCCEEDED, Code.ALREADY_SERVED)
    assert states(play) == AT_REST


def test_a_version_that_is_none_in_an_attempt_disturbs_it_not(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.ask("no version!", "run-2")
    assert play.status.phase is Phase.PROGRESSING
    assert play.status.observed_version == "2", "the status is about version 2 still"
    condition = play.condition("Accepted")
    assert (condition.status, condition.reason) == ("False", Code.INVALID_VERSION)
    assert len(refused(play)) == 1
    play.reach(Phase.STALLED)
    assert (play.status.observed_version, play.status.observed_request) == ("no version!", "run-2")
    assert play.status.attempts[0].outcome == "Promoted"


def test_a_status_that_somebody_garbled(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    for restart in (False, True):
        raw = store.get(ROLLOUT, play.key)
        store.replace_status(ROLLOUT, play.key, {"phase": "Nonsense"}, raw["metadata"]["resourceVersion"])
        if not restart:
            play.settle()
            assert play.status.phase is Phase.PROGRESSING, "what is in memory goes on"
            assert refused(play) == []
    play.start(store)
    play.settle()
    assert refused(play)[0].startswith("The status cannot be read, so what was remembered is lost")
    assert dict(play.weights()) == {"blue": 100, "green": 0}, "half-done, and no status knows of it"
    play.reach(Phase.SUCCEEDED)
