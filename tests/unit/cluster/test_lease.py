"""Leadership: one leads, the other takes over in time, and nobody else's clock matters."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.fence import Fence, FencedStore, LeadershipLost, steady
from rollout_controller.cluster.lease import Acquire, Candidate, Leadership, Lost, Renew, Timing, Wait, claimed, micro_time
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import LEASE, POLICY, Refused, Unavailable
from tests.contract.documents import policy

KEY = Key("rollout-system", "rollout-controller")


class Clock:
    """A steady clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Troubled(LocalStore):
    """A real store whose next calls for leases fail as told; `slow_s` passes on the test's clock in each write."""

    def __init__(self, path: Path, clock: Clock) -> None:
        super().__init__(path)
        self.clock, self.slow_s = clock, 0.0
        self.troubles: list[Exception] = []
        self.down: Exception | None = None

    def get(self, kind: Any, key: Key) -> Raw:
        self._fail()
        return super().get(kind, key)

    def replace(self, kind: Any, document: Raw) -> Raw:
        self._fail()
        self.clock.now += self.slow_s
        return super().replace(kind, document)

    def _fail(self) -> None:
        if self.down is not None:
            raise self.down
        if self.troubles:
            raise self.troubles.pop(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Troubled]:
    opened = Troubled(tmp_path / "store.db", clock)
    yield opened
    opened.close()


class One:
    """One process's leadership, turned by hand."""

    def __init__(self, store: LocalStore, clock: Clock, name: str, wall: float = 1_800_000_000.0) -> None:
        self.store, self.clock, self.wall = store, clock, wall
        self.led, self.lost = 0, [""][:0]
        self.fence = Fence(Timing().request_s, clock)
        self.leadership = Leadership(
            store,
            KEY,
            Candidate(name),
            self.fence,
            on_lead=self.leads,
            on_lost=self.lost.append,
            on_death=lambda _name, error: self.lost.append(repr(error)),
            clock=clock,
            wall=lambda: self.wall,
            uniform=lambda _low, high: high,
        )

    def leads(self) -> None:
        self.led += 1

    def turn(self) -> float | None:
        return self.leadership.turn()

    def run(self, until: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Turns as its thread does; gives the seconds that passed."""
        began = self.clock.now
        while not until():
            assert self.clock.now - began < limit_s, "never"
            pause = self.turn()
            if pause is None or until():
                break
            self.clock.now += pause
        return self.clock.now - began

    def may_write(self) -> bool:
        try:
            self.fence.check()
        except LeadershipLost:
            return False
        return True


def lead(store: LocalStore, clock: Clock, name: str = "a") -> One:
    one = One(store, clock, name)
    one.run(lambda: one.led == 1)
    return one


def spec(store: LocalStore) -> Raw:
    found: Raw = LocalStore.get(store, LEASE, KEY)["spec"]
    return found


# --- the lease as it is written ------------------------------------------------------------------------------------


def test_the_first_one_leads_after_one_lease_without_a_lease(store: Troubled, clock: Clock) -> None:
    """A Lease that is not there may have been deleted under a leader, who does not know yet."""
    one = One(store, clock, "a")
    assert one.run(lambda: one.led == 1) >= Timing().duration_s
    assert spec(store) == {
        "holderIdentity": "a",
        "leaseDurationSeconds": 4,
        "acquireTime": "2027-01-15T08:00:00.000000Z",
        "renewTime": "2027-01-15T08:00:00.000000Z",
        "leaseTransitions": 0,
    }


def test_a_renewal_moves_the_renew_time_only(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    before = spec(store)
    one.wall += 1.5
    assert one.turn() == Timing().renew_s
    assert spec(store) == {**before, "renewTime": "2027-01-15T08:00:01.500000Z"}


def test_the_next_one_counts_a_transition(store: Troubled, clock: Clock) -> None:
    lead(store, clock)
    other = One(store, clock, "b", wall=1_800_000_100.0)
    other.run(lambda: other.led == 1)
    assert spec(store)["holderIdentity"] == "b"
    assert spec(store)["leaseTransitions"] == 1
    assert spec(store)["acquireTime"] == micro_time(1_800_000_100.0)


def test_what_others_wrote_into_the_lease_is_kept(store: Troubled, clock: Clock) -> None:
    """Labels of a chart, fields of a newer Kubernetes."""
    lease = claimed(None, KEY, Candidate("gone"), 0.0)
    lease["metadata"]["labels"] = {"app.kubernetes.io/name": "rollout-controller"}
    lease["spec"] |= {"holderIdentity": "", "strategy": "OldestEmulationVersion"}
    store.create(LEASE, lease)
    lead(store, clock)
    document = store.get(LEASE, KEY)
    assert document["metadata"]["labels"] == {"app.kubernetes.io/name": "rollout-controller"}
    assert document["spec"]["strategy"] == "OldestEmulationVersion"


# --- hand-over -----------------------------------------------------------------------------------------------------


def test_a_follower_waits_a_whole_lease_since_it_saw_the_last_renewal(store: Troubled, clock: Clock) -> None:
    one, other = lead(store, clock), One(store, clock, "b")
    for _ in range(20):
        other.turn()
        clock.now += 0.5
        one.turn()
    assert other.led == 0
    other.turn()
    seen_at = clock.now
    other.run(lambda: other.led == 1)
    assert clock.now - seen_at >= Timing().duration_s
    assert clock.now - seen_at <= Timing().duration_s + Timing().look_s + Timing().renew_s


@pytest.mark.parametrize("wall", [0.0, 4_000_000_000.0], ids=["far behind", "far ahead"])
def test_wall_clocks_do_not_matter(store: Troubled, clock: Clock, wall: float) -> None:
    one, other = lead(store, clock), One(store, clock, "b", wall=wall)
    for second in range(20):
        one.wall = wall if second % 2 else 1_800_000_000.0
        one.turn()
        other.turn()
        clock.now += 1.0
    assert (one.lost, other.led) == ([], 0)


def test_a_lease_given_back_is_taken_at_once(store: Troubled, clock: Clock) -> None:
    one, other = lead(store, clock), One(store, clock, "b")
    other.turn()
    assert one.leadership.stop(1.0)
    assert one.leadership.release()
    assert other.run(lambda: other.led == 1) <= Timing().look_s
    assert not one.may_write()
    assert not one.leadership.leading


def test_no_lease_to_give_back(store: Troubled, clock: Clock) -> None:
    one = One(store, clock, "b")
    assert not one.leadership.release()
    other = lead(store, clock)
    one.turn()
    assert not one.leadership.release()
    assert other.leadership.leading


def test_a_release_that_another_write_overtook_changes_nothing(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    document = store.get(LEASE, KEY)
    document["spec"]["holderIdentity"] = "b"
    LocalStore.replace(store, LEASE, document)
    assert not one.leadership.release()
    assert spec(store)["holderIdentity"] == "b"
    assert not one.may_write()


def test_of_many_that_wait_one_leads(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    waiting = [One(store, clock, f"w{n}") for n in range(10)]
    for other in waiting:
        other.turn()
    one.leadership.stop(1.0)
    one.leadership.release()
    documents = [store.get(LEASE, KEY)] * len(waiting)
    for other, document in zip(waiting, documents, strict=True):  # all of them read before any of them wrote
        other.leadership._write(document)
    assert [other.led for other in waiting] == [1] + [0] * 9


def test_a_holder_with_a_longer_lease_is_waited_for_as_long_as_it_said(store: Troubled, clock: Clock) -> None:
    slow = Candidate("slow", Timing.of(20))
    store.create(LEASE, claimed(None, KEY, slow, 0.0))
    other = One(store, clock, "b")
    assert other.run(lambda: other.led == 1) >= 20


@pytest.mark.parametrize("seconds", [10**9, 0, -1, "4", None, 2.5, True])
def test_a_garbled_duration_blocks_nobody_for_ever(store: Troubled, clock: Clock, seconds: Any) -> None:
    document = claimed(None, KEY, Candidate("garbled"), 0.0)
    document["spec"]["leaseDurationSeconds"] = seconds
    store.create(LEASE, document)
    other = One(store, clock, "b")
    assert 4 <= other.run(lambda: other.led == 1, limit_s=90) <= 61


# --- loss ----------------------------------------------------------------------------------------------------------


def test_a_leader_whose_renewals_fail_is_lost_before_another_may_lead(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    renewed = clock.now
    clock.now += Timing().renew_s
    store.down = Unavailable("no answer")
    one.run(lambda: bool(one.lost))
    assert Timing().deadline_s <= clock.now - renewed <= Timing().deadline_s + Timing().request_s
    assert "not renewed for" in one.lost[0]
    assert not one.may_write()
    assert clock.now < renewed + Timing().duration_s


def test_one_failed_renewal_costs_nothing(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    store.troubles = [Unavailable("no answer")]
    for _ in range(3):
        clock.now += one.turn() or 0.0
    assert one.lost == []
    assert one.may_write()
    assert one.leadership.problem() is None


def test_a_renewal_that_landed_and_was_not_answered_is_found(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    document = store.get(LEASE, KEY)
    LocalStore.replace(store, LEASE, claimed(document, KEY, Candidate("a"), 1_800_000_001.0))
    assert one.turn() == 0.0  # a conflict: read it
    assert one.turn() == Timing().renew_s
    assert one.lost == []


def test_an_acquisition_that_landed_and_was_not_answered_is_found(store: Troubled, clock: Clock) -> None:
    store.create(LEASE, claimed(None, KEY, Candidate("a"), 1_800_000_000.0))
    one = One(store, clock, "a")
    one.turn()
    assert one.led == 1
    assert spec(store)["leaseTransitions"] == 0


@pytest.mark.parametrize(("holder", "words"), [("b", "held by 'b'"), ("", "emptied")])
def test_a_lease_that_somebody_else_took_is_lost_at_the_next_renewal(
    store: Troubled, clock: Clock, holder: str, words: str
) -> None:
    one = lead(store, clock)
    document = store.get(LEASE, KEY)
    document["spec"]["holderIdentity"] = holder
    LocalStore.replace(store, LEASE, document)
    one.run(lambda: bool(one.lost))
    assert words in one.lost[0]
    assert not one.may_write()
    assert spec(store)["holderIdentity"] == holder


def test_a_deleted_lease_is_written_anew_by_its_holder_and_waited_for_by_others(store: Troubled, clock: Clock) -> None:
    one, other = lead(store, clock), One(store, clock, "b")
    other.turn()
    store.delete(LEASE, KEY)
    other.turn()
    for _ in range(3):
        one.turn()
    assert spec(store)["holderIdentity"] == "a"
    assert (one.lost, other.led) == ([], 0)


def test_a_process_that_was_frozen_writes_nothing(store: Troubled, clock: Clock) -> None:
    """SIGSTOP, a suspended machine: it wakes up after its lease."""
    one = lead(store, clock)
    held = store.get(LEASE, KEY)
    clock.now += 10.0
    assert not one.may_write()
    assert one.leadership.overdue()
    assert one.turn() is None
    assert "not renewed for 10.0 s" in one.lost[0]
    assert store.get(LEASE, KEY) == held


def test_a_process_frozen_in_the_middle_of_a_renewal_does_not_lead(store: Troubled, clock: Clock) -> None:
    one = lead(store, clock)
    store.slow_s = 10.0
    one.turn()
    assert not one.may_write()
    assert one.turn() is None
    assert one.lost


def test_a_lease_that_may_not_be_read_is_said_and_asked_for_slowly(store: Troubled, clock: Clock) -> None:
    one = One(store, clock, "a")
    store.down = Refused("leases.coordination.k8s.io is forbidden")
    assert one.turn() == 5.0
    assert one.leadership.problem() == "Lease rollout-system/rollout-controller: leases.coordination.k8s.io is forbidden"
    store.down = None
    one.run(lambda: one.led == 1)
    assert one.leadership.problem() is None


def test_timings_that_cannot_be_safe_are_none() -> None:
    for wrong in ({"deadline_s": 3.0}, {"request_s": 2.5}, {"renew_s": 3.0}, {"duration_s": 61}, {"duration_s": 3}):
        with pytest.raises(ValueError, match="must fit"):
            Timing(**wrong)
    for seconds in (2, 4, 15, 60):
        assert Timing.of(seconds).duration_s == seconds
    assert Timing.of(4) == Timing()


# --- the state machine by itself -----------------------------------------------------------------------------------


def test_the_state_machine_alone() -> None:
    me = Candidate("me")
    theirs: Raw = {"metadata": {"resourceVersion": "7"}, "spec": {"holderIdentity": "you", "leaseDurationSeconds": 4}}
    renewed: Raw = {**theirs, "metadata": {"resourceVersion": "8"}}
    waiting, step = me.look(theirs, 100.0)
    assert step == Wait(4.0, "you")
    waiting, step = waiting.look(renewed, 103.0)
    assert step == Wait(4.0, "you")
    assert waiting.look(renewed, 106.5)[1] == Wait(0.5, "you")
    assert waiting.look(renewed, 107.0)[1] == Acquire()
    assert me.look({"spec": {"holderIdentity": ""}}, 0.0)[1] == Acquire()
    leading = Candidate("me", renewed_at=100.0)
    assert leading.look({"spec": {"holderIdentity": "me"}}, 102.4)[1] == Renew()
    assert isinstance(leading.look({"spec": {"holderIdentity": "me"}}, 102.5)[1], Lost)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    opened = LocalStore(tmp_path_factory.mktemp("leases") / "store.db")
    yield opened
    opened.close()


@pytest.mark.long
@settings(max_examples=60, deadline=None)
@given(schedule=st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.0, 3.0)), min_size=10, max_size=40))
def test_no_two_may_write_at_the_same_time(shelf: LocalStore, schedule: list[tuple[str, float]]) -> None:
    """Whoever gets the processor, and however long the others are frozen meanwhile."""
    clock = Clock()
    if shelf.list(LEASE).items:
        shelf.delete(LEASE, KEY)
    ones = {name: One(shelf, clock, name) for name in "abc"}
    ended: set[str] = set()
    for name, pause in schedule:
        if name not in ended and ones[name].turn() is None:
            ended.add(name)
        for moment in (0.0, pause):
            clock.now += moment
            assert sum(one.fence._until > clock.now for one in ones.values()) <= 1, "a write may be under way in two"


# --- the fence -----------------------------------------------------------------------------------------------------


def test_a_follower_writes_nothing_and_reads_everything(store: Troubled, clock: Clock) -> None:
    fenced = FencedStore(store, store, Fence(1.0, clock))
    document = policy("vision")
    for write in (
        lambda: fenced.create(POLICY, document),
        lambda: fenced.replace(POLICY, document),
        lambda: fenced.patch(POLICY, Key("vision", "balanced"), []),
        lambda: fenced.replace_status(POLICY, Key("vision", "balanced"), {}, "1"),
        lambda: fenced.delete(POLICY, Key("vision", "balanced")),
    ):
        with pytest.raises(LeadershipLost):
            write()
    assert fenced.list(POLICY).items == ()


def test_a_write_must_end_before_the_lease_may(clock: Clock) -> None:
    fence = Fence(1.0, clock)
    fence.open_until(clock.now + 4.0)
    fence.check()
    clock.now += 2.999
    fence.check()
    clock.now += 0.001
    with pytest.raises(LeadershipLost, match=r"sure for 1\.0 s"):
        fence.check()


def test_a_shut_fence_stays_shut(clock: Clock) -> None:
    fence = Fence(1.0, clock)
    fence.open_until(clock.now + 4.0)
    fence.shut()
    fence.open_until(clock.now + 100.0)
    with pytest.raises(LeadershipLost):
        fence.check()


def test_a_write_under_way_is_waited_for(clock: Clock) -> None:
    fence = Fence(1.0, clock)
    fence.open_until(float("inf"))
    entered, leave = threading.Event(), threading.Event()

    def write() -> None:
        with fence.passing():
            entered.set()
            leave.wait(10)

    writer = threading.Thread(target=write)
    writer.start()
    assert entered.wait(10)
    fence.shut()
    assert not fence.drained(0.01)
    leave.set()
    assert fence.drained(10)
    writer.join(10)


# --- real time -----------------------------------------------------------------------------------------------------


def test_two_threads_hand_over(tmp_path: Path) -> None:
    """The loop thread itself, on the real clock and a real store."""
    store = LocalStore(tmp_path / "store.db")
    store.create(LEASE, {**claimed(None, KEY, Candidate("x"), 0.0), "spec": {}})
    led = {name: threading.Event() for name in "ab"}
    trouble: list[str] = []
    both = {
        name: Leadership(
            store,
            KEY,
            Candidate(name),
            Fence(1.0),
            on_lead=led[name].set,
            on_lost=trouble.append,
            on_death=lambda name, error: trouble.append(f"{name}: {error!r}"),
        )
        for name in "ab"
    }
    both["a"].start()
    assert led["a"].wait(10)
    both["b"].start()
    end = time.monotonic() + 20
    while spec(store)["renewTime"] == spec(store)["acquireTime"] and time.monotonic() < end:
        time.sleep(0.05)
    assert not led["b"].is_set()
    assert both["a"].stop(5.0)
    assert both["a"].release()
    assert led["b"].wait(10)
    assert both["b"].stop(5.0)
    assert both["b"].release()
    store.close()
    assert trouble == []


def test_the_steady_clock_goes_on() -> None:
    before = steady()
    assert steady() >= before
