"""The work queue: a key waits in it once and is never in two workers; delays, and back-off by key."""

from __future__ import annotations

import heapq
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Figures:
    """The queue now. `oldest_s`: how long its first key has waited; the counts are since the start."""

    depth: int
    delayed: int
    processing: int
    oldest_s: float
    adds: int
    retries: int
    dropped: int


@dataclass(frozen=True)
class Backoff:
    """Seconds until the n-th retry: `first_s` doubled each time up to `most_s`, times a random 0.5 to 1."""

    first_s: float = 0.25
    most_s: float = 60.0


class WorkQueue(Generic[K]):
    """Keys in order of arrival. Every key taken by `get` must be given back by `done`.

    A key added while it is being processed runs once more after that. Taking a key takes its delay off: whoever processes it
    says anew when to look again. `on_wait` is told how many seconds each key waited. More than `limit` keys are not taken
    (`add` says False): the tick adds all of them again.
    """

    def __init__(
        self,
        *,
        limit: int = 100_000,
        backoff: Backoff | None = None,
        on_wait: Callable[[float], None] = lambda _seconds: None,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._limit = limit
        self._backoff = backoff or Backoff()
        self._on_wait = on_wait
        self._monotonic = monotonic
        self._uniform = uniform
        self._change = threading.Condition()
        self._ready: deque[K] = deque()
        self._since: dict[K, float] = {}
        """Since when a key waits: those in `_ready`, and those to run again after their processing."""
        self._processing: set[K] = set()
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = 0
        self._failures: dict[K, int] = {}
        self._adds = self._retries = self._dropped = 0
        self._closed = False

    def add(self, key: K) -> bool:
        """Queue a key now; False when it was not taken (closed or full)."""
        with self._change:
            return self._add(key, self._monotonic())

    def add_after(self, key: K, delay_s: float) -> bool:
        """Queue a key later; of several delays of a key the earliest counts."""
        if delay_s <= 0:
            return self.add(key)
        with self._change:
            due = self._monotonic() + delay_s
            if self._closed or (key not in self._due and len(self._due) >= self._limit):
                self._dropped += 1
                return False
            if due < self._due.get(key, float("inf")):
                self._due[key] = due
                self._order += 1
                heapq.heappush(self._heap, (due, self._order, key))
                self._change.notify()
            return True

    def add_rate_limited(self, key: K) -> float:
        """Queue a key after its back-off; gives the seconds."""
        with self._change:
            failures = self._failures.get(key, 0)
            self._failures[key] = failures + 1
            self._retries += 1
        longest = min(self._backoff.most_s, self._backoff.first_s * 2 ** min(failures, 32))
        delay_s: float = longest * self._uniform(0.5, 1.0)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: K) -> None:
        """The key went well (or away): its back-off starts anew."""
        with self._change:
            self._failures.pop(key, None)

    def get(self, timeout_s: float | None = None) -> K | None:
        """The next key, waiting at most `timeout_s`; None when there is none, or the queue is closed."""
        with self._change:
            deadline = None if timeout_s is None else self._monotonic() + timeout_s
            while not self._closed:
                now = self._monotonic()
                self._take_due(now)
                if self._ready:
                    return self._take(now)
                if deadline is not None and now >= deadline:
                    return None
                ends = [end for end in (deadline, self._heap[0][0] if self._heap else None) if end is not None]
                self._change.wait(max(0.0, min(ends) - now) if ends else None)
        return None

    def done(self, key: K) -> None:
        """The key's processing is over; if it was added meanwhile, it is queued now."""
        with self._change:
            self._processing.discard(key)
            if key in self._since:
                self._ready.append(key)
                self._change.notify()

    def close(self) -> None:
        """Wake all waiters with None and take no more keys."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def figures(self) -> Figures:
        """The queue now, for metrics."""
        with self._change:
            now = self._monotonic()
            return Figures(
                depth=len(self._ready),
                delayed=len(self._due),
                processing=len(self._processing),
                oldest_s=max(0.0, now - self._since[self._ready[0]]) if self._ready else 0.0,
                adds=self._adds,
                retries=self._retries,
                dropped=self._dropped,
            )

    def _add(self, key: K, since: float) -> bool:
        if key in self._since:
            return True
        if self._closed or len(self._since) >= self._limit:
            self._dropped += 1
            return False
        self._adds += 1
        self._since[key] = since
        if key not in self._processing:
            self._ready.append(key)
            self._change.notify()
        return True

    def _take_due(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == due:  # else an earlier delay took its place
                del self._due[key]
                self._add(key, due)

    def _take(self, now: float) -> K:
        key = self._ready.popleft()
        self._on_wait(max(0.0, now - self._since.pop(key)))
        self._due.pop(key, None)
        self._processing.add(key)
        return key
