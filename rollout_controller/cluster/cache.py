"""Documents in memory, kept fresh by a list and a watch of any ObjectStore."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.store import Expired, Kind, ObjectStore, Unavailable, WatchEvent

WATCH_S = 20.0
"""A watch ends by itself after this long and is opened anew where it ended."""


class DocumentCache:
    """Raw documents of some kinds, one thread each. What is handed out is shared: readers must not change it."""

    def __init__(
        self,
        store: ObjectStore,
        kinds: Iterable[Kind],
        *,
        on_change: Callable[[Kind, Key], object],
        on_death: Callable[[str, BaseException], None],
        namespace: str | None = None,
        watch_s: float = WATCH_S,
    ) -> None:
        self._feeders = {kind: _Feeder(store, kind, namespace, on_change, on_death, watch_s) for kind in kinds}

    def start(self) -> None:
        """Begin to list and watch."""
        for feeder in self._feeders.values():
            feeder.thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """End all watches; a call that is out ends by its own time limit, in the background."""
        for feeder in self._feeders.values():
            feeder.ended.set()
        for feeder in self._feeders.values():
            if feeder.thread.is_alive():
                feeder.thread.join(timeout_s)

    def get(self, kind: Kind, key: Key) -> Raw | None:
        """The document, or None."""
        return self._feeders[kind].documents.get(key)

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        """Of all documents of a kind."""
        return tuple(self._feeders[kind].documents)

    def put(self, kind: Kind, document: Raw) -> None:
        """A document that was just written: readers see it before the watch brings it."""
        if kind in self._feeders:
            self._feeders[kind].put(document)

    def synced(self, kind: Kind) -> bool:
        """Whether the kind was listed once."""
        return self._feeders[kind].listed.is_set()

    def age_s(self, kind: Kind) -> float:
        """Seconds since the last sign of life of its list and watch."""
        return time.monotonic() - self._feeders[kind].heard_at


class _Feeder:
    """The list and watch of one kind."""

    def __init__(
        self,
        store: ObjectStore,
        kind: Kind,
        namespace: str | None,
        on_change: Callable[[Kind, Key], object],
        on_death: Callable[[str, BaseException], None],
        watch_s: float,
    ) -> None:
        self._store, self._kind, self._namespace = store, kind, namespace
        self._on_change, self._on_death, self._watch_s = on_change, on_death, watch_s
        self._lock = threading.Lock()
        self.documents: dict[Key, Raw] = {}
        self.listed = threading.Event()
        self.ended = threading.Event()
        self.heard_at = time.monotonic()
        self.thread = threading.Thread(target=self._run, name=f"watch-{kind.plural}", daemon=True)

    def _run(self) -> None:
        since: str | None = None
        failures = 0
        try:
            while not self.ended.is_set():
                try:
                    since = self.list() if since is None else self.watch(since)
                    failures = 0
                except Expired:
                    since = None
                except Unavailable:
                    failures += 1
                    self.ended.wait(_backoff_s(failures))
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self._on_death(self.thread.name, error)

    def list(self) -> str:
        """Read all; tell of what is new, changed or gone. Gives where a watch goes on."""
        listing = self._store.list(self._kind, self._namespace)
        found = {_key(document): document for document in listing.items}
        with self._lock:
            before = self.documents
            merged = {key: _newer(before.get(key), document) for key, document in found.items()}
            self.documents = merged
        self.heard_at = time.monotonic()
        self.listed.set()
        for key in {*before, *merged}:
            if before.get(key) is not merged.get(key):
                self._on_change(self._kind, key)
        return listing.resource_version

    def watch(self, since: str) -> str:
        """Follow changes for a while; gives where the next watch goes on."""
        for event in self._store.watch(self._kind, self._namespace, since, self._watch_s):
            since = event.resource_version
            self.heard_at = time.monotonic()
            self._take(event)
            if self.ended.is_set():
                break
        self.heard_at = time.monotonic()
        return since

    def _take(self, event: WatchEvent) -> None:
        if event.type == "BOOKMARK":
            return
        key = _key(event.document)
        with self._lock:
            if event.type == "DELETED":
                changed = self.documents.pop(key, None) is not None
            else:
                newer = _newer(self.documents.get(key), event.document)
                changed = newer is event.document
                self.documents[key] = newer
        if changed:
            self._on_change(self._kind, key)

    def put(self, document: Raw) -> None:
        with self._lock:
            key = _key(document)
            self.documents[key] = _newer(self.documents.get(key), document)


def _key(document: Raw) -> Key:
    metadata = document["metadata"]
    return Key(metadata.get("namespace", "default"), metadata["name"])


def _newer(held: Raw | None, other: Raw) -> Raw:
    """The one with the higher resourceVersion; the held one when they are equal. Another uid is another object."""
    if held is None or held["metadata"].get("uid") != other["metadata"].get("uid"):
        return other
    return other if _version(other) > _version(held) else held


def _version(document: Raw) -> int:
    """ResourceVersions of one kind can be compared as integers (Kubernetes since 1.35, SQLite here)."""
    return int(document["metadata"]["resourceVersion"])


def _backoff_s(failures: int) -> float:
    return float(min(10.0, 0.2 * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, no secret
