"""Safety rule 4: kill the controller at every write; the next one ends in the same final state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import DEPLOYMENT, Kind, Listing, ObjectStore, PatchOp, WatchEvent
from tests import kubelet
from tests.play import Play
from tests.world import Behaviour, World


class Killed(BaseException):
    """The process is gone; nothing after this line ran."""


class DeadlyStore:
    """A store in front of the real one that kills its user at the k-th write: before it lands, or right after."""

    def __init__(self, store: ObjectStore, kill_at: int, *, landed: bool) -> None:
        self._store, self._kill_at, self._landed = store, kill_at, landed
        self.writes = 0

    def _write(self, kind: Kind, write: str, *args: object) -> Raw:
        self.writes += 1
        if self.writes == self._kill_at and not self._landed:
            raise Killed
        document: Raw = getattr(self._store, write)(kind, *args)
        if self.writes == self._kill_at:
            raise Killed
        return document

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        return self._write(kind, "patch", key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        return self._write(kind, "replace_status", key, status, resource_version)

    def create(self, kind: Kind, document: Raw) -> Raw:
        return self._write(kind, "create", document)

    def replace(self, kind: Kind, document: Raw) -> Raw:
        return self._write(kind, "replace", document)

    def get(self, kind: Kind, key: Key) -> Raw:
        return self._store.get(kind, key)

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        return self._store.list(kind, namespace)

    def delete(self, kind: Kind, key: Key) -> None:
        self._store.delete(kind, key)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Iterator[WatchEvent]:
        return self._store.watch(kind, namespace, since, timeout_s)


GOOD = Behaviour(errors=0.001, slow=0.01)
WORLDS = {
    "good": {"1": GOOD, "2": GOOD},
    "errors": {"1": GOOD, "2": Behaviour(errors=0.05)},
    "load fails": {"1": GOOD, "2": Behaviour(fails_to_load="no such file")},
}
RETREAT = {"retreats": {"1": GOOD, "2": Behaviour(errors=1.0)}}
"""Users are taken out of the way, come back, and are taken out of the way again until the last strike."""
IMAGE = {"image good": WORLDS["good"], "image errors": WORLDS["errors"], "image fails": WORLDS["load fails"]}
"""The same with pods: images and replicas are written, too, and the idle slot is scaled down afterwards."""


def attempt(path: Path, behaviours: dict[str, Behaviour], kill_at: int, *, landed: bool, pods: bool = False) -> tuple[Play, int]:
    """Play one attempt, killed at a write; a new controller goes on with nothing but the store."""
    retreats = {"retreat": {"coolDown": "20s", "strikes": 3}} if behaviours in RETREAT.values() else {}
    world = World(behaviours=dict(behaviours), window_s=10.0)
    play = Play(path, world, kubelet.spec() if pods else None, rules=retreats)
    if pods:
        play.deploy_pods(blue=4, green=0)
    deadly = DeadlyStore(play.store, kill_at, landed=landed)
    play.start(deadly)
    end = play.world.now + 3600

    def turn() -> None:
        try:
            play.settle()
        except Killed:
            play.start(play.store)
            play.settle()

    turn()
    play.annotate(version="2", request="run-1")
    turn()
    while play.world.now < end:
        play.world.advance(play.world.now + 10)
        turn()
        status = play.status
        if status.observed_request == "run-1" and status.phase in {Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.STALLED}:
            if pods:
                rest(play, turn)
            return play, deadly.writes
    raise AssertionError(f"no end: {play.status.phase} {play.status.reason}")


def rest(play: Play, turn: Callable[[], None]) -> None:
    """Until long after the idle slot was to be scaled down."""
    for _ in range(3):
        play.world.advance(play.world.now + 60)
        turn()


def replicas(play: Play) -> dict[str, object]:
    return {d["metadata"]["name"]: d["spec"]["replicas"] for d in play.store.list(DEPLOYMENT).items}


@pytest.mark.parametrize("world", [*WORLDS, *IMAGE, *RETREAT])
@pytest.mark.parametrize("landed", [False, True], ids=["before it lands", "after it landed"])
def test_kill_at_every_write(tmp_path: Path, world: str, landed: bool) -> None:
    behaviours, pods = {**WORLDS, **IMAGE, **RETREAT}[world], world in IMAGE
    calm, writes = attempt(tmp_path / "calm.db", behaviours, 10_000, landed=False, pods=pods)
    assert writes >= 3
    wanted = calm.status.attempts[0]
    for k in range(1, writes + 1):
        play, _ = attempt(tmp_path / f"{k}.db", behaviours, k, landed=landed, pods=pods)
        got = play.status.attempts[0]
        assert dict(play.weights()) == dict(calm.weights()), f"killed at write {k}"
        assert (play.status.phase, got.outcome, got.reason.code) == (calm.status.phase, wanted.outcome, wanted.reason.code), k
        if play.world.now == calm.world.now:  # else the attempt met other requests, and its numbers are others
            assert got.reason == wanted.reason, f"killed at write {k}"
        assert [s.weight for s in got.steps_done] == [s.weight for s in wanted.steps_done], f"killed at write {k}"
        assert play.status.stable_slot == calm.status.stable_slot
        assert replicas(play) == replicas(calm), f"killed at write {k}"
