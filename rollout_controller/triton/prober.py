"""The feeder that keeps every slot's state fresh in memory, and does loads and warm-ups off the reconcile path."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import Literal

import structlog

from rollout_controller.api.meta import Key
from rollout_controller.core.observation import SlotState, Unknown
from rollout_controller.triton.client import ModelVersion, TritonClient
from rollout_controller.triton.errors import TritonError, TritonRefused, TritonUnreachable
from rollout_controller.triton.rounds import Pace, Rounds
from rollout_controller.triton.slots import read_server, read_slot, unread

_log = structlog.get_logger("triton.prober")
NOT_READ = SlotState(problem=Unknown("not-read-yet", "the slot was not read yet"))
LOADING_POLL_S = 0.5
ASK_AGAIN_S = 1.0
"""After a job that got no answer, the same slot's asks within this time do nothing: its change wakes the one who asks."""


@dataclass(frozen=True)
class _Job:
    kind: Literal["load", "warm-up"]
    version: str


@dataclass
class _Slot:
    key: Key
    name: str
    url: str
    model: str | None
    active: bool
    state: SlotState = NOT_READ
    jobs: deque[_Job] = field(default_factory=deque)
    """What was asked; the first one is being done."""
    busy: bool = False
    """It has a thread that does its jobs, or waits for one."""
    epoch: int = 0
    """Counts the ended jobs: what a poll read before that is out of date."""
    deaf_until: float = 0.0
    read: tuple[object, SlotState] | None = None
    """The newest index, and the state that follows from it: mostly the next index is the same one."""
    gone: bool = False


class Prober:
    """Polls each wanted slot's Triton: one question per Triton and round, whatever the number of slots behind it.

    A Triton that does not answer is asked by a few threads kept for such ones, so it delays nobody else. Loads and warm-ups
    have threads of their own, one a slot, `max_jobs` at once. Reading a state takes a dict look-up.
    """

    def __init__(
        self,
        *,
        on_change: Callable[[Key], object],
        on_death: Callable[[str, BaseException], None] = lambda _name, _error: None,
        client: Callable[[str], TritonClient] = TritonClient,
        pace: Pace | None = None,
        max_jobs: int = 64,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._on_change = on_change
        self._on_death = on_death
        self._client = client
        self._clock = clock
        self._lock = threading.RLock()
        self._slots: dict[tuple[Key, str], _Slot] = {}
        self._names: dict[Key, dict[str, _Slot]] = {}
        """The slots of each rollout by their names: with thousands of rollouts, one that goes must not be searched for."""
        self._by_url: dict[str, list[_Slot]] = {}
        self._clients: dict[str, TritonClient] = {}
        self._waiting: deque[_Slot] = deque()
        self._working = 0
        self._max_jobs = max_jobs
        self._stopped = threading.Event()
        self._rounds = Rounds(self._poll, pace or Pace(), on_death)

    def start(self) -> None:
        """Begin to poll."""
        self._rounds.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """End polling. A load that Triton is doing goes on there; its thread here dies with the process."""
        self._stopped.set()
        self._rounds.stop(timeout_s)
        with self._lock:
            for client in self._clients.values():
                client.close()

    def want(self, key: Key, slot: str, url: str, model: str | None, *, active: bool) -> None:
        """Keep this slot's state fresh from now on; cheap when nothing changed.

        `model` None: the version is not in a model repository, only whether Triton is ready is read.
        """
        with self._lock:
            have = self._slots.get((key, slot))
            if have is not None and (have.url, have.model) == (url, model):
                if have.active != active:
                    have.active = active
                    self._repace(url)
                return
            if have is not None:
                self._drop(have)
            new = _Slot(key, slot, url, model, active)
            self._slots[key, slot] = self._names.setdefault(key, {})[slot] = new
            self._by_url.setdefault(url, []).append(new)
            if url not in self._clients:
                self._clients[url] = self._client(url)
            self._repace(url)

    def keep(self, key: Key, names: Collection[str]) -> None:
        """Ask about these slots of the rollout only: it has no others any more."""
        with self._lock:
            mine = self._names.get(key, {})
            for name in [name for name in mine if name not in names]:
                del self._slots[key, name]
                self._drop(mine.pop(name))
            if not mine:
                self._names.pop(key, None)

    def forget(self, key: Key) -> None:
        """The rollout is gone: so are its slots and what was asked for them."""
        self.keep(key, ())

    def state(self, key: Key, slot: str) -> SlotState:
        """What is known now, from memory."""
        with self._lock:
            have = self._slots.get((key, slot))
            return NOT_READ if have is None else have.state

    def load(self, key: Key, slot: str, version: str) -> None:
        """Have `version` loaded and pinned. A failure of before is forgotten now; the same load twice is one load."""
        self._ask(key, slot, _Job("load", version))

    def warm_up(self, key: Key, slot: str, version: str) -> None:
        """Have a warm-up request sent to `version`; nothing is done when it was answered before."""
        self._ask(key, slot, _Job("warm-up", version))

    # -- polling ---------------------------------------------------------------------------------------------------

    def _repace(self, url: str) -> None:
        self._rounds.set(url, active=any(s.active for s in self._by_url[url]))

    def _drop(self, slot: _Slot) -> None:
        slot.gone = True
        slot.jobs.clear()
        others = self._by_url[slot.url]
        others.remove(slot)
        if not others:
            del self._by_url[slot.url]
            self._rounds.drop(slot.url)
            self._clients.pop(slot.url).close()

    def _poll(self, url: str) -> bool:
        """Read one Triton and tell whose state changed; False when it could not be read."""
        with self._lock:
            slots, client = list(self._by_url.get(url, ())), self._clients.get(url)
            epochs = {id(slot): slot.epoch for slot in slots}
        if client is None or self._stopped.is_set():
            return True
        try:
            index = client.index() if any(s.model is not None for s in slots) else ()
            ready = client.server_ready() if any(s.model is None for s in slots) else False
        except TritonError as error:
            self._update(slots, self._unread(error), epochs)
            return False
        self._update(slots, lambda s: _read(s, index, ready=ready), epochs)
        return True

    def _unread(self, error: TritonError) -> Callable[[_Slot], SlotState]:
        code, sentence = "no-answer" if isinstance(error, TritonUnreachable) else "server-error", str(error)
        return lambda slot: unread(slot.state, code, sentence, self._clock())

    def _update(self, slots: list[_Slot], read: Callable[[_Slot], SlotState], epochs: dict[int, int] | None = None) -> None:
        changed = []
        with self._lock:
            for slot in slots:
                if epochs is not None and epochs[id(slot)] != slot.epoch:
                    continue
                state = self._with_asked(slot, read(slot))
                if state is not slot.state and state != slot.state:
                    slot.state = state
                    changed.append(slot)
        for slot in changed:
            if not slot.gone:
                self._on_change(slot.key)

    @staticmethod
    def _with_asked(slot: _Slot, state: SlotState) -> SlotState:
        asked = next((job.version for job in slot.jobs if job.kind == "load"), None)
        return state if asked is None else replace(state, loading=asked)

    # -- loads and warm-ups ----------------------------------------------------------------------------------------

    def _ask(self, key: Key, name: str, job: _Job) -> None:
        with self._lock:
            slot = self._slots.get((key, name))
            if slot is not None and job.kind == "load" and slot.jobs and slot.jobs[0] == job:
                while len(slot.jobs) > 1:  # asked for again while it runs: what was asked in between is not wanted any more
                    slot.jobs.pop()
            if slot is None or job in slot.jobs or (job.kind == "warm-up" and slot.state.warmed == job.version):
                return
            if time.monotonic() < slot.deaf_until:
                return
            if job.kind == "load":  # what waited behind the running job was for a version nobody wants any more
                while len(slot.jobs) > 1:
                    slot.jobs.pop()
                slot.state = replace(slot.state, failed=None, failed_version=None)
            slot.jobs.append(job)
            slot.state = self._with_asked(slot, slot.state)
            if not slot.busy:
                slot.busy = True
                self._waiting.append(slot)
            self._start_waiting()

    def _start_waiting(self) -> None:
        while self._waiting and self._working < self._max_jobs and not self._stopped.is_set():
            slot = self._waiting.popleft()
            self._working += 1
            threading.Thread(target=self._work, args=(slot,), name=f"triton-job-{slot.key}", daemon=True).start()

    def _work(self, slot: _Slot) -> None:
        """Do what was asked for a slot, one after the other, until nothing is left."""
        try:
            while (job := self._current(slot)) is not None:
                change = self._do(slot, job)
                with self._lock:
                    slot.epoch += 1
                    if slot.jobs and slot.jobs[0] is job:
                        slot.jobs.popleft()
                self._update([slot], change)
        except BaseException as error:  # a thread that dies must not die unseen
            if not self._stopped.is_set():
                self._on_death("triton-job", error)
                raise
        finally:
            with self._lock:
                self._working -= 1
                self._start_waiting()

    def _current(self, slot: _Slot) -> _Job | None:
        with self._lock:
            slot.busy = bool(slot.jobs) and not slot.gone and not self._stopped.is_set()
            return slot.jobs[0] if slot.busy else None

    def _do(self, slot: _Slot, job: _Job) -> Callable[[_Slot], SlotState]:
        """Do one job; what it changes in the slot's state comes back as a function."""
        with self._lock:
            client = self._clients.get(slot.url)
        if client is None or slot.model is None:
            return lambda s: s.state
        log = _log.bind(job=job.kind, rollout=str(slot.key), slot=slot.name, model=slot.model, version=job.version)
        begin = time.monotonic()
        try:
            act = self._load if job.kind == "load" else self._warm_up
            change = act(client, slot, slot.model, job.version)
        except TritonUnreachable as error:
            log.warning("no answer from Triton", error=str(error))
            with self._lock:
                slot.deaf_until = time.monotonic() + ASK_AGAIN_S
            return self._unread(error)
        log.info("asked of Triton", seconds=round(time.monotonic() - begin, 3))
        return change

    def _load(self, client: TritonClient, slot: _Slot, model: str, version: str) -> Callable[[_Slot], SlotState]:
        self._wait_for_others(client, slot, model)
        try:
            client.load_pinned(model, version, spare=lambda: self._other_config(slot, model))
        except TritonRefused as error:
            words = error.message
            _log.warning("load failed", rollout=str(slot.key), slot=slot.name, model=model, version=version, error=words)
            return lambda s: replace(s.state, loading=None, failed=words, failed_version=version)
        index = client.index()
        return lambda s: read_slot(replace(s.state, warmed=None), index, model)

    def _wait_for_others(self, client: TritonClient, slot: _Slot, model: str) -> None:
        """Triton queues a load behind one that runs, and then loads again what is loaded by then: so wait first."""
        deadline = time.monotonic() + client.timeouts.load_s
        while any(line.model == model and line.state == "LOADING" for line in client.index()):
            if time.monotonic() > deadline:
                raise TritonUnreachable(f"{client.base_url} has been loading model {model!r} for {client.timeouts.load_s:g} s")
            if slot.gone or self._stopped.wait(LOADING_POLL_S):
                raise TritonUnreachable("nobody waits for this load any more")

    def _other_config(self, slot: _Slot, model: str) -> dict[str, object] | None:
        with self._lock:
            urls = [s.url for s in self._slots.values() if s.key == slot.key and s is not slot and s.model == model]
            client = next((self._clients[url] for url in urls if url in self._clients), None)
        return None if client is None else client.config(model)

    def _warm_up(self, client: TritonClient, slot: _Slot, model: str, version: str) -> Callable[[_Slot], SlotState]:
        try:
            client.warm_up(model, version)
        except TritonRefused as error:
            # Zeros may be no fit input for this model, so an error is an answer: users' requests will judge the version.
            _log.warning("warm-up was answered with an error", rollout=str(slot.key), slot=slot.name, error=error.message)
        return lambda s: replace(s.state, warmed=version if s.state.version == version else None)


def _read(slot: _Slot, index: tuple[ModelVersion, ...], *, ready: bool) -> SlotState:
    """What a poll says of a slot. The same index (the client gives the same one where nothing is new) changes nothing."""
    if slot.model is None:
        return read_server(slot.state, ready=ready)
    if slot.read is not None and slot.read[0] is index and slot.read[1] is slot.state:
        return slot.state
    state = read_slot(slot.state, index, slot.model)
    if state == slot.state:
        slot.read = (index, slot.state)
    return state
