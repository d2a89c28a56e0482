"""Safety rule 4: kill the controller at every write; the next one ends in the same final state."""

from __future__ import annotations

import copy
import sqlite3
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from rollout_controller.api.status import Phase
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import DEPLOYMENT, ROLLOUT
from tests import kubelet
from tests.kubelet import Kubelet
from tests.play import Play
from tests.support.writes import EveryWrite
from tests.world import Behaviour, World

pytestmark = pytest.mark.long


@dataclass(frozen=True)
class Moment:
    """Where the controller may die: what outlives it is the store, the world, and whether the version was asked for by then."""

    name: str
    store: Path
    world: World
    kubelet: Kubelet
    asked: bool


class Recording(EveryWrite):
    """Keeps the moment before each write lands, and the one right after."""

    def __init__(self, play: Play, directory: Path) -> None:
        super().__init__(play.store)
        self._play, self._directory = play, directory
        self.asked = False
        self.moments: list[Moment] = []
        self._newest: tuple[object, ...] = ()

    def before(self) -> None:
        self._keep("before it lands")

    def after(self) -> None:
        self._keep("after it landed")

    def _keep(self, when: str) -> None:
        """A moment that is another one than the last: nothing happened between most writes and the next."""
        world = copied(self._play.world)
        newest = (self._store.list(ROLLOUT).resource_version, world, self.asked)
        if newest == self._newest:
            return
        self._newest = newest
        kubelet = copy.deepcopy(self._play.kubelet, {id(self._play.world): world})
        path = self._directory / f"{len(self.moments)}.db"
        backup(self._directory / CALM, path)
        self.moments.append(Moment(f"write {self.writes}, {when}", path, world, kubelet, self.asked))


CALM = "calm.db"
QUICK = {"hold": {"min": "30s", "minRequests": 30, "timeout": "10m"}}
"""Steps of three turns each: every kind of write there is, and no more turns without one than need be."""
BRIEF = {**QUICK, "steps": [{"weight": 25}, {"weight": 100}]}
"""Where each step brings pods up, two of them show every kind of write."""
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


def backup(path: Path, to: Path) -> None:
    """A copy of the file as it is now, and as it would be found after a crash of its writer."""
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(to)) as target:
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target)


def copied(world: World) -> World:
    """A world that goes on by itself from here."""
    other = copy.copy(world)
    for each in fields(World):
        setattr(other, each.name, copy.copy(getattr(world, each.name)))
    return other


def after_death(calm: Play, moment: Moment) -> Play:
    """What is there after a kill, with a new controller that knows nothing but the store."""
    play = copy.copy(calm)
    play.store, play.world, play.kubelet = LocalStore(moment.store), moment.world, moment.kubelet
    play.world.weights = play.weights
    play.start(play.store)
    return play


def attempt(play: Play, recording: Recording | None = None, *, asked: bool = False) -> None:
    """Play one attempt to its end, and with pods until long after the idle slot was to be scaled down."""
    end = play.world.now + 3600
    play.settle()
    if not asked:
        play.annotate(version="2", request="run-1")
        if recording:
            recording.asked = True
        play.settle()
    while play.world.now < end:
        play.world.advance(play.world.now + 10)
        play.settle()
        status = play.status
        if status.observed_request == "run-1" and status.phase in {Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.STALLED}:
            rest(play)
            return
    raise AssertionError(f"no end: {play.status.phase} {play.status.reason}")


def rest(play: Play) -> None:
    """Until long after the idle slot was to be scaled down."""
    for _ in range(3 if replicas(play) else 0):
        play.world.advance(play.world.now + 60)
        play.settle()


def replicas(play: Play) -> dict[str, object]:
    return {d["metadata"]["name"]: d["spec"]["replicas"] for d in play.store.list(DEPLOYMENT).items}


@pytest.mark.parametrize("world", [*WORLDS, *IMAGE, *RETREAT])
def test_kill_at_every_write(tmp_path: Path, world: str) -> None:
    """The calm attempt is played once; from every moment on in which it might have died, another controller goes on."""
    behaviours, pods = {**WORLDS, **IMAGE, **RETREAT}[world], world in IMAGE
    rules = (BRIEF if pods else QUICK) | ({"retreat": {"coolDown": "20s", "strikes": 3}} if world in RETREAT else {})
    story = World(behaviours=dict(behaviours), window_s=10.0)
    calm = Play(tmp_path / CALM, story, kubelet.spec() if pods else None, rules=rules)
    if pods:
        calm.deploy_pods(blue=4, green=0)
    recording = Recording(calm, tmp_path)
    calm.start(recording)
    attempt(calm, recording)
    assert recording.writes >= 3
    assert len(recording.moments) > recording.writes
    wanted, weights, status, pods_of = calm.status.attempts[0], dict(calm.weights()), calm.status, replicas(calm)
    for moment in recording.moments:
        play = after_death(calm, moment)
        attempt(play, asked=moment.asked)
        got, killed = play.status.attempts[0], f"killed at {moment.name}"
        assert dict(play.weights()) == weights, killed
        assert (play.status.phase, got.outcome, got.reason.code) == (status.phase, wanted.outcome, wanted.reason.code), killed
        if play.world.now == calm.world.now:  # else the attempt met other requests, and its numbers are others
            assert got.reason == wanted.reason, killed
        assert [s.weight for s in got.steps_done] == [s.weight for s in wanted.steps_done], killed
        assert play.status.stable_slot == status.stable_slot, killed
        assert replicas(play) == pods_of, killed
