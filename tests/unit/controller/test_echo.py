"""What was asked is echoed, and a status never shows the last attempt's result as if it were the new ask's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import ROLLOUT, Kind, ObjectStore
from rollout_controller.core.explain.codes import Code
from tests.play import Play, playing
from tests.support.writes import DeadlyStore

ENDS = {"Succeeded", "RolledBack", "Aborted", "Stalled"}


class Watcher(DeadlyStore):
    """Sees every status that is written, as somebody who waits for an echo would."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, 1_000_000, landed=True)
        self.seen: list[Raw] = []

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        document = super().replace_status(kind, key, status, resource_version)
        self.seen.append(document["status"])
        return document

    def first_end(self, version: str, request: str | None) -> Raw | None:
        """What a waiter takes for the result: the first final status that echoes its ask."""
        for status in self.seen:
            if (status.get("observedVersion"), status.get("observedRequest")) == (version, request) and status["phase"] in ENDS:
                return status
        return None


@dataclass(frozen=True)
class Ask:
    """`before` happens first; then this is asked, and this is its first result."""

    before: Callable[[Play], object]
    version: str
    request: str | None
    phase: str | None
    code: str | None = None
    attempts: int = 1


def nothing(play: Play) -> None:
    """At rest, as it was found."""


def after(version: str, request: str | None, phase: Phase) -> Callable[[Play], None]:
    def act(play: Play) -> None:
        play.ask(version, request)
        play.reach(phase)

    return act


def while_trying(version: str) -> Callable[[Play], None]:
    def act(play: Play) -> None:
        play.ask(version, "old")
        play.reach(Phase.PROGRESSING)
        play.run(20)

    return act


def while_rolling_back(play: Play) -> None:
    play.ask("5", "old")
    while play.status.phase is not Phase.ROLLING_BACK:
        play.world.advance(play.world.now + play.world.window_s)
        play.reconciler.reconcile(play.key)


BAD, GOOD_END = after("5", "old", Phase.ROLLED_BACK), after("2", "old", Phase.SUCCEEDED)
TABLE = {
    "first ask": Ask(nothing, "2", "new", "Succeeded", Code.PROMOTED),
    "first ask, without a request": Ask(nothing, "2", None, "Succeeded", Code.PROMOTED),
    "what stable serves": Ask(nothing, "1", "new", "Succeeded", Code.ALREADY_SERVED, attempts=0),
    "another, after a good one": Ask(GOOD_END, "6", "new", "Succeeded", Code.PROMOTED, attempts=2),
    "a bad one, after a good one": Ask(GOOD_END, "5", "new", "RolledBack", Code.ERRORS_VIOLATED, attempts=2),
    "a good one, after a bad one": Ask(BAD, "2", "new", "Succeeded", Code.PROMOTED, attempts=2),
    "the same bad one, new request": Ask(BAD, "5", "new", "RolledBack", Code.ERRORS_VIOLATED, attempts=2),
    "the same good one, new request": Ask(GOOD_END, "2", "new", "Succeeded", Code.ALREADY_SERVED, attempts=1),
    "the same good one, same request": Ask(GOOD_END, "2", "old", "Succeeded", Code.PROMOTED, attempts=1),
    "the same bad one, same request": Ask(BAD, "5", "old", "RolledBack", Code.ERRORS_VIOLATED, attempts=1),
    "one that does not load": Ask(GOOD_END, "7", "new", "Stalled", Code.LOAD_FAILED, attempts=2),
    "one that is none": Ask(GOOD_END, "no version!", "new", "Stalled", Code.INVALID_VERSION, attempts=1),
    "another while one is tried": Ask(while_trying("2"), "6", "new", "Succeeded", Code.PROMOTED, attempts=2),
    "a bad one while one is tried": Ask(while_trying("2"), "5", "new", "RolledBack", Code.ERRORS_VIOLATED, attempts=2),
    "the same while it is tried, new request": Ask(while_trying("2"), "2", "new", "Succeeded", Code.PROMOTED, attempts=1),
    "stable's while one is tried": Ask(while_trying("2"), "1", "new", "Succeeded", Code.ALREADY_SERVED, attempts=1),
    "one that is none while one is tried": Ask(while_trying("2"), "?", "new", "Stalled", Code.INVALID_VERSION, attempts=1),
    "a fix while the bad one is rolled back": Ask(while_rolling_back, "2", "new", "Succeeded", Code.PROMOTED, attempts=2),
    "the same while it is rolled back, new request": Ask(while_rolling_back, "5", "new", "RolledBack", attempts=2),
    "stable's while one is rolled back": Ask(while_rolling_back, "1", "new", "Succeeded", Code.ALREADY_SERVED, attempts=1),
}


@pytest.mark.parametrize("name", list(TABLE))
def test_the_first_result_that_echoes_an_ask_is_that_asks_own(store: ObjectStore, namespace: str, name: str) -> None:
    ask = TABLE[name]
    play = playing(store, namespace)
    ask.before(play)
    watcher = Watcher(store)
    play.start(watcher)
    play.settle()
    asked_at = len(watcher.seen)
    play.annotate(version=ask.version, request=ask.request)
    for _ in range(150):
        play.run(10)
        if (play.status.observed_version, play.status.observed_request) == (
            ask.version,
            ask.request,
        ) and play.status.phase in ENDS:
            break
    play.run(60)
    if "same request" not in name:
        watcher.seen = watcher.seen[asked_at:]
        result = watcher.first_end(ask.version, ask.request)
        assert result is not None, f"never answered: {play.status.phase} {play.status.reason}"
        assert result["phase"] == ask.phase
        assert ask.code is None or result["reason"]["code"] == ask.code
        if result["reason"]["code"] in {Code.PROMOTED, Code.ERRORS_VIOLATED, Code.LOAD_FAILED}:
            assert (result["attempts"][0]["version"], result["attempts"][0].get("request")) == (ask.version, ask.request)
    status = play.status
    assert (status.observed_version, status.observed_request) == (ask.version, ask.request)
    assert status.phase == ask.phase
    assert status.attempt_count == ask.attempts


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.ROLLED_BACK])
@pytest.mark.parametrize("removed", [{"version": None}, {"request": None}, {"version": None, "request": None}])
def test_an_annotation_that_is_taken_away_asks_for_nothing(
    store: ObjectStore, namespace: str, phase: Phase, removed: dict[str, None]
) -> None:
    play = playing(store, namespace)
    (GOOD_END if phase is Phase.SUCCEEDED else BAD)(play)
    before = play.status
    play.annotate(**removed)
    play.run(60)
    assert play.status == before
    play.annotate(version=before.observed_version, request=before.observed_request)
    play.run(60)
    assert play.status == before, "nor when it comes back"


def test_an_ask_taken_away_in_its_attempt_lets_it_go_on(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    while_trying("2")(play)
    play.annotate(version=None, request=None)
    play.reach(Phase.SUCCEEDED)
    assert (play.status.observed_version, play.status.observed_request) == ("2", "old")


@dataclass(frozen=True)
class Order:
    """A command given `at` a phase, and what becomes of it."""

    at: Callable[[Play], object]
    text: str
    done: bool
    words: str


def paused(play: Play) -> None:
    while_trying("2")(play)
    play.annotate(command="pause p0")
    play.settle()


def preparing(play: Play) -> None:
    play.annotate(version="2", request="old")
    play.reconciler.reconcile(play.key)
    assert play.status.phase is Phase.PREPARING


def blind(play: Play) -> None:
    while_trying("2")(play)
    play.world.dark = (play.world.now, play.world.now + 200)
    play.run(30)
    assert play.code == Code.UNKNOWN


NO_VERB = "there is no command 'explode'; there are pause, resume, promote, promote-full and abort."
TRYING = while_trying("2")
ORDERS = {
    "pause": Order(TRYING, "pause c1", True, "Paused by command c1."),
    "promote": Order(TRYING, "promote c1", True, "Version 2 on green gets 25 %"),
    "promote-full": Order(TRYING, "promote-full c1", True, "Version 2 on green gets 100 %"),
    "abort": Order(TRYING, "abort c1", True, "Aborted by command c1."),
    "resume of what is not paused": Order(TRYING, "resume c1", False, "resume was not done: nothing is paused."),
    "resume": Order(paused, "resume c1", True, "Resumed at 10 %."),
    "promote of what is paused": Order(paused, "promote c1", True, "Version 2 on green gets 25 %"),
    "pause again": Order(paused, "pause c1", False, "pause was not done: it is paused already."),
    "abort of what is paused": Order(paused, "abort c1", True, "Aborted by command c1."),
    "abort while preparing": Order(preparing, "abort c1", True, "Aborted by command c1."),
    "promote while preparing": Order(preparing, "promote c1", False, "promote was not done: the canary has no traffic yet."),
    "pause while blind": Order(blind, "pause c1", True, "Paused by command c1."),
    "promote while blind": Order(blind, "promote c1", True, "Version 2 on green gets 25 %"),
    "at rest": Order(nothing, "pause c1", False, "pause was not done: no attempt is under way."),
    "while rolling back": Order(while_rolling_back, "promote c1", False, "promote was not done: it is being rolled back."),
    "unknown verb": Order(TRYING, "explode c1", False, f"explode was not done: {NO_VERB}"),
    "unknown verb at rest": Order(nothing, "explode c1", False, f"explode was not done: {NO_VERB}"),
    "without an id": Order(TRYING, "abort", False, "abort was not done: a command needs an id of its own"),
    "spaces": Order(TRYING, "  pause    c1  ", True, "Paused by command c1."),
}


@pytest.mark.parametrize("name", list(ORDERS))
def test_a_command_is_echoed_with_what_became_of_it(store: ObjectStore, namespace: str, name: str) -> None:
    order = ORDERS[name]
    play = playing(store, namespace)
    order.at(play)
    play.annotate(command=order.text)
    play.reconciler.reconcile(play.key)
    status = play.status
    assert status.observed_command == " ".join(order.text.split())
    assert status.command_done is order.done
    assert (status.command_result or "").startswith(order.words)
    told = [message for message in play.told if message.code == Code.COMMAND_REFUSED]
    result = status.command_result or ""
    assert [message.sentence for message in told] == ([] if order.done else [result[:1].upper() + result[1:]])
    play.settle()
    play.start(store)
    seen = play.status
    play.settle()
    assert play.status.observed_command == seen.observed_command, "and happens once, also for the next controller"
    assert [message for message in play.told if message.code == Code.COMMAND_REFUSED] == told


def test_a_hostile_command_is_echoed_no_longer_than_it_need_be(store: ObjectStore, namespace: str) -> None:
    play = playing(store, namespace)
    play.annotate(command="pause " + "x" * 100_000)
    play.settle()
    assert len(play.status.observed_command or "") == 128
    version = store.get(ROLLOUT, play.key)["metadata"]["resourceVersion"]
    play.run(60)
    assert store.get(ROLLOUT, play.key)["metadata"]["resourceVersion"] == version
