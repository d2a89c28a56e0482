"""Somebody else has a hand on the route: seen at the next turn, said everywhere, and handled as the policy says."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from rollout_controller.api.names import Key, Raw, mark_of
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import POLICY, VIRTUAL_SERVICE, Conflict, Kind, ObjectStore, PatchOp
from rollout_controller.core.explain.codes import Code
from tests.play import Play, playing
from tests.support.writes import EveryWrite

Hand = Callable[[Play], object]


def drifts(play: Play) -> list[str]:
    return [message.sentence for message in play.told if message.drift]


def in_attempt(store: ObjectStore, namespace: str, then: str = "Restore") -> Play:
    play = playing(store, namespace, drift={"then": then})
    play.edit_spec(lambda spec: spec["route"].update(http="resnet50"))
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.run(20)
    assert dict(play.weights()) == {"blue": 90, "green": 10}
    assert play.condition("RouteInSync").status == "True"
    return play


def edit_mark(play: Play, text: str | None) -> None:
    def change(raw: Raw) -> None:
        annotations = raw["metadata"]["annotations"]
        annotations.pop(mark_of(play.key.name)) if text is None else annotations.update({mark_of(play.key.name): text})

    play.edit_route(change)


def lose(play: Play, host: str) -> None:
    play.destinations(lambda route: route.remove(next(d for d in route if d["destination"]["host"] == host)))


def third(play: Play) -> None:
    play.destinations(lambda route: route.append({"destination": {"host": "third"}, "weight": 5}))


def rename(play: Play) -> None:
    play.edit_route(lambda raw: raw["spec"]["http"][0].update(name="other"))


MENDED: dict[str, tuple[Hand, str]] = {
    "50/50": (lambda p: p.set_weights(50, 50), "says blue 50 %, green 50 %, we wrote blue 90 %, green 10 %"),
    "0/100": (lambda p: p.set_weights(0, 100), "says blue 0 %, green 100 %, we wrote blue 90 %, green 10 %"),
    "100/0": (lambda p: p.set_weights(100, 0), "says blue 100 %, green 0 %, we wrote blue 90 %, green 10 %"),
    "0/0": (lambda p: p.set_weights(0, 0), "the weights sum to 0"),
    "annotation removed": (lambda p: edit_mark(p, None), "our annotation on the VirtualService is gone or cannot be read"),
    "annotation garbled": (lambda p: edit_mark(p, "{"), "our annotation on the VirtualService is gone or cannot be read"),
    "annotation of wrong types": (
        lambda p: edit_mark(p, '{"attempt": {}, "step": "x", "weight": [], "phase": 1, "slot": null}'),
        "our annotation on the VirtualService is gone or cannot be read",
    ),
    "annotation edited": (
        lambda p: edit_mark(p, '{"attempt": "9-x", "step": 7, "weight": 3, "phase": "Idle", "slot": "green"}'),
        "our annotation on the VirtualService was changed",
    ),
}


@pytest.mark.parametrize("hand", list(MENDED))
def test_a_drift_in_an_attempt_is_put_right_at_the_next_turn_and_said(store: ObjectStore, namespace: str, hand: str) -> None:
    play = in_attempt(store, namespace)
    act, words = MENDED[hand]
    act(play)
    play.reconciler.reconcile(play.key)
    assert dict(play.weights()) == {"blue": 90, "green": 10}, "one turn"
    assert len(drifts(play)) == 1
    assert words in drifts(play)[0]
    assert drifts(play)[0].endswith("; restored.")
    condition = play.condition("RouteInSync")
    assert (condition.status, condition.reason, condition.message) == ("False", Code.DRIFT, drifts(play)[0])
    play.settle()
    assert play.condition("RouteInSync").status == "True"
    play.run(60)
    assert len(drifts(play)) == 1, "said once"
    play.reach(Phase.SUCCEEDED)


@pytest.mark.parametrize("hand", list(MENDED))
def test_the_policy_may_pause_for_a_drift(store: ObjectStore, namespace: str, hand: str) -> None:
    play = in_attempt(store, namespace, "Pause")
    MENDED[hand][0](play)
    left = dict(play.weights())
    play.settle()
    assert play.status.phase is Phase.PAUSED
    assert play.code == Code.DRIFT
    assert len(drifts(play)) == 1
    assert dict(play.weights()) == (left or {"blue": 90, "green": 10}), "as it was set, if it can be left so"
    play.run(60)
    assert play.status.phase is Phase.PAUSED
    assert len(drifts(play)) == 1
    play.annotate(command="resume c1")
    play.settle()
    assert play.status.command_done
    assert str(play.status.phase) == "Progressing"


@pytest.mark.parametrize("hand", list(MENDED))
def test_the_policy_may_abort_for_a_drift(store: ObjectStore, namespace: str, hand: str) -> None:
    play = in_attempt(store, namespace, "Abort")
    MENDED[hand][0](play)
    play.settle()
    assert str(play.status.phase) == "Aborted"
    assert dict(play.weights()) == {"blue": 100, "green": 0}
    assert play.code == Code.DRIFT_ABORT
    assert MENDED[hand][1] in play.status.attempts[0].reason.sentence
    assert len(drifts(play)) == 1


UNMENDABLE: dict[str, tuple[Hand, str]] = {
    "canary's destination removed": (lambda p: lose(p, "triton-green"), "no destination 'triton-green' for slot green"),
    "stable's destination removed": (lambda p: lose(p, "triton-blue"), "no destination 'triton-blue' for slot blue"),
    "third destination": (third, "sends traffic to 'third' too, which is no slot of this rollout: remove it"),
    "VirtualService deleted": (lambda p: p.delete_route(), "there is no VirtualService"),
    "route renamed": (rename, "there is no http route 'resnet50'; there is 'other'"),
}


@pytest.mark.parametrize("hand", list(UNMENDABLE))
def test_what_only_a_person_can_put_right_is_said_and_waited_for(store: ObjectStore, namespace: str, hand: str) -> None:
    play = in_attempt(store, namespace)
    before = store.get(VIRTUAL_SERVICE, play.route)
    act, words = UNMENDABLE[hand]
    act(play)
    play.settle()
    assert play.status.phase is Phase.PROGRESSING
    assert play.code == Code.ROUTE_UNREADABLE
    assert words in drifts(play)[0]
    condition = play.condition("RouteInSync")
    assert (condition.status, condition.reason) == ("False", Code.ROUTE_UNREADABLE)
    assert words in condition.message
    play.run(200)
    assert play.status.phase is Phase.PROGRESSING
    assert len(drifts(play)) == 1, "said once"
    if play.get(VIRTUAL_SERVICE, play.route) is None:
        fresh = {name: before[name] for name in ("apiVersion", "kind", "spec")}
        store.create(VIRTUAL_SERVICE, {**fresh, "metadata": {"name": play.route.name, "namespace": namespace}})
    else:
        play.edit_route(lambda raw: raw.update(spec=before["spec"]))
    play.settle()
    assert dict(play.weights()) == {"blue": 90, "green": 10}
    assert play.condition("RouteInSync").status == "True"
    assert play.code != Code.ROUTE_UNREADABLE
    play.reach(Phase.SUCCEEDED)


@pytest.mark.parametrize("hand", list(UNMENDABLE))
def test_what_nobody_puts_right_comes_to_an_end(store: ObjectStore, namespace: str, hand: str) -> None:
    play = in_attempt(store, namespace)
    UNMENDABLE[hand][0](play)
    play.world.window_s = 30
    play.run_until_rest()
    last = play.status.attempts[0]
    assert last.outcome in {"RolledBack", "Failed"}
    assert last.reason.code == Code.STUCK
    assert (play.condition("Ready").status, play.condition("Stalled").status) == ("False", "True")


@pytest.mark.parametrize("hand", list(UNMENDABLE))
@pytest.mark.parametrize(("then", "phase"), [("Pause", Phase.PAUSED), ("Abort", Phase.ROLLING_BACK)])
def test_the_policy_decides_there_too(store: ObjectStore, namespace: str, hand: str, then: str, phase: Phase) -> None:
    play = in_attempt(store, namespace, then)
    UNMENDABLE[hand][0](play)
    play.settle()
    gone_back = hand == "canary's destination removed" and then == "Abort"
    assert play.status.phase is (Phase.ABORTED if gone_back else phase)
    if then == "Pause":
        play.annotate(command="resume c1")
        play.settle()
        assert play.status.command_result == "resume was not done: the route cannot be written until a person has put it right."
        play.world.window_s = 60
        play.run(1200)
        assert play.status.phase is Phase.PAUSED, "the pause lasts as long as it says"
        play.world.window_s = 3600
        play.run(86400)
    play.run_until_rest()
    assert len(drifts(play)) == 1


def test_a_virtual_service_deleted_and_made_anew_before_anybody_looked(store: ObjectStore, namespace: str) -> None:
    """GitOps replaces it: our annotation is gone with the weights, and it is drift all the same."""
    play = in_attempt(store, namespace)
    old = play.delete_route()
    old["metadata"] = {"name": play.route.name, "namespace": namespace}
    old["spec"]["http"][0]["route"][0]["weight"], old["spec"]["http"][0]["route"][1]["weight"] = 100, 0
    store.create(VIRTUAL_SERVICE, old)
    play.settle()
    assert dict(play.weights()) == {"blue": 90, "green": 10}
    assert len(drifts(play)) == 1


class Hasty(EveryWrite):
    """Somebody moves the weights just before the next patch of a route lands."""

    def __init__(self, store: ObjectStore, hand: Callable[[], object]) -> None:
        super().__init__(store)
        self._hand: Callable[[], object] | None = hand

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        if kind is VIRTUAL_SERVICE and self._hand is not None:
            hand, self._hand = self._hand, None
            hand()
        return super().patch(kind, key, operations)


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "edited"])
def test_a_drift_just_when_users_must_be_taken_out_of_the_way(store: ObjectStore, namespace: str, gone: bool) -> None:
    """Before, each turn failed for as long as the route was gone, and the status went on to say that all was well."""
    rule = {"coolDown": "60s", "strikes": 3}
    rehearsal = playing(store, namespace, name="rehearsal", retreat=rule)
    rehearsal.ask("5")
    rehearsal.reach(Phase.RETREATED)
    play = playing(store, namespace, retreat=rule)
    play.ask("5")
    play.run(rehearsal.world.now - play.world.now - play.world.window_s)
    assert str(play.status.phase) == "Progressing"
    play.world.advance(rehearsal.world.now)
    if gone:
        play.delete_route()
    else:
        play.start(Hasty(store, lambda: play.set_weights(50, 50)))
    play.settle()
    assert play.status.phase is Phase.RETREATED
    assert dict(play.weights()) == ({} if gone else {"blue": 100, "green": 0})


@pytest.mark.parametrize("gone", [True, False], ids=["deleted", "edited"])
def test_a_drift_in_a_rollback(store: ObjectStore, namespace: str, gone: bool) -> None:
    play = in_attempt(store, namespace)
    play.annotate(command="abort c1")
    play.reconciler.reconcile(play.key)
    assert play.status.phase is Phase.ROLLING_BACK
    if gone:
        play.delete_route()
        play.run(60)
        assert play.status.phase is Phase.ROLLING_BACK
        assert len(drifts(play)) == 1
        play.run_until_rest()
        assert str(play.status.phase) == "Stalled"
        assert play.code == Code.STUCK
    else:
        play.set_weights(50, 50)
        play.run(20)
        assert str(play.status.phase) == "Aborted"
        assert dict(play.weights()) == {"blue": 100, "green": 0}
        assert len(drifts(play)) == 1


@pytest.mark.parametrize("then", ["Restore", "Abort"])
def test_a_drift_while_promoting(store: ObjectStore, namespace: str, then: str) -> None:
    play = in_attempt(store, namespace, then)
    play.annotate(command="promote-full c1")
    while play.status.phase is not Phase.PROMOTING:
        play.world.advance(play.world.now + 10)
        play.reconciler.reconcile(play.key)
    play.set_weights(100, 0)
    play.run(20)
    assert len(drifts(play)) == 1
    assert play.status.phase is (Phase.SUCCEEDED if then == "Restore" else Phase.ABORTED)


@pytest.mark.parametrize("then", ["Restore", "Abort"])
def test_a_drift_while_preparing_is_put_back_before_anything_is_loaded(store: ObjectStore, namespace: str, then: str) -> None:
    play = playing(store, namespace, drift={"then": then})
    play.annotate(version="2")
    play.reconciler.reconcile(play.key)
    assert play.status.phase is Phase.PREPARING
    play.set_weights(50, 50)
    play.settle()
    assert len(drifts(play)) == 1
    assert dict(play.weights()) == {"blue": 100, "green": 0}
    if then == "Abort":
        assert str(play.status.phase) == "Aborted"
    else:
        play.reach(Phase.SUCCEEDED)


AT_REST: dict[str, Hand] = {
    "50/50": lambda p: p.set_weights(50, 50),
    "100/0": lambda p: p.set_weights(100, 0),
    "0/0": lambda p: p.set_weights(0, 0),
    "annotation removed": lambda p: edit_mark(p, None),
    "annotation edited": lambda p: edit_mark(
        p, '{"attempt": "1", "step": 1, "weight": 50, "phase": "Progressing", "slot": "green"}'
    ),
}


@pytest.mark.parametrize("hand", list(AT_REST))
def test_a_drift_at_rest_is_put_right_and_the_phase_stays(store: ObjectStore, namespace: str, hand: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)
    play.told.clear()
    AT_REST[hand](play)
    play.reconciler.reconcile(play.key)
    assert dict(play.weights()) == {"blue": 0, "green": 100}
    assert len(drifts(play)) == 1
    assert play.condition("RouteInSync").status == "False"
    play.run(120)
    assert (play.status.phase, play.code) == (Phase.SUCCEEDED, Code.PROMOTED)
    assert play.condition("RouteInSync").status == "True"
    assert len(drifts(play)) == 1


@pytest.mark.parametrize("then", ["Pause", "Abort"])
def test_a_drift_at_rest_that_is_left_as_it_is_needs_a_person(store: ObjectStore, namespace: str, then: str) -> None:
    play = playing(store, namespace, drift={"then": then})
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)
    play.told.clear()
    play.set_weights(50, 50)
    play.run(300)
    assert dict(play.weights()) == {"blue": 50, "green": 50}
    assert play.code == Code.DRIFT
    assert (play.condition("Ready").status, play.condition("Stalled").status) == ("False", "True")
    assert len(drifts(play)) == 1
    play.set_weights(40, 60)
    play.run(60)
    assert len(drifts(play)) == 2, "another one"
    play.ask("6", "run-2")
    play.run(60)
    assert play.status.phase is Phase.STALLED
    assert play.status.observed_version == "2", "not taken up"
    play.set_weights(0, 100)
    play.reach(Phase.PROGRESSING)


def test_a_virtual_service_deleted_at_rest_is_said_and_put_right_when_it_is_back(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)
    play.told.clear()
    old = play.delete_route()
    play.run(300)
    assert play.code == Code.ROUTE_UNREADABLE
    assert play.condition("Stalled").status == "True"
    assert len(drifts(play)) == 1
    old["metadata"] = {"name": play.route.name, "namespace": namespace}
    old["spec"]["http"][0]["route"][0]["weight"], old["spec"]["http"][0]["route"][1]["weight"] = 100, 0
    store.create(VIRTUAL_SERVICE, old)
    play.settle()
    assert dict(play.weights()) == {"blue": 0, "green": 100}, "the manifest's weights do not bring the old version back"
    assert len(drifts(play)) == 2
    play.run(60)
    assert (play.status.phase, play.code) == (Phase.SUCCEEDED, Code.PROMOTED)
    assert play.condition("Ready").status == "True"


def test_the_order_of_routes_is_the_owners(store: ObjectStore, namespace: str) -> None:
    play = in_attempt(store, namespace)
    other = {"name": "other", "route": [{"destination": {"host": "elsewhere"}}]}
    play.edit_route(lambda raw: raw["spec"]["http"].insert(0, other))
    play.edit_route(lambda raw: raw["spec"]["http"][1]["route"].reverse())
    play.reach(Phase.SUCCEEDED)
    document = store.get(VIRTUAL_SERVICE, play.route)
    assert document["spec"]["http"][0] == other
    assert [d["weight"] for d in document["spec"]["http"][1]["route"]] == [100, 0]
    assert drifts(play) == []


def test_another_field_that_its_owner_changes_meanwhile_is_kept(store: ObjectStore, namespace: str) -> None:
    """Also right between our read and our write."""
    play = in_attempt(store, namespace)
    seen = play.reconciler._observer.route(play.rollout())
    play.edit_route(lambda raw: raw["spec"]["http"][0].update(timeout="7s"))
    play.edit_route(lambda raw: raw["metadata"]["annotations"].update({"example.com/owner": "team"}))
    play.reconciler._observer.route = lambda _rollout: seen  # type: ignore[method-assign,assignment]
    play.annotate(command="promote c1")
    play.reconciler.reconcile(play.key)
    assert dict(play.weights()) == {"blue": 75, "green": 25}
    document = store.get(VIRTUAL_SERVICE, play.route)
    assert document["spec"]["http"][0]["timeout"] == "7s"
    assert document["metadata"]["annotations"]["example.com/owner"] == "team"
    play.annotate(command="promote c2")
    with pytest.raises(Conflict):
        play.reconciler.reconcile(play.key)  # what it saw is out of date where it matters


def test_what_keeps_resetting_the_weights_is_named_and_no_storm(store: ObjectStore, namespace: str) -> None:
    play = in_attempt(store, namespace)
    play.edit(POLICY, Key(namespace, "story"), lambda raw: raw["spec"]["hold"].update(timeout="30m"))
    for _ in range(20):
        play.set_weights(100, 0)
        play.run(10)
        assert dict(play.weights()) == {"blue": 90, "green": 10}
    said = [message for message in play.told if message.drift]
    assert len(said) == 20, "each is counted: the metric follows these"
    assert len({message.dedup for message in said}) == 2, "and two events tell of them, with a series each"
    assert {message.code for message in said[2:]} == {Code.DRIFT_REPEATS}
    last = said[-1].sentence
    assert last.startswith("Something keeps resetting the route: 20 times in 3m 10s")
    assert "ignoreDifferences" in last
    assert "RespectIgnoreDifferences=true" in last
    condition = play.condition("RouteInSync")
    assert (condition.status, condition.reason, condition.message) == ("False", Code.DRIFT_REPEATS, last)
    assert dict(play.weights()) == {"blue": 90, "green": 10}, "and no step goes forward on such ground"
    play.reach(Phase.SUCCEEDED)
    assert play.condition("RouteInSync").status == "True", "after ten minutes of peace"


def test_one_virtual_service_of_two_rollouts_is_no_fight(store: ObjectStore, namespace: str) -> None:
    """One http route each, and each its own annotation."""
    one = playing(store, namespace)
    route = {"name": "bert", "route": [{"destination": {"host": "bert-a"}, "weight": 100}, {"destination": {"host": "bert-b"}}]}
    one.edit_route(lambda raw: raw["spec"]["http"].append(route))
    two = playing(store, namespace, name="bert")
    two.edit_spec(
        lambda spec: spec.update(
            route={"virtualService": one.route.name, "http": "bert"},
            slots={"blue": {"host": "bert-a"}, "green": {"host": "bert-b"}},
        )
    )
    two.route = one.route
    two.settle()
    for play in (one, two):
        play.ask("2")
    for _ in range(60):
        one.run(10)
        two.run(10)
    assert [str(play.status.phase) for play in (one, two)] == ["Succeeded", "Succeeded"]
    assert drifts(one) == drifts(two) == []
    weights = [[d.get("weight") for d in r["route"]] for r in store.get(VIRTUAL_SERVICE, one.route)["spec"]["http"]]
    assert weights == [[0, 100], [0, 100]]
