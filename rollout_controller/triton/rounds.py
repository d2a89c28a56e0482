"""Whose turn it is to be asked: many addresses at their own pace, a bounded rate, and the silent ones kept apart."""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

TICK_S = 0.05
"""What is due within this time is handed out together: a thread that is woken asks several, as long as they answer at once."""


@dataclass(frozen=True)
class Pace:
    """Seconds between two questions to the same address, and how many threads ask.

    `per_second` bounds the questions of all together (one costs about 0.15 ms of CPU): with more addresses than that, the
    rounds take longer and nothing else suffers. 1,000 canaries and their stable slots are asked every 15 and 29 s.
    """

    active_s: float = 1.0
    rest_s: float = 15.0
    silent_s: float = 3.0
    """An address that is needed now and did not answer is asked again after this long."""
    threads: int = 8
    silent_threads: int = 4
    per_second: float = 100.0


@dataclass
class _Address:
    active: bool
    due: float
    silent: bool = False
    asking: bool = False


class Rounds:
    """Calls `ask(address)` for every address when it is due; never twice at once for one address.

    `ask` says whether it was answered. Addresses that were silent last time are asked by `silent_threads` of their own.
    """

    def __init__(
        self, ask: Callable[[str], bool], pace: Pace, on_death: Callable[[str, BaseException], None] = lambda _n, _e: None
    ) -> None:
        self._ask = ask
        self._pace = pace
        self._on_death = on_death
        self._lock = threading.Lock()
        self._plan = threading.Condition(self._lock)
        """Wakes the planner, when an address is due earlier than it knows."""
        self._planned = float("-inf")
        self._wake = {silent: threading.Condition(self._lock) for silent in (False, True)}
        """Wakes one of those who ask."""
        self._addresses: dict[str, _Address] = {}
        self._heaps: dict[bool, list[tuple[float, str]]] = {False: [], True: []}
        self._ready: dict[bool, deque[str]] = {False: deque(), True: deque()}
        self._next_free = 0.0
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        self._begin("triton-rounds", self._plan_all)
        for silent, count in ((False, self._pace.threads), (True, self._pace.silent_threads)):
            for number in range(count):
                self._begin(f"triton-{'silent' if silent else 'poll'}-{number}", partial(self._ask_all, silent))

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # a thread that dies must not die unseen
                self._on_death(name, error)
                raise

        self._threads.append(threading.Thread(target=run, name=name, daemon=True))
        self._threads[-1].start()

    def stop(self, timeout_s: float) -> None:
        """End the threads; a question that is out is waited for, at most this long."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._stopping = True
            for wake in (*self._wake.values(), self._plan):
                wake.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def set(self, address: str, *, active: bool) -> None:
        """Ask this address from now on, at once when it is new or has become active."""
        with self._lock:
            have = self._addresses.get(address)
            if have is None:
                have = self._addresses[address] = _Address(active, time.monotonic())
            elif have.active == active:
                return
            else:
                have.active = active
                if active:
                    have.due = min(have.due, time.monotonic())
            self._push(address, have)

    def drop(self, address: str) -> None:
        """Ask this address no more."""
        with self._lock:
            self._addresses.pop(address, None)

    def _push(self, name: str, address: _Address) -> None:
        if not address.asking:
            heapq.heappush(self._heaps[address.silent], (address.due, name))
            if address.due < self._planned:
                self._plan.notify()

    def _plan_all(self) -> None:
        """Hand out what is due, a few at a time: one thread is woken for them, and another when they are not asked soon."""
        with self._lock:
            while not self._stopping:
                now = time.monotonic()
                for silent, heap in self._heaps.items():
                    while heap and heap[0][0] <= now and self._next_free <= now + TICK_S:
                        self._hand_out(silent, *heapq.heappop(heap), now)
                    if self._ready[silent]:
                        self._wake[silent].notify()
                left = [heap[0][0] for heap in self._heaps.values() if heap]
                soon = now + TICK_S if any(self._ready.values()) else float("inf")
                self._planned = min(soon, max(min(left), now + TICK_S)) if left else soon
                self._plan.wait(None if self._planned == float("inf") else self._planned - now)

    def _hand_out(self, silent: bool, due: float, name: str, now: float) -> None:
        address = self._addresses.get(name)
        if address is None or address.asking or address.due != due or address.silent != silent:
            return  # an entry of before
        address.asking = True
        self._next_free = max(self._next_free, now) + 1 / self._pace.per_second
        self._ready[silent].append(name)

    def _ask_all(self, silent: bool) -> None:
        ready, wake = self._ready[silent], self._wake[silent]
        while True:
            with self._lock:
                while not ready and not self._stopping:
                    wake.wait()
                if self._stopping:
                    return
                name = ready.popleft()
            self._answered(name, self._ask(name))

    def _answered(self, name: str, answered: bool) -> None:
        with self._lock:
            address = self._addresses.get(name)
            if address is None:
                return
            address.asking = False
            address.silent = not answered
            pace = self._pace.rest_s if not address.active else self._pace.active_s if answered else self._pace.silent_s
            address.due = time.monotonic() + pace
            self._push(name, address)
