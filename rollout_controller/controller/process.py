"""The controller as a process: puts the parts together, leads or follows, ends cleanly - or at once when it must."""

from __future__ import annotations

import gc
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from rollout_controller import workload
from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.meta import Key
from rollout_controller.cluster.caches import DocumentCaches
from rollout_controller.cluster.fence import Fence, FencedStore
from rollout_controller.cluster.lease import Candidate, Leadership, Timing
from rollout_controller.cluster.store import DEPLOYMENT, POLICY, ROLLOUT, STATEFUL_SET, VIRTUAL_SERVICE, Kind, ObjectStore
from rollout_controller.cluster.transport import Transport
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.config import MetricsConfig, PrometheusConfig
from rollout_controller.controller.definitions import LOOK_EVERY_S, Definitions
from rollout_controller.controller.health import HealthServer, Heartbeats
from rollout_controller.controller.logs import SECRETS
from rollout_controller.controller.metered import MeteredStore
from rollout_controller.controller.metrics import EVENT_OUTCOMES, POST_OUTCOMES, Metrics
from rollout_controller.controller.news import News, given_up, permitted
from rollout_controller.controller.notifications import NotificationsConfig
from rollout_controller.controller.observe import Observer
from rollout_controller.controller.pace import EvidencePace
from rollout_controller.controller.prometheus import prometheus
from rollout_controller.controller.reconcile import Reconciler
from rollout_controller.controller.schedule import Schedule
from rollout_controller.controller.senses import LiveSenses
from rollout_controller.controller.tell import EventTeller
from rollout_controller.controller.tritons import Tritons
from rollout_controller.controller.turns import SILENT_S, Turns
from rollout_controller.controller.witness import LiveWitness
from rollout_controller.controller.workloads import LOCAL, Workloads
from rollout_controller.notify.post import Hearers, Post
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.triton.client import TritonClient
from rollout_controller.triton.prober import Prober

READ = (ROLLOUT, POLICY, VIRTUAL_SERVICE)
WORKLOADS = (DEPLOYMENT, STATEFUL_SET)
GARBAGE = (50_000, 20, 20)
"""Thresholds of Python's garbage collector: with 1,000 attempts in memory its defaults cost 10 % of a turn. Cycles are rare."""
LOOK_S = 0.25
"""The main thread looks this often whether the lease was renewed, should its thread hang."""
TURN_S = 2.0
"""At the end, a turn under way has this long; the one that hangs longer keeps the lease from being given back."""
TOLD_S = 1.0
LOST_GRACE_S = 0.5
END_GRACE_S = 12.0
"""The process ends after this long whatever hangs: when leadership was lost, and else (the chart gives it 15 s)."""


@dataclass(frozen=True)
class Settings:
    """How the process runs. `identity` is this process and no other, ever; `namespaces` empty: all."""

    prometheus: PrometheusConfig
    tritons: Tritons
    metrics: MetricsConfig
    identity: str
    workers: int
    namespaces: tuple[str, ...] = ()
    no_workloads: str | None = LOCAL
    """Why there are no Deployments and StatefulSets for this controller; None: there are."""
    wire: Transport | None = None
    """To an API server, where there is one: it is asked whether its definitions know all our fields."""
    notifications: NotificationsConfig = field(default_factory=NotificationsConfig)


@dataclass(frozen=True)
class Stores:
    """The store three times, as its calls may take different times: lists are long, a write must end before the lease may."""

    reads: ObjectStore
    writes: ObjectStore
    lease: ObjectStore


@dataclass(frozen=True)
class Seat:
    """The Lease that is to be held; without one a process always leads."""

    key: Key
    timing: Timing


class Controller:
    """All parts of one controller. `run` returns the exit code: 0 after a signal, 1 when a loop died or leadership was lost."""

    def __init__(
        self, stores: Stores, settings: Settings, fence: Fence, seat: Seat | None, *, leave: Callable[[int], object] = os._exit
    ) -> None:
        """`fence`: shut until this process leads. `leave` ends the process at once."""
        self._log = structlog.get_logger("controller")
        self._news: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._settings, self._seat, self._leave = settings, seat, leave
        self._because: str | None = None
        self._failed = self._leads = self._turning = False
        self.metrics = Metrics()
        self.beats = Heartbeats()
        self.fence = fence
        store = MeteredStore(FencedStore(stores.reads, stores.writes, self.fence), self.metrics)
        self._build(store)
        self.leadership = None if seat is None else self._leadership(MeteredStore(stores.lease, self.metrics), seat)
        self._problems: dict[str, str] = {}

    def _build(self, store: ObjectStore) -> None:
        settings, config = self._settings, self._settings.prometheus
        sources = load_sources(*config.folders)
        reader = SliReader(prometheus(config), sources, window_s=config.window, lag_s=config.lag, on_query=self.metrics.queried)
        self.prober = Prober(
            on_change=self._wake,
            on_death=self.die,
            client=lambda url: TritonClient(url, permit=self.fence.check),
        )
        self.documents = DocumentCaches(
            store,
            READ if settings.no_workloads else (*READ, *WORKLOADS),
            settings.namespaces,
            on_change=self._changed,
            on_death=self.die,
            keep=dict.fromkeys(WORKLOADS, workload.trimmed),
        )
        self.workloads = Workloads(self.documents, time.time, none=settings.no_workloads)
        senses = LiveSenses(reader, self.prober, sources, settings.tritons, self.workloads)
        witness = LiveWitness(senses, self.metrics)
        self.teller = EventTeller(
            store,
            instance=settings.identity,
            clock=time.time,
            on_death=self.die,
            on_outcome=self.metrics.sink("event", EVENT_OUTCOMES),
        )
        applier = Applier(store, senses, self.teller, written=self.documents.put)
        self.observer = Observer(self.documents, senses, sources)
        self.post = self._post(settings.notifications)
        news = News(self.post if self.post.wanted else None)
        reconciler = Reconciler(
            self.documents, self.observer, applier, witness, time.time, news=news, pace=EvidencePace(settings.workers)
        )
        self.turns = Turns(
            self.documents,
            reconciler,
            witness,
            reader,
            metrics=self.metrics,
            beats=self.beats,
            workers=settings.workers,
            on_death=self.die,
            on_lost=self.lost,
        )
        self.schedule = Schedule(on_death=self.die, listener=self.metrics)
        self.health = self._health(settings.metrics)
        for kind in self.documents.kinds:
            self.metrics.watch_age(kind.name, lambda kind=kind: self.documents.age(kind))  # type: ignore[misc]

    def _post(self, config: NotificationsConfig) -> Post:
        targets = config.targets(SECRETS.hide)
        sinks = {target.name: self.metrics.sink(target.name, POST_OUTCOMES) for target in targets}
        hearers = Hearers(
            on_told=self._wake,
            on_outcome=lambda target, outcome: sinks[target](outcome),
            on_given_up=given_up(self.teller.tell),
            on_death=self.die,
        )
        post = Post(targets, config.templates, hearers, permit=permitted(self.fence.check))
        self.metrics.watch_post({target: partial(post.waiting, target) for target in post.wanted})
        return post

    def _health(self, where: MetricsConfig) -> HealthServer:
        ready = {"documents": self.not_ready, "leadership": self.not_a_candidate}
        try:
            return HealthServer(
                self.metrics.registry, live={"loops": self.beats.problem}, ready=ready, host=where.host, port=where.port
            )
        except OSError as error:
            read = f"{where.host} port {where.port} cannot be listened on: {error.strerror or error}"
            raise InvalidDocument(
                "metrics", [FieldError("metrics", read, "an address of this machine and a free port")]
            ) from None

    def _leadership(self, store: ObjectStore, seat: Seat) -> Leadership:
        return Leadership(
            store,
            seat.key,
            Candidate(self._settings.identity, seat.timing),
            self.fence,
            on_lead=lambda: self._news.put("lead"),
            on_lost=self.lost,
            on_death=self.die,
            on_turn=self.beats.expect("lease", SILENT_S),
        )

    def _wake(self, key: Key) -> None:
        self.turns.wake(key)

    def _changed(self, kind: Kind, key: Key) -> None:
        document = self.documents.get(kind, key)
        if kind is ROLLOUT:
            for other in self.workloads.note(key, document):
                self.turns.wake(other)
        if kind is POLICY and document is None:
            self.observer.forget_policy(key)
        self.turns.changed(kind, key)

    # --- what others ask -----------------------------------------------------------------------------------------

    def not_ready(self) -> str | None:
        """What keeps the controller, leading or not, from doing its work at once, in words."""
        refused = [why for kind in self.documents.kinds if (why := self.documents.refused(kind)) is not None]
        waiting = [kind.plural for kind in self.documents.kinds if not self.documents.synced(kind)]
        return "; ".join(refused) or (f"not yet read: {', '.join(waiting)}" if waiting else None)

    def not_a_candidate(self) -> str | None:
        """Why it can neither lead nor wait for its turn."""
        return None if self.leadership is None else self.leadership.problem()

    # --- how it ends ---------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End after the turns at hand, and give the lease back. May be called in a signal handler."""
        self._news.put("end")

    def die(self, name: str, error: BaseException) -> None:
        """A loop ended that must not: the process ends, and the next one takes over."""
        if self._because is None:
            self._because, self._failed = f"the loop {name} died", True
            self._log.critical("a loop died; the process ends", loop=name, error=repr(error), exc_info=error)
            self.stop()

    def lost(self, why: str) -> None:
        """Leadership is gone: nothing is written any more, and the process ends, whatever hangs."""
        self.fence.shut()
        if self._because is not None:
            return
        self._because, self._failed = "leadership is lost", True
        self.metrics.leader.set(0)
        self._log.critical("leadership is lost; the process ends, to be started again as a follower", why=why)
        self._leave_after(LOST_GRACE_S)
        self._news.put("leave")

    def _leave_after(self, seconds: float) -> None:
        timer = threading.Timer(seconds, self._leave, (1,))
        timer.daemon = True
        timer.start()

    # --- life ----------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until a signal, a death or the loss of leadership."""
        gc.set_threshold(*GARBAGE)
        self.metrics.leader.set(0)
        self.health.start()
        self.documents.start()
        self._log.info("started", pid=os.getpid(), metrics_port=self.health.port, identity=self._settings.identity)
        if self.leadership is None:
            self.fence.open_until(float("inf"))
            self._news.put("lead")
        else:
            self.leadership.start()
        word = self._live()
        if word == "leave":
            return 1
        if self._because is None:
            self._because = "asked to"
        self._log.info("ending", because=self._because)
        self._leave_after(END_GRACE_S)
        self._end()
        return 1 if self._failed else 0

    def _live(self) -> str:
        """Until it is time to go: how."""
        while True:
            try:
                word = self._news.get(timeout=LOOK_S)
            except queue.Empty:
                word = ""
            if word in ("end", "leave"):
                return word
            if word == "lead":
                self._lead()
            if self.leadership is not None and (late := self.leadership.overdue()) is not None:
                self.lost(late)
            if self._leads and not self._turning:
                self._turn()
            if self._turning:
                self.schedule.keep_pace()
            self._tell_problems()

    def _lead(self) -> None:
        self._leads = True
        self.metrics.leader.set(1)
        self.metrics.rollouts.counts_from = time.time()
        self.teller.start()
        self.post.start()
        self.prober.start()

    def _turn(self) -> None:
        """Begin to act, once everything was read, or will not be read before a person acts: then that is to be said."""
        if self.not_ready() is not None and not any(self.documents.refused(kind) for kind in self.documents.kinds):
            return
        self._turning = True
        self.turns.start()
        self.schedule.every(1.0, "tick", self.turns.tick)
        self.schedule.every(min(0.25, self._settings.prometheus.window / 4), "read", self.turns.read)
        if self._settings.wire is not None:
            definitions = Definitions(self._settings.wire, self.metrics.unknown_fields.set)
            self.schedule.every(LOOK_EVERY_S, "definitions", definitions.look)
        self.schedule.start()
        self._log.info("acting", rollouts=len(self.documents.keys(ROLLOUT)))

    def _tell_problems(self) -> None:
        """What cannot be read is logged when that begins, changes and ends."""
        for kind in self.documents.kinds:
            problem = self.documents.problem(kind)
            before = self._problems.get(kind.plural)
            if problem is not None and problem != before:
                self._log.error("documents cannot be read; trying again", kind=kind.name, error=problem)
                self._problems[kind.plural] = problem
            elif problem is None and self._problems.pop(kind.plural, None) is not None:
                self._log.info("documents can be read again", kind=kind.name)

    def _end(self) -> None:
        """First what another leader waits for. The lease is given back only when nothing of ours is under way any more."""
        self.post.stop(TOLD_S)  # turns write down what was told
        quiet = self.turns.stop(TURN_S)
        self.prober.stop(0.0)
        self.teller.stop(TOLD_S)
        self.fence.shut()
        if self.leadership is not None and self._seat is not None:
            request_s = self._seat.timing.request_s
            quiet = self.fence.drained(request_s) and quiet
            if self.leadership.stop(2 * request_s) and quiet:
                self.leadership.release()
        self.metrics.leader.set(0)
        self.schedule.stop()
        self.documents.stop()
        self.health.stop()
