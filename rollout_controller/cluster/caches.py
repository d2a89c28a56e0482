"""The documents of some namespaces, or of all: one cache each, so that a namespaced install needs no cluster-wide verb."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.cache import DocumentCache
from rollout_controller.cluster.store import Kind, ObjectStore

_ALL = ""


class DocumentCaches:
    """As DocumentCache, over `namespaces`; none given: over all."""

    def __init__(
        self,
        store: ObjectStore,
        kinds: Sequence[Kind],
        namespaces: Sequence[str] = (),
        *,
        on_change: Callable[[Kind, Key], None],
        on_death: Callable[[str, BaseException], None],
        keep: Mapping[Kind, Callable[[Raw], Raw]] | None = None,
    ) -> None:
        self.kinds = tuple(kinds)
        self._caches = {
            space: DocumentCache(store, kinds, on_change=on_change, on_death=on_death, namespace=space or None, keep=keep)
            for space in tuple(dict.fromkeys(namespaces)) or (_ALL,)
        }

    def get(self, kind: Kind, key: Key) -> Raw | None:
        """None: there is none, not yet (`synced`), or its namespace is not one of ours."""
        cache = self._of(key.namespace)
        return None if cache is None else cache.get(kind, key)

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        return tuple(key for cache in self._caches.values() for key in cache.keys(kind))

    def put(self, kind: Kind, document: Raw) -> None:
        """Takes in a document that this process has just written."""
        cache = self._of(document["metadata"].get("namespace", "default"))
        if cache is not None:
            cache.put(kind, document)

    def synced(self, kind: Kind, namespace: str | None = None) -> bool:
        """Whether all documents of the kind were read once, in that namespace or in every one."""
        return all(cache.synced(kind) for cache in self._asked(namespace))

    def wait_synced(self, timeout_s: float) -> bool:
        """Waits until all kinds are synced; False when they are not in time."""
        ends = monotonic() + timeout_s
        return all(cache.wait_synced(max(0.0, ends - monotonic())) for cache in self._caches.values())

    def age(self, kind: Kind) -> float:
        """Seconds since the store last gave a sign of life for this kind, in the namespace where that is longest ago."""
        return max(cache.age(kind) for cache in self._caches.values())

    def problem(self, kind: Kind) -> str | None:
        """Why the kind cannot be read at present, in the first namespace where it cannot."""
        return next((problem for cache in self._caches.values() if (problem := cache.problem(kind)) is not None), None)

    def refused(self, kind: Kind, namespace: str | None = None) -> str | None:
        """Why the kind may not be read there (forbidden, no such kind), so that a person must act; None where it may."""
        return next((cache.problem(kind) for cache in self._asked(namespace) if cache.refused(kind)), None)

    def start(self) -> None:
        for cache in self._caches.values():
            cache.start()

    def stop(self) -> None:
        """Ends all feeders, within about a second."""
        for cache in self._caches.values():
            cache.end()
        for cache in self._caches.values():
            cache.stop()

    def _asked(self, namespace: str | None) -> tuple[DocumentCache, ...]:
        if namespace is None:
            return tuple(self._caches.values())
        cache = self._of(namespace)
        return () if cache is None else (cache,)

    def _of(self, namespace: str) -> DocumentCache | None:
        return self._caches.get(_ALL) or self._caches.get(namespace)
