"""Whose turn it is to be asked: many addresses at their own pace, a bounded rate, and the silent ones kept apart."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Seconds between two questions to the same address, and how many threads ask.

    `per_second` bounds the questions of all together (one costs about 0.3 ms of CPU): with more addresses than that, the
    rounds take longer and nothing else suffers.
    """

    active_s: float = 1.0
    rest_s: float = 15.0
    silent_s: float = 3.0
    """An address that is needed now and did not answer is asked again after this long."""
    threads: int = 8
    silent_threads: int = 4
    per_second: float = 50.0


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
        self._wake = {silent: threading.Condition(self._lock) for silent in (False, True)}
        self._addresses: dict[str, _Address] = {}
        self._heaps: dict[bool, list[tuple[float, str]]] = {False: [], True: []}
        self._next_free = 0.0
        self._watched = {False: False, True: False}
        """Whether one of the threads waits for the next address to be due; the others sleep until it goes to ask."""
        self._earlier = {silent: threading.Condition(self._lock) for silent in (False, True)}
        """Wakes the one that waits."""
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads."""
        for silent, count in ((False, self._pace.threads), (True, self._pace.silent_threads)):
            for number in range(count):
                name = f"triton-{'silent' if silent else 'poll'}-{number}"
                thread = threading.Thread(target=self._run, args=(silent, name), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def stop(self, timeout_s: float) -> None:
        """End the threads; a question that is out is waited for, at most this long."""
        deadline = time.monotonic() + timeout_s
        with self._lock:
            self._stopping = True
            for wake in (*self._wake.values(), *self._earlier.values()):
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
            (self._earlier if self._watched[address.silent] else self._wake)[address.silent].notify()

    def _run(self, silent: bool, name: str) -> None:
        try:
            while (address := self._next(silent)) is not None:
                answered = self._ask(address)
                self._answered(address, answered)
        except BaseException as error:  # a thread that dies must not die unseen
            self._on_death(name, error)
            raise

    def _next(self, silent: bool) -> str | None:
        """Wait for an address that is due; None when it is time to stop."""
        heap, wake = self._heaps[silent], self._wake[silent]
        with self._lock:
            while not self._stopping:
                if not heap or self._watched[silent]:
                    wake.wait()
                    continue
                now = time.monotonic()
                due, name = heap[0]
                address = self._addresses.get(name)
                if address is None or address.asking or address.due != due or address.silent != silent:
                    heapq.heappop(heap)  # an entry of before
                elif (wait := max(due, self._next_free) - now) > 0:
                    self._watched[silent] = True
                    self._earlier[silent].wait(wait)
                    self._watched[silent] = False
                else:
                    heapq.heappop(heap)
                    address.asking = True
                    self._next_free = max(self._next_free, now) + 1 / self._pace.per_second
                    wake.notify()  # another thread waits for what is due next
                    return name
        return None

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
