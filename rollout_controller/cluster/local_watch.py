"""Watching one SQLite file: what this process writes is seen at once, what others write within the time of a poll."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from time import monotonic
from typing import cast

from rollout_controller.api.names import Raw
from rollout_controller.cluster.sqlite import Database
from rollout_controller.cluster.store import Expired, Kind, Refused, WatchEvent

POLL_S = 0.035
"""How often the file is looked at for other processes' writes, by all watches of a store together."""
BETWEEN_READS_S = 0.02
"""A watch reads no sooner again than this: 1,000 changes in a few seconds are not 1,000 reads."""
BOOKMARK_S = 5.0
"""A quiet watch says this often that it is alive, and up to which change."""
_AT_ONCE = 100
"""Events read in one transaction."""


class Bell:
    """Wakes the watches of one store when the newest resourceVersion grows.

    One of the waiting threads looks at the file for all of them: ten watches cost no more than one. What this process wrote
    wakes the watches of its kind only.
    """

    def __init__(self, look: Callable[[], int]) -> None:
        """`look` reads the newest resourceVersion from the file."""
        self._look = look
        self._rung = threading.Condition()
        self._newest = 0
        self._others = 0
        """The newest version that may be of another process, of whatever kind."""
        self._ours: dict[Kind, int] = {}
        """The newest version of each kind that this process wrote."""
        self._somebody_looks = False

    def ring(self, version: int, kind: Kind | None = None) -> None:
        """This process wrote `version`; 0 only wakes everyone."""
        with self._rung:
            if kind is not None:
                self._ours[kind] = max(self._ours.get(kind, 0), version)
            if version > self._newest + 1:  # others wrote those in between
                self._others = version
            self._newest = max(self._newest, version)
            self._rung.notify_all()

    def wait(self, kind: Kind, beyond: int, until: float, closed: threading.Event) -> None:
        """Returns when a document of `kind` may be newer than `beyond`, at the monotonic time `until`, or when closed."""
        with self._rung:
            try:
                while (
                    max(self._others, self._ours.get(kind, 0)) <= beyond
                    and not closed.is_set()
                    and (left := until - monotonic()) > 0
                ):
                    if self._somebody_looks:
                        self._rung.wait(left)
                        continue
                    self._somebody_looks = True
                    try:
                        self._rung.wait(min(POLL_S, left))
                        self._see()
                    finally:
                        self._somebody_looks = False
            finally:
                self._rung.notify_all()  # somebody else looks from now on, also where this one could not

    def _see(self) -> None:
        newest = self._look()
        if newest > self._newest:
            self._newest = self._others = newest
            self._rung.notify_all()


class LocalWatch(Iterator[WatchEvent]):
    """The changes of one kind after a resourceVersion; see `LocalStore.watch`."""

    def __init__(
        self,
        database: Database,
        bell: Bell,
        kind: Kind,
        namespace: str | None,
        since: str,
        *,
        timeout_s: float,
        decode: Callable[[str], Raw],
    ) -> None:
        self._database = database
        self._bell = bell
        self._decode = decode
        self._kind = kind
        self._namespace = namespace
        self._since = since
        self._position: int | None = None
        self._events: deque[WatchEvent] = deque()
        self._ends_at = monotonic() + timeout_s
        self._bookmark_at = monotonic() + BOOKMARK_S
        self._closed = threading.Event()
        self._read_at = float("-inf")

    def close(self) -> None:
        """Ends the watch at once; may be called from any thread."""
        self._closed.set()
        self._bell.ring(0)

    def __next__(self) -> WatchEvent:
        while not self._closed.is_set():
            if self._events:
                return self._events.popleft()
            self._closed.wait(max(0.0, self._read_at + BETWEEN_READS_S - monotonic()))
            self._read_at = monotonic()
            self._position = self._read(self._start() if self._position is None else self._position)
            if self._events:
                continue
            now = monotonic()
            if now >= self._ends_at:
                self._closed.set()
                return self._bookmark()
            if now >= self._bookmark_at:  # the read just before brought the position up to now, whatever was written
                self._bookmark_at = now + BOOKMARK_S
                return self._bookmark()
            self._bell.wait(self._kind, self._position, min(self._ends_at, self._bookmark_at), self._closed)
        raise StopIteration

    def _start(self) -> int:
        if not (self._since.isascii() and self._since.isdigit()):
            raise Refused(f"{self._since!r} is no resourceVersion")
        return int(self._since)

    def _read(self, position: int) -> int:
        """Takes the next events in; the resourceVersion up to which nothing was missed."""
        with self._database.read() as connection:
            newest, floor = connection.execute("SELECT version, floor FROM head").fetchone()
            if not floor <= position <= newest:
                raise Expired(f"changes after {position} are no longer known (kept: {floor} to {newest}): list again")
            rows = connection.execute(
                "SELECT type, body, version FROM changes WHERE version > ?1 AND kind = ?2"
                " AND (?3 IS NULL OR namespace = ?3) ORDER BY version LIMIT ?4",
                (position, self._kind.name, self._namespace, _AT_ONCE),
            ).fetchall()
        self._events.extend(WatchEvent(event, self._decode(body), str(version)) for event, body, version in rows)
        reached: int = rows[-1][2] if len(rows) == _AT_ONCE else newest
        return reached

    def _bookmark(self) -> WatchEvent:
        version = str(cast("int", self._position))
        document = {"apiVersion": self._kind.api_version, "kind": self._kind.name, "metadata": {"resourceVersion": version}}
        return WatchEvent("BOOKMARK", document, version)
