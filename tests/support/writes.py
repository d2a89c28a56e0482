"""Stores in front of a real one that do something at each write: kill their user, take note, change something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rollout_controller.api.meta import Key, Raw
from rollout_controller.cluster.store import Kind, Listing, ObjectStore, PatchOp, WatchEvent


class EveryWrite:
    """Passes everything on; `before` and `after` are called around each write."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.writes = 0

    def before(self) -> None:
        """The write number `writes` has not landed."""

    def after(self) -> None:
        """It has."""

    def _write(self, kind: Kind, write: str, *args: object) -> Raw:
        self.writes += 1
        self.before()
        document: Raw = getattr(self._store, write)(kind, *args)
        self.after()
        return document

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        return self._write(kind, "patch", key, operations)

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        return self._write(kind, "replace_status", key, status, resource_version)

    def create(self, kind: Kind, document: Raw) -> Raw:
        return self._write(kind, "create", document)

    def replace(self, kind: Kind, document: Raw) -> Raw:
        return self._write(kind, "replace", document)

    def get(self, kind: Kind, key: Key) -> Raw:
        return self._store.get(kind, key)

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        return self._store.list(kind, namespace)

    def delete(self, kind: Kind, key: Key) -> None:
        self._store.delete(kind, key)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Iterator[WatchEvent]:
        return self._store.watch(kind, namespace, since, timeout_s)


class Killed(BaseException):
    """The process is gone; nothing after this line ran."""


class DeadlyStore(EveryWrite):
    """Kills its user at the k-th write: before it lands, or right after."""

    def __init__(self, store: ObjectStore, kill_at: int, *, landed: bool) -> None:
        super().__init__(store)
        self._kill_at, self._landed = kill_at, landed

    def before(self) -> None:
        if self.writes == self._kill_at and not self._landed:
            raise Killed

    def after(self) -> None:
        if self.writes == self._kill_at and self._landed:
            raise Killed
