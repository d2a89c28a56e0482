"""No write after the lease may be another's: a gate in front of everything that changes something outside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.store import Kind, Listing, ObjectStore, PatchOp, StoreError, WatchEvent
from rollout_controller.cluster.transport import Answer, Transport

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine is suspended (where the system has one)."""
    return time.clock_gettime(_CLOCK)


class LeadershipLost(StoreError):
    """This process does not lead: nothing may be written, and if it led before, it must end."""


class Fence:
    """Shut at first; leadership opens it up to a moment of the steady clock and moves that moment on as it renews.

    A write may begin only while the whole time that it can take, `request_s`, lies before that moment. What a frozen process
    had checked and not yet sent is left to the write's own precondition (resourceVersion, `test`).
    """

    def __init__(self, request_s: float, clock: Callable[[], float] = steady) -> None:
        self._request_s, self._clock = request_s, clock
        self._until = float("-inf")
        self._shut = False
        self._writing = 0
        self._change = threading.Condition()

    def open_until(self, moment: float) -> None:
        """Let writes pass that end before `moment`. Without effect once the fence was shut."""
        with self._change:
            self._until = max(self._until, moment)

    def shut(self) -> None:
        """For good."""
        with self._change:
            self._shut = True

    def check(self) -> None:
        """Raises LeadershipLost unless a write may begin now."""
        if self._shut:
            raise LeadershipLost("nothing is written any more: this process has given leadership away")
        left = self._until - self._clock()
        if left <= self._request_s:
            known = f"its lease is sure for {max(0.0, left):.1f} s" if self._until > float("-inf") else "it never led"
            raise LeadershipLost(f"nothing may be written: {known}, and a write can take {self._request_s:g} s")

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Around one write; raises LeadershipLost instead of letting it begin."""
        with self._change:
            self.check()
            self._writing += 1
        try:
            yield
        finally:
            with self._change:
                self._writing -= 1
                self._change.notify_all()

    def drained(self, timeout_s: float) -> bool:
        """Wait until no write is under way; False when one still is after `timeout_s`."""
        with self._change:
            return self._change.wait_for(lambda: self._writing == 0, timeout_s)


class FencedTransport:
    """A Transport whose calls, but for GET, must pass the fence: a store may need several of them for one write."""

    def __init__(self, wire: Transport, fence: Fence) -> None:
        self._wire, self._fence = wire, fence

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = {},
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout_s: float,
    ) -> Answer:
        """See Transport. Raises LeadershipLost."""
        if method != "GET":
            self._fence.check()
        return self._wire.call(method, path, query=query, body=body, content_type=content_type, timeout_s=timeout_s)

    def stream(self, path: str, *, query: Mapping[str, str], connect_s: float, silence_s: float) -> Iterator[bytes]:
        """See Transport."""
        return self._wire.stream(path, query=query, connect_s=connect_s, silence_s=silence_s)


class FencedStore:
    """An ObjectStore whose writes must pass the fence. Reads go to `reads`, which may take longer than a write."""

    def __init__(self, reads: ObjectStore, writes: ObjectStore, fence: Fence) -> None:
        """No write of `writes` may take longer than the fence's `request_s`; see FencedTransport."""
        self._reads, self._writes, self._fence = reads, writes, fence

    def get(self, kind: Kind, key: Key) -> Raw:
        return self._reads.get(kind, key)

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        return self._reads.list(kind, namespace)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Iterator[WatchEvent]:
        return self._reads.watch(kind, namespace, since, timeout_s)

    def create(self, kind: Kind, document: Raw) -> Raw:
        with self._fence.passing():
            return self._writes.create(kind, document)

    def replace(self, kind: Kind, document: Raw) -> Raw:
        with self._fence.passing():
            return self._writes.replace(kind, document)

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        with self._fence.passing():
            return self._writes.patch(kind, key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        with self._fence.passing():
            return self._writes.replace_status(kind, key, status, resource_version)

    def delete(self, kind: Kind, key: Key) -> None:
        with self._fence.passing():
            self._writes.delete(kind, key)
