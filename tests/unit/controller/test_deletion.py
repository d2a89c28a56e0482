"""A TritonRollout is deleted: no finalizer, so traffic stays as it is, or goes back where the policy says so; and it is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE, Kind, NotFound, ObjectStore, PatchOp, Unavailable
from rollout_controller.controller.farewell import TRIES
from rollout_controller.controller.reference import Reference
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.plan import Tell
from tests.play import Play, playing
from tests.support.writes import DeadlyStore

GONE = {Code.DELETED, Code.DELETED_RESTORED, Code.DELETED_NOT_RESTORED}


class Listener:
    """Hears what is told, and about what."""

    def __init__(self) -> None:
        self.heard: list[tuple[Reference, Tell]] = []

    def tell(self, about: Reference, message: Tell) -> None:
        self.heard.append((about, message))

    @property
    def farewells(self) -> list[tuple[str, str]]:
        return [(about.kind, message.sentence) for about, message in self.heard if message.code in GONE]


class Fails(DeadlyStore):
    """A store whose patches fail `times` times."""

    def __init__(self, store: ObjectStore, times: int) -> None:
        super().__init__(store, 10_000, landed=False)
        self.times = times

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        if self.times > 0:
            self.times -= 1
            raise Unavailable("the API server is away")
        return super().patch(kind, key, operations)


def in_attempt(store: ObjectStore, namespace: str, on_delete: str) -> tuple[Play, Listener]:
    listener = Listener()
    play = playing(store, namespace, teller=listener, onDelete=on_delete)
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.run(20)
    return play, listener


def test_deleted_in_an_attempt_traffic_stays_and_that_is_said(store: ObjectStore, namespace: str) -> None:
    play, listener = in_attempt(store, namespace, "Leave")
    before = store.get(VIRTUAL_SERVICE, play.route)
    store.delete(ROLLOUT, play.key)
    assert play.reconciler.reconcile(play.key) is None
    assert store.get(VIRTUAL_SERVICE, play.route) == before
    sentence = (
        "The TritonRollout was deleted in attempt 1 (version 2): traffic stays as it is (blue 90 %, green 10 %),"
        " and nobody judges it any more."
    )
    assert listener.farewells == [("TritonRollout", sentence), ("VirtualService", sentence)]
    assert play.reconciler.reconcile(play.key) is None
    assert len(listener.farewells) == 2, "said once"


def test_deleted_in_an_attempt_stable_is_restored_where_the_policy_says_so(store: ObjectStore, namespace: str) -> None:
    play, listener = in_attempt(store, namespace, "Restore")
    uid = store.get(ROLLOUT, play.key)["metadata"]["uid"]
    store.delete(ROLLOUT, play.key)
    store.delete(POLICY, Key(namespace, "story"))  # a namespace is cleaned up: the policy that counted is the last one seen
    assert play.reconciler.reconcile(play.key) is None
    route = store.get(VIRTUAL_SERVICE, play.route)
    assert [d["weight"] for d in route["spec"]["http"][0]["route"]] == [100, 0]
    assert [kind for kind, _ in listener.farewells] == ["TritonRollout", "VirtualService"]
    assert listener.farewells[0][1].endswith("all traffic was put back to blue.")
    assert listener.heard[-2][0].uid == uid


def test_the_restore_is_tried_again_and_then_given_up_aloud(store: ObjectStore, namespace: str) -> None:
    play, listener = in_attempt(store, namespace, "Restore")
    fails = Fails(store, 3)
    play.reconciler._applier._store = fails
    store.delete(ROLLOUT, play.key)
    waits = []
    while (again := play.reconciler.reconcile(play.key)) is not None:
        waits.append(again - play.world.now)
        play.world.now = again
    assert waits == [2, 4, 8]
    assert listener.farewells[0][1].endswith("all traffic was put back to blue.")

    play, listener = in_attempt(store, f"{namespace}-b", "Restore")
    play.reconciler._applier._store = Fails(store, 1000)
    store.delete(ROLLOUT, play.key)
    tries = 1
    while (again := play.reconciler.reconcile(play.key)) is not None:
        tries += 1
        play.world.now = again
    assert tries == TRIES
    assert listener.farewells[0][1] == (
        "The TritonRollout was deleted in attempt 1 (version 2), and traffic could not be put back to blue:"
        " the API server is away."
    )


class Forgetful:
    """Documents in memory that have lost the rollout, though it is there."""

    def __init__(self, play: Play) -> None:
        self._play = play

    def __getattr__(self, name: str) -> Any:
        return getattr(self._play, name)

    def get(self, kind: Kind, key: Key) -> Raw | None:
        return None if kind is ROLLOUT else self._play.get(kind, key)


def test_what_only_memory_has_lost_is_not_restored(store: ObjectStore, namespace: str) -> None:
    play, listener = in_attempt(store, namespace, "Restore")
    before = store.get(VIRTUAL_SERVICE, play.route)
    play.reconciler._documents = Forgetful(play)
    assert play.reconciler.reconcile(play.key) is not None, "it is looked at again"
    assert store.get(VIRTUAL_SERVICE, play.route) == before
    assert listener.farewells == []


@pytest.mark.parametrize("on_delete", ["Leave", "Restore"])
def test_a_rollback_that_had_begun_is_brought_to_its_end(store: ObjectStore, namespace: str, on_delete: str) -> None:
    play, listener = in_attempt(store, namespace, on_delete)
    play.annotate(command="abort c1")
    play.reconciler.reconcile(play.key)
    assert play.status.phase is Phase.ROLLING_BACK
    play.set_weights(50, 50)
    store.delete(ROLLOUT, play.key)
    assert play.reconciler.reconcile(play.key) is None
    route = store.get(VIRTUAL_SERVICE, play.route)
    assert [d["weight"] for d in route["spec"]["http"][0]["route"]] == [100, 0]
    assert listener.farewells[0][1].endswith("all traffic was put back to blue.")


@pytest.mark.parametrize("on_delete", ["Leave", "Restore"])
def test_deleted_at_rest_nothing_is_due(store: ObjectStore, namespace: str, on_delete: str) -> None:
    listener = Listener()
    play = playing(store, namespace, teller=listener, onDelete=on_delete)
    play.ask("2")
    play.reach(Phase.SUCCEEDED)
    before = store.get(VIRTUAL_SERVICE, play.route)
    store.delete(ROLLOUT, play.key)
    assert play.reconciler.reconcile(play.key) is None
    assert store.get(VIRTUAL_SERVICE, play.route) == before
    assert listener.farewells == []


def test_deleted_in_the_middle_of_a_turn_it_is_still_said(store: ObjectStore, namespace: str) -> None:
    """The write of a status finds it gone before the watch has told us."""
    play, listener = in_attempt(store, namespace, "Leave")
    document = store.get(ROLLOUT, play.key)
    store.delete(ROLLOUT, play.key)
    get = play.get
    document["metadata"]["annotations"]["rollouts.triton.dev/command"] = "pause c1"
    play.get = lambda kind, key: document if kind is ROLLOUT else get(kind, key)  # type: ignore[method-assign]
    with pytest.raises(NotFound):
        play.reconciler.reconcile(play.key)
    play.get = get  # type: ignore[method-assign]
    assert play.reconciler.reconcile(play.key) is None
    assert len(listener.farewells) == 2


def test_deleted_while_no_controller_runs_nothing_is_done(store: ObjectStore, namespace: str) -> None:
    play, listener = in_attempt(store, namespace, "Restore")
    store.delete(ROLLOUT, play.key)
    play.start(store)
    assert play.reconciler.reconcile(play.key) is None
    assert listener.farewells == []
    assert [d["weight"] for d in store.get(VIRTUAL_SERVICE, play.route)["spec"]["http"][0]["route"]] == [90, 10]


@pytest.mark.parametrize("looked", [True, False], ids=["seen gone", "made anew at once"])
def test_made_anew_under_the_same_name_it_starts_clean_and_adopts_the_route(
    store: ObjectStore, namespace: str, looked: bool
) -> None:
    play, listener = in_attempt(store, namespace, "Leave")
    old = store.get(ROLLOUT, play.key)
    store.delete(ROLLOUT, play.key)
    if looked:
        play.reconciler.reconcile(play.key)
    metadata = {"name": play.key.name, "namespace": namespace, "annotations": {"rollouts.triton.dev/version": "1"}}
    store.create(ROLLOUT, {"apiVersion": old["apiVersion"], "kind": old["kind"], "metadata": metadata, "spec": old["spec"]})
    play.settle()
    assert [kind for kind, _ in listener.farewells] == ["TritonRollout", "VirtualService"]
    assert {about.uid for about, message in listener.heard if message.code in GONE} == {
        old["metadata"]["uid"],
        store.get(VIRTUAL_SERVICE, play.route)["metadata"]["uid"],
    }
    assert dict(play.weights()) == {"blue": 100, "green": 0}, "half-done, and no status knows of it: back to stable"
    assert any(message.code == Code.HALF_DONE_FOUND for _, message in listener.heard)
    assert (play.status.attempt_count, play.status.attempts, play.status.stable_slot) == (0, (), "blue")
    play.ask("2")
    play.reach(Phase.SUCCEEDED)
