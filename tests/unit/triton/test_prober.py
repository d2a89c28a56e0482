"""The prober: states in memory, loads in the background, and nobody waits for a Triton that hangs."""

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from rollout_controller.api.names import Key
from rollout_controller.core.observation import SlotState, Unknown
from rollout_controller.triton.client import ModelVersion, Timeouts, TritonClient
from rollout_controller.triton.prober import Prober
from rollout_controller.triton.rounds import Pace, Rounds
from rollout_controller.triton.slots import read_slot, unread
from tests.unit.triton.wire_triton import WireTriton, serve

KEY = Key("demo", "m")
PACE = Pace(active_s=0.02, rest_s=0.3, silent_s=0.05, threads=2, silent_threads=1, per_second=500)


def until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.005)


@pytest.fixture
def triton() -> Iterator[WireTriton]:
    with serve(WireTriton()) as triton:
        triton.versions = {"1": "READY"}
        yield triton


@pytest.fixture
def changes() -> list[Key]:
    return []


@pytest.fixture
def prober(changes: list[Key]) -> Iterator[Prober]:
    deaths: list[BaseException] = []
    prober = Prober(
        on_change=changes.append,
        on_death=lambda _name, error: deaths.append(error),
        client=lambda url: TritonClient(url, Timeouts(connect_s=0.3, read_s=0.3, infer_s=1, load_s=2)),
        pace=PACE,
    )
    prober.start()
    yield prober
    prober.stop()
    assert deaths == []


def runs(prober: Prober, version: str) -> bool:
    return prober.state(KEY, "blue").version == version


def loads(triton: WireTriton) -> int:
    return sum(call.endswith("/load") for call in triton.calls)


def test_what_runs_in_a_slot_is_read_and_a_change_is_told(prober: Prober, triton: WireTriton, changes: list[Key]) -> None:
    problem = prober.state(KEY, "blue").problem
    assert problem is not None
    assert problem.code == "not-read-yet"
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue") == SlotState(version="1", ready=True))
    assert changes == [KEY]
    triton.versions = {"1": "UNAVAILABLE", "2": "READY"}
    until(lambda: prober.state(KEY, "blue").version == "2")
    assert changes == [KEY, KEY]


def test_a_load_pins_the_version_in_the_background(prober: Prober, triton: WireTriton) -> None:
    triton.load_s = 0.3
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    prober.load(KEY, "blue", "2")
    assert prober.state(KEY, "blue") == SlotState(version="1", ready=True, loading="2")
    for _ in range(20):
        prober.load(KEY, "blue", "2")
        time.sleep(0.005)
    until(lambda: prober.state(KEY, "blue") == SlotState(version="2", ready=True))
    assert loads(triton) == 1


def test_a_failed_load_is_remembered_in_tritons_words_until_another_is_asked(prober: Prober, triton: WireTriton) -> None:
    triton.broken = {"2"}
    prober.want(KEY, "blue", triton.url, "m", active=True)
    prober.load(KEY, "blue", "2")
    until(lambda: prober.state(KEY, "blue").failed is not None)
    until(lambda: prober.state(KEY, "blue").version == "1")
    state = prober.state(KEY, "blue")
    assert (state.failed_version, state.loading, state.ready) == ("2", None, True)
    assert state.failed is not None
    assert "no weights" in state.failed
    triton.broken = set()
    prober.load(KEY, "blue", "2")
    assert prober.state(KEY, "blue").failed is None
    until(lambda: prober.state(KEY, "blue") == SlotState(version="2", ready=True))


def test_a_load_that_runs_since_before_our_time_is_waited_for(prober: Prober, triton: WireTriton) -> None:
    triton.versions = {"1": "READY", "3": "LOADING"}
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").loading == "3")
    prober.load(KEY, "blue", "2")
    time.sleep(0.1)
    assert loads(triton) == 0
    triton.versions = {"3": "READY"}
    until(lambda: prober.state(KEY, "blue") == SlotState(version="2", ready=True))


def test_of_loads_asked_while_one_runs_the_last_counts(prober: Prober, triton: WireTriton) -> None:
    triton.load_s = 0.2
    prober.want(KEY, "blue", triton.url, "m", active=True)
    prober.load(KEY, "blue", "2")
    until(lambda: loads(triton) == 1)
    prober.load(KEY, "blue", "1")
    prober.load(KEY, "blue", "3")
    until(lambda: prober.state(KEY, "blue") == SlotState(version="3", ready=True))
    assert loads(triton) == 2


def test_a_load_that_is_asked_for_again_while_it_runs_takes_back_what_was_asked_in_between(
    prober: Prober, triton: WireTriton
) -> None:
    triton.load_s = 0.2
    prober.want(KEY, "blue", triton.url, "m", active=True)
    prober.load(KEY, "blue", "2")
    until(lambda: loads(triton) == 1)
    prober.load(KEY, "blue", "3")
    prober.load(KEY, "blue", "2")
    until(lambda: prober.state(KEY, "blue") == SlotState(version="2", ready=True))
    time.sleep(0.1)
    assert loads(triton) == 1
    assert prober.state(KEY, "blue") == SlotState(version="2", ready=True)


def test_a_version_is_warm_after_its_warm_up_was_answered(prober: Prober, triton: WireTriton) -> None:
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    prober.warm_up(KEY, "blue", "1")
    until(lambda: prober.state(KEY, "blue").warmed == "1")
    prober.warm_up(KEY, "blue", "1")
    time.sleep(0.05)
    assert len(triton.infers) == 1
    triton.versions = {"2": "READY"}
    until(lambda: prober.state(KEY, "blue") == SlotState(version="2", ready=True))


def test_what_is_asked_for_as_soon_as_a_load_has_ended_is_done_once(triton: WireTriton) -> None:
    """The thread that did the load has not looked yet whether there is more, and another one was started beside it."""
    prober: Prober
    triton.infer_s = 0.1

    def reconcile(key: Key) -> None:
        if prober.state(key, "blue").version == "2" and prober.state(key, "blue").loading is None:
            prober.warm_up(key, "blue", "2")

    prober = Prober(on_change=reconcile, pace=PACE)
    prober.start()
    triton.versions = {"1": "READY"}
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    prober.load(KEY, "blue", "2")
    until(lambda: prober.state(KEY, "blue").warmed == "2")
    time.sleep(0.2)
    prober.stop()
    assert len(triton.infers) == 1


def test_an_error_for_zeros_is_an_answer_because_zeros_may_be_unfit(prober: Prober, triton: WireTriton) -> None:
    triton.infer_status = 500
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    prober.warm_up(KEY, "blue", "1")
    until(lambda: prober.state(KEY, "blue").warmed == "1")


def test_a_triton_that_does_not_answer_is_unknown_since_then_with_its_last_version(prober: Prober, triton: WireTriton) -> None:
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    before = time.time()
    triton.hang.set()
    until(lambda: prober.state(KEY, "blue").problem is not None)
    state = prober.state(KEY, "blue")
    assert (state.version, state.ready) == ("1", False)
    assert state.problem is not None
    assert state.problem.code == "no-answer"
    assert state.problem.since is not None
    assert before <= state.problem.since <= time.time()
    time.sleep(0.4)
    assert prober.state(KEY, "blue").problem == state.problem, "since when it is dark does not move"
    triton.hang.clear()
    until(lambda: prober.state(KEY, "blue") == SlotState(version="1", ready=True))


def test_tritons_that_hang_delay_nobody_else(prober: Prober, triton: WireTriton) -> None:
    hanging = WireTriton()
    with serve(hanging):
        hanging.hang.set()
        for number in range(6):
            prober.want(KEY, f"dark-{number}", f"{hanging.url}/{number}", "m", active=True)
        prober.want(KEY, "blue", triton.url, "m", active=True)
        until(lambda: prober.state(KEY, "dark-5").problem != prober.state(KEY, "nobody").problem)
        before = len(hanging.calls)
        for version in ("2", "1", "3", "1"):
            triton.versions = {version: "READY"}
            until(partial(runs, prober, version))
        assert len(hanging.calls) - before < 12, "else each waited for a round of the six"


def test_asking_a_dead_triton_again_and_again_makes_no_hot_loop(triton: WireTriton) -> None:
    turns: list[float] = []
    prober: Prober

    def reconcile(key: Key) -> None:
        turns.append(time.monotonic())
        prober.load(key, "blue", "2")

    prober = Prober(on_change=reconcile, pace=PACE)
    prober.start()
    prober.want(KEY, "blue", "http://127.0.0.1:9", "m", active=True)
    prober.load(KEY, "blue", "2")
    time.sleep(0.8)
    prober.stop()
    assert 1 <= len(turns) < 8


def test_one_question_for_all_slots_of_a_triton(prober: Prober, triton: WireTriton) -> None:
    for number in range(20):
        prober.want(Key("demo", f"m{number}"), "blue", triton.url, "m", active=True)
    until(lambda: prober.state(Key("demo", "m19"), "blue").ready)
    triton.calls.clear()
    time.sleep(0.3)
    assert len(triton.calls) <= 16


def test_at_rest_a_slot_is_asked_seldom_and_becomes_quick_when_active(prober: Prober, triton: WireTriton) -> None:
    prober.want(KEY, "blue", triton.url, "m", active=False)
    until(lambda: prober.state(KEY, "blue").ready)
    triton.calls.clear()
    time.sleep(0.2)
    assert len(triton.calls) <= 1
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: len(triton.calls) >= 4)


def test_a_forgotten_rollout_is_asked_about_no_more(prober: Prober, triton: WireTriton) -> None:
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    prober.forget(KEY)
    time.sleep(0.05)
    triton.calls.clear()
    time.sleep(0.1)
    assert triton.calls == []
    problem = prober.state(KEY, "blue").problem
    assert problem is not None
    assert problem.code == "not-read-yet"


def test_another_url_starts_anew(prober: Prober, triton: WireTriton) -> None:
    prober.want(KEY, "blue", "http://127.0.0.1:9", "m", active=True)
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue") == SlotState(version="1", ready=True))


def test_a_slot_outside_a_model_repository_is_ready_when_its_server_is(prober: Prober, triton: WireTriton) -> None:
    prober.want(KEY, "blue", triton.url, None, active=True)
    until(lambda: prober.state(KEY, "blue") == SlotState(ready=True))
    assert set(triton.calls) == {"GET /v2/health/ready"}


def test_stop_ends_the_threads(triton: WireTriton) -> None:
    before = set(threading.enumerate())  # a controller of another test may still be ending its own
    prober = Prober(on_change=lambda _key: None, pace=PACE)
    prober.start()
    prober.want(KEY, "blue", triton.url, "m", active=True)
    until(lambda: prober.state(KEY, "blue").ready)
    mine = [t for t in set(threading.enumerate()) - before if t.name.startswith("triton-")]
    assert mine
    prober.stop()
    assert not [t for t in mine if t.is_alive()]


def test_the_highest_ready_version_is_the_one_that_answers() -> None:
    index = [ModelVersion("m", v, "READY") for v in ("9", "10", "2")] + [ModelVersion("other", "99", "READY")]
    assert read_slot(SlotState(), index, "m").version == "10"


def test_a_model_that_is_not_in_the_repository_is_not_found() -> None:
    state = read_slot(SlotState(version="1", ready=True, warmed="1"), [ModelVersion("other", "1", "READY")], "m")
    assert state == SlotState(problem=Unknown("not-found", "Triton's model repository has no model 'm'"))


def test_a_version_that_is_ready_no_more_is_warm_no_more() -> None:
    before = SlotState(version="1", ready=True, warmed="1")
    assert read_slot(before, [ModelVersion("m", "1", "UNAVAILABLE", "unloaded")], "m") == SlotState()
    assert unread(before, "no-answer", "x", 5.0).warmed == "1"


def test_a_poller_that_dies_says_so() -> None:
    deaths: list[str] = []

    def fail(_address: str) -> bool:
        raise ZeroDivisionError

    threading.excepthook, hook = (lambda _args: None), threading.excepthook
    try:
        rounds = Rounds(fail, PACE, lambda name, _error: deaths.append(name))
        rounds.start()
        rounds.set("a", active=True)
        until(lambda: len(deaths) == 1)
        rounds.stop(1)
    finally:
        threading.excepthook = hook
    assert deaths[0].startswith("triton-poll")
