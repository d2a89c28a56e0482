"""What was measured on two well-known controllers and must not happen here: one test a row.

The tests need a store and a namespace; another tier imports them and gives them its own.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import EVENT, VIRTUAL_SERVICE, Kind, ObjectStore, PatchOp
from rollout_controller.controller.tell import EventTeller
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import SlotState, Unknown
from tests.play import Play, playing
from tests.support.writes import DeadlyStore, Killed


class Counted(DeadlyStore):
    """Counts the calls that change something, by verb and kind."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, 1_000_000, landed=True)
        self.calls: Counter[str] = Counter()

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        self.calls[f"patch {kind.name}"] += 1
        return super().patch(kind, key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        self.calls[f"status {kind.name}"] += 1
        return super().replace_status(kind, key, status, resource_version)

    def create(self, kind: Kind, document: Raw) -> Raw:
        self.calls[f"create {kind.name}"] += 1
        return super().create(kind, document)


class Remembers(DeadlyStore):
    """Reads each document once after each write of it: all who write go through here."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, 1_000_000, landed=True)
        self._read: dict[tuple[Kind, Key], Raw] = {}

    def get(self, kind: Kind, key: Key) -> Raw:
        if (kind, key) not in self._read:
            self._read[kind, key] = super().get(kind, key)
        return copy.deepcopy(self._read[kind, key])

    def _write(self, kind: Kind, write: str, *args: object) -> Raw:
        document = super()._write(kind, write, *args)
        self._read[kind, Key(document["metadata"]["namespace"], document["metadata"]["name"])] = document
        return document


def counted(play: Play) -> Counter[str]:
    """From now on, what the controller writes."""
    store = Counted(play.store)
    play.reconciler._applier._store = store
    return store.calls


def tried(store: ObjectStore, namespace: str, version: str) -> Play:
    play = playing(store, namespace)
    play.ask(version, "run-1")
    play.reach(Phase.PROGRESSING)
    return play


# --- API requests per canary and tick


def test_a_tick_of_an_attempt_costs_no_write(store: ObjectStore, namespace: str) -> None:
    """The status is written when a person would see a change, and its evidence every half a minute: never each tick."""
    play = tried(store, namespace, "2")
    calls = counted(play)
    for _ in range(50):
        play.world.now += 0.5  # nothing new: no window ends
        play.reconciler.reconcile(play.key)
    assert calls.total() <= 2, calls
    assert set(calls) <= {"status TritonRollout"}


# --- weights edited by hand: promoted at once, said nowhere


@pytest.mark.parametrize(("blue", "green"), [(50, 50), (0, 100), (100, 0), (0, 0)])
def test_weights_edited_by_hand_promote_nobody_and_are_said(store: ObjectStore, namespace: str, blue: int, green: int) -> None:
    play = tried(store, namespace, "2")
    play.run(20)
    play.set_weights(blue, green)
    play.settle()
    assert play.status.phase is Phase.PROGRESSING
    assert dict(play.weights()) == {"blue": 90, "green": 10}
    assert [message.code for message in play.told if message.drift] == [Code.DRIFT]


@pytest.mark.parametrize("host", ["triton-blue", "triton-green"])
def test_a_destination_removed_promotes_nobody_and_is_said(store: ObjectStore, namespace: str, host: str) -> None:
    play = tried(store, namespace, "2")
    play.destinations(lambda route: route.remove(next(d for d in route if d["destination"]["host"] == host)))
    play.run(120)
    assert play.status.phase is Phase.PROGRESSING
    assert [message.code for message in play.told if message.drift] == [Code.ROUTE_UNREADABLE]
    assert host in play.condition("RouteInSync").message


# --- a fix pushed while it rolls back: swallowed, never analysed


def test_a_fix_asked_for_during_a_rollback_is_tried_next(store: ObjectStore, namespace: str) -> None:
    play = tried(store, namespace, "5")
    while play.status.phase is not Phase.ROLLING_BACK:
        play.world.advance(play.world.now + 10)
        play.reconciler.reconcile(play.key)
    play.annotate(version="2", request="run-2")
    play.run(1200)
    assert [(record.version, record.outcome) for record in play.status.attempts] == [("2", "Promoted"), ("5", "RolledBack")]
    assert play.status.observed_request == "run-2"
    assert not any(step.unproven for step in play.status.attempts[0].steps_done), "it was judged"


# --- events: 0 of 300 rollbacks had one


def test_an_event_for_every_one_of_a_dozen_rollbacks_at_once(store: ObjectStore, namespace: str) -> None:
    """With 100 of them, a controller's process does it in tests/cluster/test_peers.py."""
    deaths: list[BaseException] = []
    teller = EventTeller(store, instance="test", clock=lambda: 1.8e9, on_death=lambda _name, error: deaths.append(error))
    teller.start()
    quick = Remembers(store)
    plays = [playing(quick, namespace, name=f"model-{n:03}", teller=teller) for n in range(12)]
    for play in plays:
        play.world.rps = 20
        play.ask("5", "run-1")
    for _ in range(40):
        for play in plays:
            if play.status.phase is not Phase.ROLLED_BACK:
                play.run(10)
    teller.stop(timeout_s=60)
    assert deaths == []
    assert {str(play.status.phase) for play in plays} == {"RolledBack"}
    events = [event for event in store.list(EVENT, namespace).items if event["reason"] == Code.ERRORS_VIOLATED]
    assert sorted(event["regarding"]["name"] for event in events) == sorted(play.key.name for play in plays)
    notes = {event["regarding"]["name"]: event["note"] for event in events}
    assert all(notes[play.key.name] == play.status.attempts[0].reason.sentence for play in plays), "the same sentence"


def test_an_event_of_a_rollback_is_told_by_the_next_controller_if_the_first_died(store: ObjectStore, namespace: str) -> None:
    """Killed between its write of the status and its word about it."""
    play = tried(store, namespace, "5")
    while play.status.phase is Phase.PROGRESSING:
        play.world.advance(play.world.now + 10)
        deadly = DeadlyStore(store, 1_000_000, landed=True)
        play.start(deadly)
        tell = play.tell

        def die(*_args: object) -> None:
            raise Killed

        play.tell = die  # type: ignore[method-assign,assignment]
        try:
            play.reconciler.reconcile(play.key)
        except Killed:
            pass
        finally:
            play.tell = tell  # type: ignore[method-assign]
    assert play.status.phase is Phase.ROLLING_BACK
    deaths: list[BaseException] = []
    teller = EventTeller(store, instance="test", clock=lambda: 1.8e9, on_death=lambda _name, error: deaths.append(error))
    teller.start()
    play.teller = teller
    play.start(store)
    play.settle()
    teller.stop()
    assert [e["reason"] for e in store.list(EVENT, namespace).items] == [Code.ERRORS_VIOLATED]


# --- one aborted rollout: a Service patched 36 times a second, or a status written every tick for ever


def promoted(play: Play) -> None:
    play.ask("2", "run-1")
    play.reach(Phase.SUCCEEDED)


def rolled_back(play: Play) -> None:
    play.ask("5", "run-1")
    play.reach(Phase.ROLLED_BACK)


def aborted(play: Play) -> None:
    play.ask("2", "run-1")
    play.reach(Phase.PROGRESSING)
    play.annotate(command="abort c1")
    play.reach(Phase.ABORTED)


def not_loaded(play: Play) -> None:
    play.ask("7", "run-1")
    play.reach(Phase.STALLED)


def never_asked(play: Play) -> None:
    assert play.status.phase is Phase.IDLE


def invalid_version(play: Play) -> None:
    play.ask("no version!", "run-1")


def left_drifted(play: Play) -> None:
    play.edit_policy(drift={"then": "Pause"})
    play.set_weights(50, 50)
    play.settle()


def without_route(play: Play) -> None:
    play.delete_route()
    play.settle()


@pytest.mark.parametrize(
    "end",
    [promoted, rolled_back, aborted, not_loaded, never_asked, invalid_version, left_drifted, without_route],
    ids=lambda end: end.__name__,
)
def test_no_repeated_writes_after_the_end(store: ObjectStore, namespace: str, end: Callable[[Play], None]) -> None:
    play = playing(store, namespace)
    end(play)
    play.settle()
    calls, told = counted(play), len(play.told)
    loads: list[str] = []
    play.world.load = lambda slot, _version: loads.append(slot)  # type: ignore[method-assign,assignment]
    for _ in range(100):
        play.run(10)
    assert calls.total() == 0, calls
    assert (len(play.told), loads) == (told, [])


# --- a bad canary while a stable pod is unready: weight stays, or is never rolled back


@pytest.mark.parametrize("stable", [SlotState(version="1", ready=False), SlotState(problem=Unknown("no-answer", "refused"))])
def test_stable_not_ready_does_not_hold_a_rollback(store: ObjectStore, namespace: str, stable: SlotState) -> None:
    play = tried(store, namespace, "5")
    seen = play.world.slot
    play.world.slot = lambda name: stable if name == "blue" else seen(name)  # type: ignore[method-assign]
    play.reach(Phase.ROLLED_BACK, 120)
    assert dict(play.weights()) == {"blue": 100, "green": 0}
    assert play.code == Code.ERRORS_VIOLATED


# --- kill -9 and restart; a hook that hangs


def test_restarted_the_next_controller_moves_traffic_in_its_first_turn(store: ObjectStore, namespace: str) -> None:
    play = tried(store, namespace, "5")
    play.world.advance(play.world.now + 60)  # nobody looked
    play.start(store)
    play.reconciler.reconcile(play.key)
    assert dict(play.weights()) == {"blue": 100, "green": 0}


def test_events_that_cannot_be_written_hold_nothing_up(store: ObjectStore, namespace: str) -> None:
    class Hangs(DeadlyStore):
        def create(self, kind: Kind, document: Raw) -> Raw:
            begun.set()
            end.wait(20)
            return super().create(kind, document)

    begun, end = threading.Event(), threading.Event()
    teller = EventTeller(Hangs(store, 1_000_000, landed=True), instance="t", clock=lambda: 1.8e9, on_death=lambda _n, _e: None)
    teller.start()
    play = playing(store, namespace, teller=teller)
    play.ask("5", "run-1")
    play.reach(Phase.ROLLED_BACK)
    assert begun.wait(5)
    assert not end.is_set(), "and the writer hangs still"
    end.set()
    teller.stop()
    assert Code.ERRORS_VIOLATED in {event["reason"] for event in store.list(EVENT, namespace).items}


# --- not of that table, and of its kind: somebody else's fields


def test_only_two_weights_and_one_annotation_of_a_route_are_ever_written(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    before = store.get(VIRTUAL_SERVICE, play.route)
    rolled_back(play)
    play.ask("2", "run-2")
    play.reach(Phase.SUCCEEDED)
    after = store.get(VIRTUAL_SERVICE, play.route)
    for document in (before, after):
        document["metadata"].pop("annotations", None)
        for field in ("resourceVersion", "generation", "managedFields"):
            document["metadata"].pop(field, None)
        for destination in document["spec"]["http"][0]["route"]:
            destination.pop("weight")
    assert after == before
