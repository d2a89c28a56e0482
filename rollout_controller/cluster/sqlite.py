"""One SQLite file: its connections, its transactions, its schema, and its errors in the store's words."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rollout_controller.cluster.store import Refused, StoreError, Unavailable

APPLICATION_ID = 0x524F4C4C
"""Written into the file's header, so that another program's database is not taken for ours."""
SCHEMA = 1

_TABLES = (
    "CREATE TABLE documents (kind TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL, PRIMARY KEY (kind, namespace, name))",
    "CREATE TABLE changes (version INTEGER PRIMARY KEY, kind TEXT, namespace TEXT, type TEXT, size INTEGER, body TEXT)",
    "CREATE TABLE head (version INTEGER NOT NULL, floor INTEGER NOT NULL, log_bytes INTEGER NOT NULL)",
    "CREATE TABLE projected (kind TEXT PRIMARY KEY)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA}",
)

_LATER = {
    sqlite3.SQLITE_BUSY: "is locked by another process",
    sqlite3.SQLITE_LOCKED: "is locked by another process",
    sqlite3.SQLITE_PROTOCOL: "is locked by another process",
    sqlite3.SQLITE_FULL: "cannot grow: the disk is full",
    sqlite3.SQLITE_IOERR: "cannot be read or written",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
    sqlite3.SQLITE_NOMEM: "needs more memory than there is",
    sqlite3.SQLITE_INTERRUPT: "was interrupted",
}
_NEVER = {
    sqlite3.SQLITE_NOTADB: "is not a database",
    sqlite3.SQLITE_CORRUPT: "is damaged",
    sqlite3.SQLITE_READONLY: "may not be written",
    sqlite3.SQLITE_PERM: "may not be opened",
    sqlite3.SQLITE_AUTH: "may not be opened",
    sqlite3.SQLITE_TOOBIG: "does not take a document of this size",
}


def store_error(error: sqlite3.Error, path: Path) -> StoreError:
    """SQLite's error in the store's words: Unavailable for what may pass, Refused for what a person must mend."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in _LATER:
        return Unavailable(f"{path} {_LATER[code]} ({error})")
    return Refused(f"{path} {_NEVER.get(code, 'cannot be used')} ({error})")


@dataclass
class _Eye:
    """A connection that only looks whether others have written."""

    connection: sqlite3.Connection
    inode: tuple[int, int]
    commits: int = -1
    newest: int = 0


class Database:
    """Connections to one file, for any number of threads; other processes may use the file at the same time."""

    def __init__(self, path: Path, *, busy_timeout_s: float) -> None:
        """Opens the file, making it and its directory where there is none; raises Refused, Unavailable."""
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._closed = False
        self._eye: _Eye | None = None
        self._eye_lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{path.parent} cannot be made: {error.strerror}") from None
        with self._translated():
            connection = self._connect("rwc")
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        self._inode = self._inode_now()
        self._give_back(connection)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file and never waits for writers."""
        with self._translated(), self._connection() as connection:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                _roll_back(connection)

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """For one SELECT: it sees one state of the file by itself, in a third of the statements of a transaction."""
        with self._translated(), self._connection() as connection:
            yield connection

    def newest(self) -> int:
        """The newest resourceVersion, in the cheapest way there is: it is asked 30 times a second."""
        with self._translated(), self._eye_lock:
            inode = self._inode_now()
            if self._eye is None or inode != self._eye.inode or self._closed:
                self._shut_eye()
                self._eye = _Eye(self._take(), inode)
            (commits,) = self._eye.connection.execute("PRAGMA data_version").fetchone()  # moves when another connection commits
            if commits != self._eye.commits:
                self._eye.newest = self._eye.connection.execute("SELECT version FROM head").fetchone()[0]
                self._eye.commits = commits
            return self._eye.newest

    @contextmanager
    def write(self, *, flush: bool = True) -> Iterator[sqlite3.Connection]:
        """A transaction no other writer is in; committed at the end, rolled back on any exception.

        Without `flush` it is on disk with the next one that is flushed: it outlives this process, and a power cut takes it
        and everything after it, or nothing.
        """
        if not self._writing.acquire(timeout=self._busy_timeout_s):
            raise Unavailable(f"{self.path} is being written for more than {self._busy_timeout_s:g} s")
        try:
            with self._translated(), self._connection() as connection:
                connection.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                finally:
                    _roll_back(connection)
        finally:
            self._writing.release()

    def close(self) -> None:
        """Closes every idle connection; those in use are closed when they are given back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        with self._eye_lock:
            self._shut_eye()

    def _shut_eye(self) -> None:
        if self._eye is not None:
            self._eye.connection.close()
            self._eye = None

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise store_error(error, self.path) from None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        connection = self._take()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        inode = self._inode_now()
        with self._lock:
            if self._closed:
                raise Unavailable(f"{self.path} was closed")
            stale, self._idle = (self._idle, []) if inode != self._inode else ([], self._idle)
            self._inode = inode
            connection = self._idle.pop() if self._idle else None
        for old in stale:  # the file was replaced by another one: what we have open is a ghost
            old.close()
        return connection or self._connect("rw")

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def _inode_now(self) -> tuple[int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be opened: {error.strerror}") from None
        return found.st_dev, found.st_ino

    def _connect(self, mode: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Makes the tables in a new file; refuses another program's file."""
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (objects,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if objects and application != APPLICATION_ID:
            raise Refused(f"{self.path} is another program's database")
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise Refused(f"{self.path} lies where SQLite cannot share it between processes (journal mode {mode})")
        connection.execute("BEGIN IMMEDIATE")
        try:
            (schema,) = connection.execute("PRAGMA user_version").fetchone()
            if schema > SCHEMA:
                raise Refused(f"{self.path} was written by a newer version (schema {schema}, this one knows {SCHEMA})")
            if schema == 0:
                for statement in _TABLES:
                    connection.execute(statement)
                # Milliseconds since 1970: a file made anew never goes on counting where an older one was left.
                first = time.time_ns() // 1_000_000
                connection.execute("INSERT INTO head VALUES (?, ?, 0)", (first, first))
            connection.execute("COMMIT")
        finally:
            _roll_back(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Ends a transaction that is still open; SQLite ends some by itself when the disk is full."""
    if connection.in_transaction:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
