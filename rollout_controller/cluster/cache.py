"""Keeps the documents of some kinds in memory, fresh by list and watch, so that nobody waits for the store to read one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from time import monotonic

from tenacity import RetryCallState, RetryError, Retrying, retry_if_exception_type, stop_when_event_set, wait_random_exponential

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.backoff import at_least_as_asked
from rollout_controller.cluster.store import Expired, Kind, ObjectStore, Refused, StoreError, Unavailable, WatchEvent

WATCH_S = 300.0
"""A watch is opened anew after this long."""
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 10.0
"""Back-off between tries while the store does not answer: random up to the first, doubled each time, up to the longest."""
LASTED_S = 10.0
"""A watch that ends in an error after it worked for this long is opened anew at once."""
RELIST_S = 600.0
"""Everything is read again this often. Where an API server's database was restored from a backup, its versions have gone back,
and a watch from the version we know says nothing, for ever."""
STOP_S = 0.9


def _whole(document: Raw) -> Raw:
    return document


class DocumentCache:
    """All documents of some kinds, read by many threads while one feeder a kind keeps them fresh.

    Documents are handed out as they are held, not as copies: readers must not change them.
    """

    def __init__(
        self,
        store: ObjectStore,
        kinds: Sequence[Kind],
        *,
        on_change: Callable[[Kind, Key], None],
        on_death: Callable[[str, BaseException], None],
        namespace: str | None = None,
        keep: Mapping[Kind, Callable[[Raw], Raw]] | None = None,
    ) -> None:
        """`on_change` is called after a document came, changed or went; it must be quick.

        `keep` says what of a kind's documents is held: all of it when it does not say.
        `on_death` is called with the loop's name when a feeder ends for a reason nobody expected.
        """
        keep = keep or {}
        self._feeders = {kind: Feeder(store, kind, namespace, on_change, keep.get(kind, _whole)) for kind in kinds}
        self._on_death = on_death
        self._threads: list[threading.Thread] = []

    def get(self, kind: Kind, key: Key) -> Raw | None:
        """None: there is none, or not yet (`synced`)."""
        return self._feeders[kind].documents.get(key)

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        return tuple(self._feeders[kind].documents)

    def put(self, kind: Kind, document: Raw) -> None:
        """Takes in a document that this process has just written, so that it reads its own writes before the watch does."""
        self._feeders[kind].put(document)

    def synced(self, kind: Kind) -> bool:
        """Whether all documents of the kind were read once."""
        return self._feeders[kind].synced.is_set()

    def wait_synced(self, timeout_s: float) -> bool:
        """Waits until all kinds are synced; False when they are not in time."""
        ends = monotonic() + timeout_s
        return all(feeder.synced.wait(max(0.0, ends - monotonic())) for feeder in self._feeders.values())

    def age(self, kind: Kind) -> float:
        """Seconds since the store last gave a sign of life for this kind; infinite before the first."""
        return monotonic() - self._feeders[kind].alive_at

    def problem(self, kind: Kind) -> str | None:
        """Why the kind cannot be read at present; None while all is well."""
        return self._feeders[kind].problem

    def refused(self, kind: Kind) -> bool:
        """Whether it cannot be read because the store refuses it: a person must act, and then it goes on by itself."""
        return self._feeders[kind].refused

    def start(self) -> None:
        """Starts one thread a kind."""
        for kind, feeder in self._feeders.items():
            name = f"cache-{kind.plural}"
            self._threads.append(threading.Thread(target=self._feed, args=(name, feeder), name=name, daemon=True))
            self._threads[-1].start()

    def end(self) -> None:
        """Tells all feeders to end; `stop` waits for it, too."""
        for feeder in self._feeders.values():
            feeder.stop()

    def stop(self) -> None:
        """Ends all feeders, within a second."""
        self.end()
        ends = monotonic() + STOP_S
        for thread in self._threads:
            thread.join(max(0.0, ends - monotonic()))

    def _feed(self, name: str, feeder: Feeder) -> None:
        try:
            while not feeder.stopped.is_set():
                feeder.turn()
        except BaseException as error:  # noqa: BLE001 - a loop that dies is not kept silent
            self._on_death(name, error)


class Feeder:
    """One kind: `turn` does one finite piece of the work, a list or one watch, whatever the store does."""

    def __init__(
        self,
        store: ObjectStore,
        kind: Kind,
        namespace: str | None,
        on_change: Callable[[Kind, Key], None],
        keep: Callable[[Raw], Raw] = _whole,
    ) -> None:
        self.documents: dict[Key, Raw] = {}
        self.synced = threading.Event()
        self.stopped = threading.Event()
        self.alive_at = float("-inf")
        self.problem: str | None = None
        self.refused = False
        self._store = store
        self._kind = kind
        self._namespace = namespace
        self._on_change = on_change
        self._keep = keep
        self._position: int | None = None
        self._furthest = -1
        self._ours: set[int] = set()
        """Versions that this process wrote and the watch has not told of yet."""
        self._listed_at = float("-inf")
        self._stream: Iterator[WatchEvent] | None = None
        self._lock = threading.Lock()
        self._again = Retrying(
            retry=retry_if_exception_type(StoreError),
            wait=at_least_as_asked(wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)),
            stop=stop_when_event_set(self.stopped),
            sleep=self._sleep,
            before_sleep=self._note,
        )

    def turn(self) -> None:
        """A list and a watch until it ends; tried again, with back-off, until they work or `stop`."""
        with suppress(RetryError):  # stopped
            self._again(self._list_and_watch)

    def stop(self) -> None:
        """Ends the turn under way; may be called from any thread."""
        self.stopped.set()
        close = getattr(self._stream, "close", None)
        if close is not None:
            with suppress(ValueError):  # a generator that is running: it ends with its next event, or with the process
                close()

    def put(self, document: Raw) -> None:
        """Takes in a document as it was written, unless the watch knows better."""
        key, version = _key(document), _version(document)
        with self._lock:
            if self._position is not None and version <= self._position:
                return
            self._ours.add(version)
            if self._position is None or version > self._held(key):
                self.documents[key] = self._keep(document)

    def _list_and_watch(self) -> None:
        if self.stopped.is_set():
            return
        if self._position is None or monotonic() - self._listed_at > RELIST_S:
            self._list()
        opened_at = monotonic()
        try:
            events = self._watch()
        except Expired:
            self._position = None
            raise
        except StoreError:
            if monotonic() - opened_at < LASTED_S:
                raise
            return
        if events == 0 and monotonic() - opened_at < min(1.0, WATCH_S / 2) and not self.stopped.is_set():
            raise Unavailable(f"the watch of {self._kind.plural} ended as soon as it was opened")

    def _list(self) -> None:
        listing = self._store.list(self._kind, self._namespace)
        there = {_key(document): self._keep(document) for document in listing.items}
        position = int(listing.resource_version)
        with self._lock:
            before = self.documents
            went_back = position < self._furthest  # the store has lost its newest changes: what we know of them never was
            known = {} if went_back else before
            newer = {key: document for key, document in known.items() if _version(document) > position}  # put meanwhile
            same = {key: known[key] for key in there.keys() & known.keys() if _version(known[key]) == _version(there[key])}
            self.documents = {**there, **same, **newer}  # who remembers what it made of a document finds it again
            ours = {key for key, document in before.items() if _version(document) > self._furthest}  # maybe upon others' changes
            self._ours = set() if went_back else {version for version in self._ours if version > position}
            self._position = self._furthest = position
            self._listed_at = monotonic()
        self._sign_of_life()
        self.synced.set()
        for key in before.keys() | self.documents.keys():
            if went_back or key in ours or _version(before.get(key)) != _version(self.documents.get(key)):
                self._on_change(self._kind, key)

    def _watch(self) -> int:
        """The number of events that were taken in until the watch ended."""
        self._stream = self._store.watch(self._kind, self._namespace, str(self._position), WATCH_S)
        count = 0
        try:
            while not self.stopped.is_set():
                event = next(self._stream, None)
                if event is None:
                    self._sign_of_life()  # it was ended as it should
                    break
                count += 1
                self._sign_of_life()
                self._take(event)
        finally:
            if (close := getattr(self._stream, "close", None)) is not None:
                close()
            self._stream = None
        return count

    def _take(self, event: WatchEvent) -> None:
        version = int(event.resource_version)
        key = _key(event.document) if event.type != "BOOKMARK" else None
        with self._lock:
            self._position = self._furthest = version
            ours = version in self._ours
            self._ours.discard(version)
            if key is None or ours:  # this process wrote it and has `put` it here
                return
            if version > self._held(key):  # else we wrote upon it before it was told: we hold it, and nobody heard of it
                if event.type == "DELETED":
                    self.documents.pop(key, None)
                else:
                    self.documents[key] = self._keep(event.document)
        self._on_change(self._kind, key)

    def _held(self, key: Key) -> int:
        return _version(self.documents.get(key))

    def _sign_of_life(self) -> None:
        self.alive_at = monotonic()
        self.problem, self.refused = None, False

    def _note(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self.problem, self.refused = None if error is None else str(error), isinstance(error, Refused)

    def _sleep(self, seconds: float) -> None:
        self.stopped.wait(seconds)


def _key(document: Raw) -> Key:
    metadata = document["metadata"]
    return Key(metadata.get("namespace", "default"), metadata["name"])


def _version(document: Raw | None) -> int:
    """The resourceVersion as a number, which Kubernetes allows to compare since 1.35 and etcd always did; -1: no document."""
    return -1 if document is None else int(document["metadata"]["resourceVersion"])
