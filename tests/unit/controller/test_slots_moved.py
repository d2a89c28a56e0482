"""Slots that get other destinations at rest: traffic stays where it is, whatever the places are called."""

from __future__ import annotations

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import VIRTUAL_SERVICE, Kind, ObjectStore, Unavailable
from tests.play import Play, playing
from tests.support.writes import EveryWrite


def shares(play: Play) -> dict[str, int]:
    route = play.store.get(VIRTUAL_SERVICE, play.route)["spec"]["http"][0]["route"]
    return {share["destination"]["host"]: share["weight"] for share in route}


def promoted(store: ObjectStore, namespace: str) -> Play:
    play = playing(store, namespace)
    play.ask("2")
    play.reach(Phase.SUCCEEDED)
    assert shares(play) == {"triton-blue": 0, "triton-green": 100}
    return play


def swap(spec: Raw) -> None:
    spec["slots"] = {"blue": spec["slots"]["green"], "green": spec["slots"]["blue"]}


class FailsOnce(EveryWrite):
    """Its first write of a status does not land."""

    failed = False

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        if not self.failed:
            self.failed = True
            raise Unavailable("no answer")
        return super().replace_status(kind, key, status, resource_version)


@pytest.mark.parametrize("fails", [False, True], ids=["at once", "after a turn that failed"])
def test_slots_that_swap_their_names_move_no_traffic(store: ObjectStore, namespace: str, fails: bool) -> None:
    """Before, all users were sent to the idle slot at once, which may have no pods."""
    play = promoted(store, namespace)
    play.edit_spec(swap)
    runs = play.world.running
    runs["blue"], runs["green"] = runs["green"], runs["blue"]
    if fails:
        play.reconciler._applier._store = FailsOnce(store)
        with pytest.raises(Unavailable):
            play.settle()
    play.run(30)
    assert shares(play) == {"triton-blue": 0, "triton-green": 100}
    assert play.status.stable_slot == "blue"


def test_slots_that_get_other_names_keep_their_roles(store: ObjectStore, namespace: str) -> None:
    play = promoted(store, namespace)
    play.edit_spec(lambda spec: spec.update(slots={"a": {"host": "triton-blue"}, "b": {"host": "triton-green"}}))
    play.world.running.update(a="1", b="2")
    play.reconciler.reconcile(play.key)
    assert shares(play) == {"triton-blue": 0, "triton-green": 100}
    assert play.status.stable_slot == "b"
    assert play.status.stable_version == "2"


def test_with_two_other_destinations_the_route_says_which_is_stable(store: ObjectStore, namespace: str) -> None:
    """As when two rollouts are exchanged: what was stable in the one says nothing about the other."""
    play = promoted(store, namespace)

    def others(route: list[Raw]) -> None:
        route[0] = {"destination": {"host": "bert-blue"}, "weight": 100}
        route[1] = {"destination": {"host": "bert-green"}, "weight": 0}

    play.edit_spec(lambda spec: spec.update(slots={"blue": {"host": "bert-blue"}, "green": {"host": "bert-green"}}))
    play.destinations(others)
    play.run(30)
    assert shares(play) == {"bert-blue": 100, "bert-green": 0}
    assert play.status.stable_slot == "blue"
