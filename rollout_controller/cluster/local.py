"""ObjectStore in one SQLite file: the same rules as the Kubernetes API, for one machine without a cluster."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster import admission
from rollout_controller.cluster.codec import PLAIN, Codec
from rollout_controller.cluster.local_watch import Bell, LocalWatch
from rollout_controller.cluster.patch import apply_patch
from rollout_controller.cluster.sqlite import Database
from rollout_controller.cluster.store import (
    EVENT,
    AlreadyExists,
    Kind,
    Listing,
    NotFound,
    PatchOp,
    Refused,
    StoreError,
    Unavailable,
)

Change = Callable[[Raw, int], Raw | None]
"""(document as it is, next resourceVersion) -> document as it shall be; None: nothing changes."""


class Projection(Protocol):
    """Something outside the store that always says what the documents of one kind say, such as Envoy's route file."""

    @property
    def kind(self) -> Kind: ...

    def __call__(self, texts: Sequence[str]) -> None:
        """Bring the outside in line with all documents of the kind.

        They come as the JSON text they are stored as: a projection that remembers what it made of a text need not read it again.

        Raises:
            OSError, InvalidDocument, json.JSONDecodeError
        """
        ...


class _Head(NamedTuple):
    """The newest resourceVersion, the one up to which the log was cut, and the log's size."""

    version: int
    floor: int
    log_bytes: int


class LocalStore:
    """Documents in one SQLite file, for any number of threads and processes.

    A write of a kind that has a projection is committed only after the projection was written, so what the store says
    is what the outside does. A file that was once opened with a projection takes writes of its kind only through stores
    that have it, too.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        projections: Sequence[Projection] = (),
        busy_timeout_s: float = 2.0,
        log_rows: int = 10_000,
        log_bytes: int = 32 * 1024 * 1024,
        codec: Codec = PLAIN,
    ) -> None:
        """Opens the file, making it where there is none.

        A write waits at most `busy_timeout_s` for other writers. The log that watches read keeps the newest `log_rows`
        changes, fewer when they have more than `log_bytes` together.

        Raises:
            Refused: the file is not ours, damaged, or may not be written.
            Unavailable: the file is locked.
        """
        self._database = Database(Path(path), busy_timeout_s=busy_timeout_s)
        self._projections = tuple(projections)
        self._log_rows = log_rows
        self._log_bytes = log_bytes
        self._codec = codec
        self._bell = Bell(self._database.newest)
        self._remember_projections()

    @property
    def path(self) -> Path:
        return self._database.path

    def get(self, kind: Kind, key: Key) -> Raw:
        """Raises NotFound."""
        with self._database.look() as connection:
            return self._load(connection, kind, key)

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        """All documents of a kind, of one namespace or of all, by namespace and name."""
        with self._database.read() as connection:
            (version,) = connection.execute("SELECT version FROM head").fetchone()
            return Listing(self._all(connection, kind, namespace), str(version))

    def select(self, kind: Kind, namespace: str | None, fields: Mapping[str, str]) -> tuple[Raw, ...]:
        """See SelectingStore. Every path is known."""
        return tuple(
            document
            for document in self.list(kind, namespace).items
            if all(_at(document, path) == value for path, value in fields.items())
        )

    def create(self, kind: Kind, document: Raw) -> Raw:
        """Raises AlreadyExists, Refused. A given status is dropped where status is a subresource."""
        key = admission.key_of(document)

        def change(connection: sqlite3.Connection, version: int) -> Raw:
            if self._body(connection, kind, key) is not None:
                raise AlreadyExists(f"{kind.name} {key} is there already")
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return admission.created(kind, document, uid=str(uuid.uuid4()), timestamp=now, version=version)

        return self._write(kind, key, "ADDED", change, flush=kind != EVENT)

    def replace(self, kind: Kind, document: Raw) -> Raw:
        """Write spec, labels and annotations; raises NotFound, Conflict when metadata.resourceVersion is given and stale."""
        return self._modify(kind, admission.key_of(document), lambda old, v: admission.updated(kind, old, document, v))

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        """JSON Patch, all or nothing; Conflict when a `test` fails, Refused when an operation cannot be done."""
        return self._modify(
            kind, key, lambda old, v: admission.updated(kind, old, apply_patch(old, operations, f"{kind.name} {key}"), v)
        )

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        """Write status only, on exactly what was read; raises Conflict, NotFound.

        Not flushed to disk by itself: a power cut may take the newest status, never one that a later write of weights or spec
        was made after.
        """
        return self._write(
            kind,
            key,
            "MODIFIED",
            lambda c, version: admission.with_status(kind, self._load(c, kind, key), status, resource_version, version),
            flush=False,
        )

    def delete(self, kind: Kind, key: Key) -> None:
        """Raises NotFound."""

        def change(connection: sqlite3.Connection, version: int) -> Raw:
            old = self._load(connection, kind, key)
            return {**old, "metadata": {**old["metadata"], "resourceVersion": str(version)}}

        self._write(kind, key, "DELETED", change)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> LocalWatch:
        """Changes after `since`, in order, for at most `timeout_s`.

        The first `next` raises Refused when `since` is no resourceVersion, any `next` Expired when it is too old.
        A BOOKMARK comes every few seconds and at the end. `close()`, from any thread, ends it at once.
        """
        position = (kind, namespace, since)
        return LocalWatch(self._database, self._bell, *position, timeout_s=timeout_s, decode=self._codec.decode)

    def sync(self) -> None:
        """Brings every projection in line with the documents: at start, after a crash between the two.

        Raises:
            Unavailable: naming the file that could not be written.
            Refused: the documents cannot be translated.
        """
        with self._database.write() as connection:
            self._project(connection, {projection.kind for projection in self._projections})

    def close(self) -> None:
        """Gives the file back; watches under way end with Unavailable."""
        self._database.close()
        self._bell.ring(0)

    def _modify(self, kind: Kind, key: Key, change: Change) -> Raw:
        return self._write(kind, key, "MODIFIED", lambda c, version: change(self._load(c, kind, key), version))

    def _write(
        self,
        kind: Kind,
        key: Key,
        event: str,
        change: Callable[[sqlite3.Connection, int], Raw | None],
        *,
        flush: bool = True,
    ) -> Raw:
        """One change in one transaction: document, log, projections, in this order; then the watches are woken."""
        projecting = False
        try:
            with self._database.write(flush=flush) as connection:
                head = self._head(connection, kind)
                document = change(connection, head.version + 1)
                if document is None:
                    return self._load(connection, kind, key)
                body, result = self._codec.encode(document)
                _keep(connection, kind, key, None if event == "DELETED" else body)
                self._log(connection, head, (kind.name, key.namespace, event), body)
                projecting = any(projection.kind == kind for projection in self._projections)
                self._project(connection, {kind})
        except BaseException:
            if projecting:
                self._take_back(kind)
            raise
        self._bell.ring(head.version + 1, kind)
        return result

    def _log(self, connection: sqlite3.Connection, head: _Head, what: tuple[str, str, str], body: str) -> None:
        """Writes one line (kind, namespace, event) into the change log and drops the oldest beyond its bounds."""
        size = len(body.encode())
        version, floor, total = head.version + 1, head.floor, head.log_bytes + size
        connection.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)", (version, *what, size, body))
        if version - floor > self._log_rows or total > self._log_bytes:
            for oldest, its_size in connection.execute("SELECT version, size FROM changes ORDER BY version"):
                if version - floor <= self._log_rows and total <= self._log_bytes:
                    break
                floor, total = oldest, total - its_size
            connection.execute("DELETE FROM changes WHERE version <= ?", (floor,))
        connection.execute("UPDATE head SET version = ?, floor = ?, log_bytes = ?", (version, floor, total))

    def _remember_projections(self) -> None:
        with self._database.read() as connection:
            known = {name for (name,) in connection.execute("SELECT kind FROM projected")}
        for name in {projection.kind.name for projection in self._projections} - known:
            with self._database.write() as connection:
                connection.execute("INSERT OR IGNORE INTO projected VALUES (?)", (name,))

    def _head(self, connection: sqlite3.Connection, kind: Kind) -> _Head:
        """Where the log ends; raises Refused when the kind has a projection that this store does not have."""
        version, floor, log_bytes, projected = connection.execute(
            "SELECT version, floor, log_bytes, EXISTS (SELECT 1 FROM projected WHERE kind = ?) FROM head", (kind.name,)
        ).fetchone()
        if projected and not any(projection.kind == kind for projection in self._projections):
            raise Refused(
                f"a {kind.name} in {self.path} is written with the file that follows it, and this process does not know it"
            )
        return _Head(version, floor, log_bytes)

    def _project(self, connection: sqlite3.Connection, kinds: set[Kind]) -> None:
        for projection in self._projections:
            if projection.kind not in kinds:
                continue
            try:
                projection(_texts(connection, projection.kind, None))
            except OSError as error:
                raise Unavailable(f"{error.filename or projection} cannot be written: {error.strerror or error}") from error
            except InvalidDocument as error:
                faults = "; ".join(f"{fault.path}: {fault.read} ({fault.allowed})" for fault in error.errors)
                raise Refused(f"{error.name}: {faults}") from error

    def _take_back(self, kind: Kind) -> None:
        """After a write that failed: the outside says again what the store says. `sync` at the next start does it otherwise."""
        try:
            with self._database.write() as connection:
                self._project(connection, {kind})
        except StoreError:
            return

    def _body(self, connection: sqlite3.Connection, kind: Kind, key: Key) -> str | None:
        row = connection.execute(
            "SELECT body FROM documents WHERE kind = ? AND namespace = ? AND name = ?", (kind.name, key.namespace, key.name)
        ).fetchone()
        return None if row is None else row[0]

    def _load(self, connection: sqlite3.Connection, kind: Kind, key: Key) -> Raw:
        body = self._body(connection, kind, key)
        if body is None:
            raise NotFound(f"there is no {kind.name} {key}")
        return self._decoded(body)

    def _all(self, connection: sqlite3.Connection, kind: Kind, namespace: str | None) -> tuple[Raw, ...]:
        return tuple(self._decoded(body) for body in _texts(connection, kind, namespace))

    def _decoded(self, body: str) -> Raw:
        try:
            return self._codec.decode(body)
        except ValueError as error:
            raise self._damaged(error) from None

    def _damaged(self, error: ValueError) -> Refused:
        return Refused(f"{self.path} is damaged: a document in it is not JSON ({error})")


def _at(document: Raw, path: str) -> object:
    value: object = document
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _texts(connection: sqlite3.Connection, kind: Kind, namespace: str | None) -> list[str]:
    """All documents of a kind as they are stored, of one namespace or of all, by namespace and name."""
    rows = connection.execute(
        "SELECT body FROM documents WHERE kind = ?1 AND (?2 IS NULL OR namespace = ?2) ORDER BY namespace, name",
        (kind.name, namespace),
    )
    return [body for (body,) in rows]


def _keep(connection: sqlite3.Connection, kind: Kind, key: Key, body: str | None) -> None:
    names = (kind.name, key.namespace, key.name)
    if body is None:
        connection.execute("DELETE FROM documents WHERE kind = ? AND namespace = ? AND name = ?", names)
    else:
        connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)", (*names, body))
