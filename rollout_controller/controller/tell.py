"""Tells people: a log line at once, and an event in the store written by a thread of its own, never in the way of traffic."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from rollout_controller.api.meta import GROUP, Key, Raw
from rollout_controller.cluster.store import EVENT, AlreadyExists, NotFound, ObjectStore, StoreError
from rollout_controller.controller.errors import classify
from rollout_controller.controller.reference import Reference
from rollout_controller.controller.retry import Retry
from rollout_controller.core.plan import Tell

LABEL_ATTEMPT = f"{GROUP}/attempt"
"""On events: which attempt they are about."""
BACKLOG = 10_000
NOTE_BYTES = 1024
"""Kubernetes refuses longer notes."""
SERIES_S = 10.0
"""The count of a series is written at most this often; what happened in between is in the next one."""
MOST_SERIES = 1_000
"""Series in memory; of an older one the count is read from the event."""
LATER_S = 2.0
"""What could not be written because the store does not answer is tried again after this long."""
GIVE_UP_S = 600.0
"""After which it is dropped."""
QUICK = Retry(attempts=2, within_s=5.0)


@dataclass
class _Letter:
    """One event on its way. `born`: on the monotonic clock."""

    event: Raw
    again: bool
    born: float

    @property
    def key(self) -> Key:
        return Key(self.event["metadata"]["namespace"], self.event["metadata"]["name"])


@dataclass
class _Series:
    """What is known of an event that counts on. `count` is the number of times it happened, `written` what the store says."""

    letter: _Letter
    count: int
    written: int
    written_at: float


class EventTeller:
    """Writes events.k8s.io/v1 documents. Their names come from what they are about, so telling twice makes one event.

    What may happen again counts on in the event that told it first: `series`, with the same sentence.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        instance: str,
        clock: Callable[[], float],
        on_death: Callable[[str, BaseException], None],
        on_outcome: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """`clock` gives seconds since 1970. `on_outcome` hears written, known, counted, late, failed or dropped."""
        self._store, self._instance, self._clock = store, instance, clock
        self._on_death, self._on_outcome = on_death, on_outcome
        self._waiting: queue.Queue[_Letter | None] = queue.Queue(BACKLOG)
        self._late: list[_Letter] = []
        self._late_at = 0.0
        self._series: dict[Key, _Series] = {}
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._log = structlog.get_logger("rollouts")

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what waits, for at most `timeout_s`."""
        try:
            self._waiting.put(None, timeout=timeout_s)
        except queue.Full:
            return
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def tell(self, about: Reference, message: Tell) -> None:
        """Log now, write the event soon. A full backlog drops the event (and says so in the figures), never the log line."""
        event = self._event(about, message)
        if not message.quiet:
            say = self._log.warning if message.warning else self._log.info
            facts = {"attempt": message.attempt} if message.attempt else {}
            say(message.sentence, rollout=str(about.key), code=message.code, event_name=event["metadata"]["name"], **facts)
        try:
            self._waiting.put_nowait(_Letter(event, message.again, time.monotonic()))
        except queue.Full:
            self._on_outcome("dropped")

    def _event(self, about: Reference, message: Tell) -> Raw:
        digest = hashlib.sha256(f"{about.uid}/{message.dedup}".encode()).hexdigest()[:16]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {
                "name": f"{about.key.name[:200].rstrip('-.')}.{digest}",
                "namespace": about.key.namespace,
                **({"labels": {LABEL_ATTEMPT: message.attempt}} if message.attempt else {}),
            },
            "eventTime": _micro_time(self._clock()),
            "type": "Warning" if message.warning else "Normal",
            "reason": message.code,
            "note": message.sentence.encode()[:NOTE_BYTES].decode(errors="ignore"),
            "action": "Rollout",
            "reportingController": f"{GROUP}/controller",
            "reportingInstance": self._instance[:128],
            "regarding": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "name": about.key.name,
                "namespace": about.key.namespace,
                "uid": about.uid,
            },
        }

    # --- the writer's thread -----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self._on_death("events", error)

    def _turn(self) -> bool:
        """Write what comes next, or what is due again; False when it is time to end, and all that can be is written."""
        try:
            letter = self._waiting.get(timeout=1.0)
        except queue.Empty:
            letter = None
        else:
            if letter is None:
                self._due(now=float("inf"))
                return False
            self.write(letter)
        self._due(now=time.monotonic())
        return True

    def _due(self, now: float) -> None:
        """Try again what is late, and write the counts that have waited long enough."""
        if self._late and now >= self._late_at:
            late, self._late = self._late, []
            while late and not self._late:  # the first that fails again speaks for the rest
                self._on_outcome(self._try(late.pop(0)))
            self._late += late
        for key, series in list(self._series.items()):
            if series.count > series.written and now - series.written_at >= SERIES_S:
                self._count(key, series)

    def write(self, letter: _Letter) -> None:
        """Write one event, or count on in the one that is there."""
        series = self._series.get(letter.key)
        if letter.again and series is not None:
            series.letter, series.count = letter, series.count + 1
            self._on_outcome("counted")
        elif len(self._late) >= BACKLOG:
            self._on_outcome("dropped")
        elif self._late:
            self._late.append(letter)  # the store does not answer: what came first is tried first
        else:
            self._on_outcome(self._try(letter))

    def _try(self, letter: _Letter) -> str:
        try:
            return self._put(letter)
        except StoreError as error:
            return self._postpone(letter, error)

    def _put(self, letter: _Letter) -> str:
        """Raises StoreError."""
        try:
            QUICK("event", lambda: self._store.create(EVENT, letter.event))
        except AlreadyExists:
            if not letter.again:
                return "known"
            unchanged = [{"op": "test", "path": "/reason", "value": letter.event["reason"]}]  # reads: there is no right to get
            there = QUICK("event", lambda: self._store.patch(EVENT, letter.key, unchanged))
            count = int((there.get("series") or {}).get("count", 1))
            self._remember(letter.key, _Series(letter, count + 1, count, float("-inf")))
            return "counted"
        if letter.again:
            self._remember(letter.key, _Series(letter, 1, 1, time.monotonic()))
        return "written"

    def _remember(self, key: Key, series: _Series) -> None:
        self._series[key] = series
        if len(self._series) > MOST_SERIES:
            for old, known in list(self._series.items()):
                if known.count == known.written:
                    del self._series[old]
                    return

    def _count(self, key: Key, series: _Series) -> None:
        """Write a series' count. Where its event is gone (they are kept for an hour) it is made anew."""
        value = {"count": series.count, "lastObservedTime": series.letter.event["eventTime"]}
        series.written_at = time.monotonic()
        try:
            try:
                QUICK("event", lambda: self._store.patch(EVENT, key, [{"op": "add", "path": "/series", "value": value}]))
            except NotFound:
                QUICK("event", lambda: self._store.create(EVENT, {**series.letter.event, "series": value}))
        except StoreError as error:
            if classify(error) != "transient":
                series.written = series.count
            self._log.warning("a series of events could not be written", error=str(error), event_name=key.name)
            return
        series.written = series.count

    def _postpone(self, letter: _Letter, error: StoreError) -> str:
        """Keep what failed for a reason that passes, within bounds."""
        young = time.monotonic() - letter.born < GIVE_UP_S
        if classify(error) == "transient" and young:
            self._late.append(letter)
            self._late_at = time.monotonic() + LATER_S
            return "late"
        self._log.warning("an event could not be written", error=str(error), event_name=letter.key.name)
        return "failed"


def _micro_time(at: float) -> str:
    """Seconds since 1970 -> Kubernetes' MicroTime."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
