"""The controller as a process: puts the parts together, runs the loops, ends cleanly - or at once when a loop dies."""

from __future__ import annotations

import gc
import os
import signal
import socket
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import structlog

from rollout_controller.api.meta import Key
from rollout_controller.cluster.cache import DocumentCache
from rollout_controller.cluster.codec import quick
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.rds import RdsProjection
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE, Kind, ObjectStore
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.config import DATABASE_NAME, LocalConfig, load_local
from rollout_controller.controller.errors import classify
from rollout_controller.controller.health import HealthServer, Heartbeats
from rollout_controller.controller.metered import MeteredStore
from rollout_controller.controller.metrics import Metrics
from rollout_controller.controller.observe import Observer
from rollout_controller.controller.queue import WorkQueue
from rollout_controller.controller.reconcile import Reconciler
from rollout_controller.controller.schedule import Schedule
from rollout_controller.controller.senses import LiveSenses
from rollout_controller.controller.tell import EventTeller
from rollout_controller.controller.witness import LiveWitness
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.triton.prober import Prober

WORKERS = 1
"""A local store takes one write at a time, and turns are Python: a second worker only contends for both (docs/benchmarks.md)."""
SILENT_S = 30.0
"""A loop that does not come around for this long makes /healthz fail."""
GARBAGE = (50_000, 20, 20)
"""Thresholds of Python's garbage collector: with 1,000 attempts in memory its defaults cost 10 % of a turn. Cycles are rare."""
RESYNC_S = 60
"""Every rollout is looked at within this time even if nothing says it changed; spread by its name."""


@dataclass(frozen=True)
class Settings:
    """How the process runs."""

    config: LocalConfig
    metrics_port: int


class Controller:
    """All parts of one controller. `run` returns the exit code: 0 after a signal, 1 when a loop died."""

    def __init__(self, store: ObjectStore, settings: Settings) -> None:
        self._log = structlog.get_logger("controller")
        self._end = threading.Event()
        self._died: str | None = None
        self._config = settings.config
        self.metrics = Metrics()
        store = MeteredStore(store, self.metrics)
        self.queue: WorkQueue[Key] = WorkQueue(on_wait=self.metrics.queue_wait.observe)
        self.metrics.watch_queue(self.queue.figures)
        self.beats = Heartbeats()
        sources = load_sources()
        prometheus = Prometheus(self._config.prometheus.url)
        self.reader = SliReader(prometheus, sources, window_s=self._config.prometheus.window, lag_s=self._config.prometheus.lag)
        self.prober = Prober(on_change=self.wake, on_death=self.die)
        self.senses = LiveSenses(self.reader, self.prober, sources, self._config.triton)
        self.witness = LiveWitness(self.senses, self.metrics)
        self.documents = DocumentCache(store, (ROLLOUT, POLICY, VIRTUAL_SERVICE), on_change=self.changed, on_death=self.die)
        instance = f"{socket.gethostname()}-{os.getpid()}"
        told = self.metrics.notifications
        self.teller = EventTeller(
            store, instance=instance, clock=time.time, on_death=self.die, on_outcome=lambda o: told.labels("event", o).inc()
        )
        applier = Applier(store, self.senses, self.teller, written=self.documents.put)
        self.reconciler = Reconciler(
            self.documents, Observer(self.documents, self.senses, sources), applier, self.witness, time.time
        )
        self.schedule = Schedule(on_death=self.die, listener=self.metrics)
        self.health = HealthServer(
            self.metrics.registry,
            live={"loops": self.beats.problem},
            ready={"documents": self.not_ready},
            host="127.0.0.1",
            port=settings.metrics_port,
        )
        self._tick = 0
        self._ticked = self.beats.expect("tick", SILENT_S)
        self._was_read = self.beats.expect("read", SILENT_S)
        self._last_read: dict[str, tuple[int, int]] = {}

    # --- what wakes a rollout ----------------------------------------------------------------------------------

    def wake(self, key: Key) -> None:
        """Something that this rollout sees is new."""
        self.queue.add(key)

    def changed(self, kind: Kind, key: Key) -> None:
        """A document changed: wake the rollouts that hang on it."""
        if kind is ROLLOUT:
            self.queue.add(key)
            return
        for user in self.witness.users_of(kind.name, key):
            self.queue.add(user)

    def tick(self) -> None:
        """Once a second: a slice of the resting rollouts is looked at, so that within a minute all were; others are anyway."""
        self._ticked()
        self._tick = (self._tick + 1) % RESYNC_S
        active = set(self.witness.active())
        for key in self.documents.keys(ROLLOUT):
            if hash_slice(key) == self._tick and key not in active:
                self.queue.add(key)

    def read(self) -> None:
        """Read what is due; every rollout in an attempt is looked at when there is something new."""
        self._was_read()
        self.reader.read(time.time())
        read = {name: (stats.windows, stats.queries) for name, stats in self.reader.stats().items()}
        if read != self._last_read:
            self._last_read = read
            for key in self.witness.active():
                self.queue.add(key)

    def work(self) -> None:
        """One worker's loop."""
        beat = self.beats.expect(threading.current_thread().name, SILENT_S)
        try:
            while not self._end.is_set():
                key = self.queue.get(timeout_s=1.0)
                beat()
                if key is not None:
                    self.one(key)
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self.die(threading.current_thread().name, error)

    def one(self, key: Key) -> None:
        """One turn of one rollout; whatever goes wrong with it is its own trouble, not the others'."""
        try:
            with self.metrics.turn():
                again = self.reconciler.reconcile(key)
            self.queue.forget(key)
            if again is not None:
                self.queue.add_after(key, again - time.time())
        except Exception as error:  # noqa: BLE001 - classified, logged, tried again with back-off
            trouble = classify(error)
            delay = self.queue.add_rate_limited(key)
            say = self._log.exception if trouble == "bug" else self._log.warning
            say("a turn failed", rollout=str(key), trouble=trouble, error=str(error), again_in_s=round(delay, 2))
        finally:
            self.queue.done(key)

    # --- life ----------------------------------------------------------------------------------------------------

    def not_ready(self) -> str | None:
        """What keeps the controller from being ready, in words."""
        waiting = [kind.plural for kind in (ROLLOUT, POLICY, VIRTUAL_SERVICE) if not self.documents.synced(kind)]
        return f"not yet read: {', '.join(waiting)}" if waiting else None

    def die(self, name: str, error: BaseException) -> None:
        """A loop ended that must not: the process ends, and the next one takes over."""
        self._log.critical("a loop died; the process ends", loop=name, error=repr(error), exc_info=error)
        self._died = name
        self._end.set()

    def stop(self) -> None:
        """End after the turn at hand."""
        self._end.set()

    def run(self) -> int:
        """Run until a signal or a death."""
        gc.set_threshold(*GARBAGE)
        workers = [threading.Thread(target=self.work, name=f"worker-{n}", daemon=True) for n in range(WORKERS)]
        self.health.start()
        self.teller.start()
        self.documents.start()
        self.prober.start()
        for worker in workers:
            worker.start()
        self.schedule.every(1.0, "tick", self.tick)
        self.schedule.every(min(0.25, self._config.prometheus.window / 4), "read", self.read)
        self.schedule.start()
        self._log.info("started", pid=os.getpid(), metrics_port=self.health.port)
        self._end.wait()
        self._log.info("ending", because=self._died or "asked to")
        self.schedule.stop()
        self.queue.close()
        for worker in workers:
            worker.join(5.0)
        self.documents.stop()
        self.prober.stop()
        self.teller.stop()
        self.health.stop()
        return 0 if self._died is None else 1


@lru_cache(maxsize=20_000)
def hash_slice(key: Key) -> int:
    """In which second of a minute a rollout is looked at; the same in every process."""
    return sum(str(key).encode()) % RESYNC_S


def run_local(directory: Path, *, metrics_port: int | None) -> int:
    """Run a controller on DIR until SIGTERM or SIGINT; gives the exit code.

    Raises:
        InvalidDocument: local.yaml cannot be used.
    """
    config = load_local(directory)
    projection = RdsProjection(directory / config.envoy.rds, name=config.envoy.route_config)
    store = LocalStore(directory / DATABASE_NAME, projections=[projection], codec=quick())
    store.sync()
    controller = Controller(store, Settings(config, config.metrics.port if metrics_port is None else metrics_port))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: controller.stop())
    try:
        return controller.run()
    finally:
        store.close()
