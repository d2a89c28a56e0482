"""The work queue: once in the queue, once in a worker, nothing lost."""

import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_controller.controller.queue import Backoff, WorkQueue


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def longest(_low: float, high: float) -> float:
    return high


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> WorkQueue[str]:
    return WorkQueue(monotonic=clock, uniform=longest, backoff=Backoff(first_s=1, most_s=8))


def test_a_key_waits_once_and_keys_come_in_order_of_arrival(queue: WorkQueue[str]) -> None:
    for key in "abacb":
        assert queue.add(key)
    assert [queue.get(0) for _ in range(4)] == ["a", "b", "c", None]


def test_a_key_added_while_it_is_processed_runs_once_more_after_that(queue: WorkQueue[str]) -> None:
    queue.add("a")
    assert queue.get(0) == "a"
    queue.add("a")
    queue.add("a")
    assert queue.get(0) is None
    queue.done("a")
    assert queue.get(0) == "a"
    queue.done("a")
    assert queue.get(0) is None


def test_of_several_delays_the_earliest_counts(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add_after("a", 5)
    queue.add_after("a", 2)
    queue.add_after("a", 9)
    assert queue.get(0) is None
    clock.now += 2
    assert queue.get(0) == "a"
    queue.done("a")
    clock.now += 20
    assert queue.get(0) is None


def test_a_delay_that_ends_while_the_key_is_processed_waits_for_done(queue: WorkQueue[str], clock: Clock) -> None:
    queue.add("a")
    assert queue.get(0) == "a"
    queue.add_after("a", 1)
    clock.now += 1
    assert queue.get(0) is None
    queue.done("a")
    assert queue.get(0) == "a"


def test_no_delay_is_now(queue: WorkQueue[str]) -> None:
    queue.add_after("a", 0)
    queue.add_after("b", -3)
    assert [queue.get(0), queue.get(0)] == ["a", "b"]


def test_back_off_doubles_to_its_limit_and_starts_anew_after_forget(queue: WorkQueue[str]) -> None:
    assert [queue.add_rate_limited("a") for _ in range(5)] == [1, 2, 4, 8, 8]
    assert queue.add_rate_limited("b") == 1
    queue.forget("a")
    assert queue.add_rate_limited("a") == 1
    assert queue.figures().retries == 7


def test_back_off_has_jitter_between_a_half_and_the_whole() -> None:
    queue = WorkQueue[int](backoff=Backoff(first_s=1, most_s=1))
    delays = [queue.add_rate_limited(key) for key in range(200)]
    assert 0.5 <= min(delays) < 0.6
    assert 0.9 < max(delays) <= 1


def test_many_failures_do_not_overflow() -> None:
    queue = WorkQueue[str](backoff=Backoff(first_s=1, most_s=8))
    assert all(queue.add_rate_limited("a") <= 8 for _ in range(2000))


def test_a_full_queue_refuses_new_keys_and_counts_them(clock: Clock) -> None:
    queue = WorkQueue[int](limit=2, monotonic=clock)
    assert [queue.add(1), queue.add(2), queue.add(3), queue.add(1)] == [True, True, False, True]
    assert queue.figures().dropped == 1


def test_figures_and_waiting_times(clock: Clock) -> None:
    waits: list[float] = []
    queue = WorkQueue[str](monotonic=clock, on_wait=waits.append)
    queue.add("a")
    queue.add_after("b", 1)
    clock.now += 3
    assert (queue.figures().depth, queue.figures().delayed, queue.figures().oldest_s) == (1, 1, 3)
    assert [queue.get(0), queue.get(0)] == ["a", "b"]
    assert waits == [3, 2]
    assert (queue.figures().processing, queue.figures().adds) == (2, 2)


def test_close_wakes_those_who_wait() -> None:
    queue = WorkQueue[str]()
    got: list[str | None] = []
    waiters = [threading.Thread(target=lambda: got.append(queue.get())) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    queue.close()
    for waiter in waiters:
        waiter.join(30)
    assert got == [None] * 3
    assert not queue.add("a")


def test_a_waiting_worker_wakes_for_a_delay_that_ends() -> None:
    queue = WorkQueue[str]()
    threading.Timer(0.02, lambda: queue.add_after("a", 0.05)).start()
    got: list[str | None] = []
    waiter = threading.Thread(target=lambda: got.append(queue.get(3600)), daemon=True)
    waiter.start()
    waiter.join(30)
    assert got == ["a"], "it sleeps on"


@settings(max_examples=25, deadline=None)
@given(
    keys=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["now", "later", "failed"])), max_size=120),
    workers=st.integers(1, 4),
)
def test_never_in_two_workers_and_nothing_is_lost(keys: list[tuple[int, str]], workers: int) -> None:
    queue = WorkQueue[int](backoff=Backoff(first_s=0.001, most_s=0.002))
    lock = threading.Lock()
    inside: Counter[int] = Counter()
    last_start: dict[int, float] = {}
    twice: list[int] = []
    all_added = threading.Event()

    def work() -> None:
        while (key := queue.get(0.03)) is not None or not all_added.is_set():
            if key is None:
                continue  # the one who adds was held up; more will come
            with lock:
                inside[key] += 1
                last_start[key] = time.monotonic()
                if inside[key] > 1:
                    twice.append(key)
            time.sleep(0.0002)
            with lock:
                inside[key] -= 1
            queue.done(key)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    last_add: dict[int, float] = {}
    for key, how in keys:
        last_add[key] = time.monotonic()
        {"now": queue.add, "later": lambda k: queue.add_after(k, 0.001), "failed": queue.add_rate_limited}[how](key)
    all_added.set()
    for thread in threads:
        thread.join(10)
    assert twice == []
    assert all(last_start[key] >= last_add[key] for key in last_add), "a run begins after the last add of every key"
    figures = queue.figures()
    assert (figures.depth, figures.delayed, figures.processing) == (0, 0, 0)
