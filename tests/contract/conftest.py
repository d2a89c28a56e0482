"""The stores that must keep the contract: one line each in BACKENDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from rollout_controller.api.names import Key
from rollout_controller.cluster.codec import PLAIN, Codec, quick
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, ObjectStore
from tests.contract.documents import policy


class Backend:
    """One place of documents, with what a test needs beside it: more clients, and a way to make it forget old changes."""

    def __init__(self, connect: Callable[[], ObjectStore], forget: Callable[[ObjectStore], None]) -> None:
        self.connect = connect
        self._forget = forget
        self.store = connect()

    def forget(self) -> None:
        self._forget(self.store)


@contextmanager
def local(tmp_path: Path, codec: Codec = PLAIN) -> Iterator[Backend]:
    opened: list[LocalStore] = []

    def connect() -> ObjectStore:
        opened.append(LocalStore(tmp_path / "store.db", log_rows=50, codec=codec))
        return opened[-1]

    def forget(store: ObjectStore) -> None:
        for _ in range(30):
            store.create(POLICY, policy("forget", "forget"))
            store.delete(POLICY, Key("forget", "forget"))

    yield Backend(connect, forget)
    for store in opened:
        store.close()


BACKENDS: dict[str, Callable[[Path], AbstractContextManager[Backend]]] = {
    "local": local,
    "local-quick": lambda tmp_path: local(tmp_path, quick()),
}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    with BACKENDS[request.param](tmp_path) as backend:
        yield backend


@pytest.fixture
def store(backend: Backend) -> ObjectStore:
    return backend.store


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own; a backend that needs it made makes it on first use."""
    return f"test-{uuid4().hex[:8]}"
