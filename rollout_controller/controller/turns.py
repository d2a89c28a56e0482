"""What wakes a rollout, and the workers that turn the wheel for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import lru_cache

import structlog

from rollout_controller.api.meta import Key
from rollout_controller.cluster.caches import DocumentCaches
from rollout_controller.cluster.store import ROLLOUT, Kind
from rollout_controller.controller.errors import classify
from rollout_controller.controller.health import Heartbeats
from rollout_controller.controller.metrics import Metrics
from rollout_controller.controller.queue import WorkQueue
from rollout_controller.controller.reconcile import Reconciler
from rollout_controller.controller.witness import LiveWitness
from rollout_controller.core.states import RESTING
from rollout_controller.slo.reader import SliReader

SILENT_S = 30.0
"""A loop that does not come around for this long makes /healthz fail."""
RESYNC_S = 60
"""Every rollout is looked at within this time even if nothing says it changed; spread by its name."""


class Turns:
    """The queue and its workers. Until `start` nothing wakes a rollout: a follower only keeps its documents fresh."""

    def __init__(
        self,
        documents: DocumentCaches,
        reconciler: Reconciler,
        witness: LiveWitness,
        reader: SliReader,
        *,
        metrics: Metrics,
        beats: Heartbeats,
        workers: int,
        on_death: Callable[[str, BaseException], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._documents, self._reconciler, self._witness, self._reader = documents, reconciler, witness, reader
        self._metrics, self._beats, self._on_death, self._on_lost = metrics, beats, on_death, on_lost
        self._log = structlog.get_logger("controller")
        self._queue: WorkQueue[Key] = WorkQueue(on_wait=metrics.queue_wait.observe)
        metrics.watch_queue(self._queue.figures)
        self._awake = False
        self._ended = threading.Event()
        self._workers = [threading.Thread(target=self._work, name=f"worker-{n}", daemon=True) for n in range(workers)]
        self._tick = 0
        self._last_read: dict[str, tuple[int, int]] = {}

    def start(self) -> None:
        """Look at every rollout, those in an attempt first, and from now on at each that is woken."""
        self._awake = True
        self._ticked = self._beats.expect("tick", SILENT_S)
        self._was_read = self._beats.expect("read", SILENT_S)
        for key in sorted(self._documents.keys(ROLLOUT), key=self._rests):
            self._queue.add(key)
        for worker in self._workers:
            worker.start()

    def stop(self, timeout_s: float) -> bool:
        """End after the turns at hand; False when one of them is still under way after `timeout_s`."""
        self._ended.set()
        self._queue.close()
        ends = time.monotonic() + timeout_s
        for worker in self._workers:
            if worker.is_alive():
                worker.join(max(0.0, ends - time.monotonic()))
        return not any(worker.is_alive() for worker in self._workers)

    def wake(self, key: Key) -> None:
        """Something that this rollout sees is new."""
        if self._awake:
            self._queue.add(key)

    def changed(self, kind: Kind, key: Key) -> None:
        """A document changed: wake the rollouts that hang on it."""
        if kind is ROLLOUT:
            self.wake(key)
            return
        for user in self._witness.users_of(kind.name, key):
            self.wake(user)

    def tick(self) -> None:
        """Once a second: a slice of the resting rollouts is looked at, so that within a minute all were; others are anyway."""
        self._ticked()
        self._tick = (self._tick + 1) % RESYNC_S
        active = set(self._witness.active())
        for key in self._documents.keys(ROLLOUT):
            if hash_slice(key) == self._tick and key not in active:
                self._queue.add(key)

    def read(self) -> None:
        """Read what is due; where there is something new, rollouts in an attempt have a turn if anything may follow from it."""
        self._was_read()
        self._reader.read(time.time())
        read = {name: (stats.windows, stats.queries) for name, stats in self._reader.stats().items()}
        if read != self._last_read:
            self._last_read = read
            for key in self._witness.stirred():
                self._queue.add(key)

    def _rests(self, key: Key) -> bool:
        """Whether its status, as far as it was read, says that no attempt is under way."""
        status = (self._documents.get(ROLLOUT, key) or {}).get("status")
        return not isinstance(status, dict) or status.get("phase", "Idle") in RESTING

    def _work(self) -> None:
        name = threading.current_thread().name
        beat = self._beats.expect(name, SILENT_S)
        try:
            while not self._ended.is_set():
                key = self._queue.get(timeout_s=1.0)
                beat()
                if key is not None:
                    self._one(key)
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self._on_death(name, error)

    def _one(self, key: Key) -> None:
        """One turn of one rollout; whatever goes wrong with it is its own trouble, not the others'."""
        try:
            with self._metrics.turn():
                again = self._reconciler.reconcile(key)
            self._queue.forget(key)
            if again is not None:
                self._queue.add_after(key, min(again - time.time(), RESYNC_S))  # the clock may have been set back in this turn
        except Exception as error:  # noqa: BLE001 - classified, logged, tried again with back-off
            trouble = classify(error)
            if trouble == "lost":
                self._on_lost(str(error))
                return
            delay = self._queue.add_rate_limited(key)
            say = self._log.exception if trouble == "bug" else self._log.warning
            say("a turn failed", rollout=str(key), trouble=trouble, error=str(error), again_in_s=round(delay, 2))
        finally:
            self._queue.done(key)


@lru_cache(maxsize=20_000)
def hash_slice(key: Key) -> int:
    """In which second of a minute a rollout is looked at; the same in every process."""
    return sum(str(key).encode()) % RESYNC_S
