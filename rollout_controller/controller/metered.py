"""An ObjectStore whose calls are timed and counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.store import Kind, Listing, ObjectStore, PatchOp, WatchEvent
from rollout_controller.controller.metrics import Metrics


class MeteredStore:
    """Passes every call on. A watch is not timed: it is meant to last."""

    def __init__(self, store: ObjectStore, metrics: Metrics) -> None:
        self._store, self._call = store, metrics.store_call

    def get(self, kind: Kind, key: Key) -> Raw:
        with self._call("get", kind.name):
            return self._store.get(kind, key)

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        with self._call("list", kind.name):
            return self._store.list(kind, namespace)

    def create(self, kind: Kind, document: Raw) -> Raw:
        with self._call("create", kind.name):
            return self._store.create(kind, document)

    def replace(self, kind: Kind, document: Raw) -> Raw:
        with self._call("replace", kind.name):
            return self._store.replace(kind, document)

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        with self._call("patch", kind.name):
            return self._store.patch(kind, key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        with self._call("replace_status", kind.name):
            return self._store.replace_status(kind, key, status, resource_version)

    def delete(self, kind: Kind, key: Key) -> None:
        with self._call("delete", kind.name):
            self._store.delete(kind, key)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Iterator[WatchEvent]:
        return self._store.watch(kind, namespace, since, timeout_s)
