"""Tells people: a log line at once, and an event in the store written by a thread of its own, never in the way of traffic."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from rollout_controller.api.meta import GROUP, Raw
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cluster.store import EVENT, AlreadyExists, ObjectStore, StoreError
from rollout_controller.controller.retry import Retry
from rollout_controller.core.plan import Tell

BACKLOG = 10_000
NOTE_LIMIT = 1024
"""Kubernetes refuses longer notes."""


class EventTeller:
    """Writes events.k8s.io/v1 documents. Their names come from what they say, so telling twice makes one event."""

    def __init__(
        self,
        store: ObjectStore,
        *,
        instance: str,
        clock: Callable[[], float],
        on_death: Callable[[str, BaseException], None],
        on_outcome: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        self._store, self._instance, self._clock = store, instance, clock
        self._on_death, self._on_outcome = on_death, on_outcome
        self._waiting: queue.Queue[Raw | None] = queue.Queue(BACKLOG)
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._retry = Retry()
        self._log = structlog.get_logger("rollouts")

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Write what waits, for at most `timeout_s`."""
        self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def tell(self, rollout: TritonRollout, message: Tell) -> None:
        """Log now, write the event soon. A full backlog drops the event (and says so in the figures), never the log line."""
        say = self._log.warning if message.warning else self._log.info
        say(message.sentence, rollout=str(rollout.metadata.key), code=message.code)
        try:
            self._waiting.put_nowait(self._event(rollout, message))
        except queue.Full:
            self._on_outcome("dropped")

    def _event(self, rollout: TritonRollout, message: Tell) -> Raw:
        meta = rollout.metadata
        digest = hashlib.sha256(f"{meta.uid}/{message.dedup}".encode()).hexdigest()[:16]
        return {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"name": f"{meta.name[:200]}.{digest}", "namespace": meta.namespace},
            "eventTime": datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "type": "Warning" if message.warning else "Normal",
            "reason": message.code,
            "note": message.sentence[:NOTE_LIMIT],
            "action": "Rollout",
            "reportingController": f"{GROUP}/controller",
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": rollout.api_version,
                "kind": rollout.kind,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
        }

    def _run(self) -> None:
        try:
            while (event := self._waiting.get()) is not None:
                self._on_outcome(self.write(event))
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self._on_death("events", error)

    def write(self, event: Raw) -> str:
        """Write one event; gives what became of it: written, known or failed."""
        try:
            self._retry("event", lambda: self._store.create(EVENT, event))
        except AlreadyExists:
            return "known"
        except StoreError as error:
            self._log.warning("an event could not be written", error=str(error), event_name=event["metadata"]["name"])
            return "failed"
        return "written"
