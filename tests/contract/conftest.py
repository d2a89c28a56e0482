"""The stores that must keep the contract: one line each in BACKENDS."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.codec import PLAIN, Codec, quick
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import POLICY, Kind, NotFound, ObjectStore
from rollout_controller.cluster.transport import Transport
from rollout_controller.controller.retry import Retry
from tests.contract.documents import policy
from tests.support.crds import CRDS


class Backend:
    """One place of documents, with what a test needs beside it: more clients, and a way to make it forget old changes."""

    def __init__(self, connect: Callable[[], ObjectStore], forget: Callable[[ObjectStore], None]) -> None:
        self.connect = connect
        self._forget = forget
        self.store = connect()

    def forget(self) -> None:
        self._forget(self.store)


@contextmanager
def local(request: pytest.FixtureRequest, codec: Codec = PLAIN) -> Iterator[Backend]:
    """A SQLite file that keeps few changes."""
    tmp_path: Path = request.getfixturevalue("tmp_path")
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


class MakesNamespaces(KubernetesStore):
    """Makes the namespace of a document where there is none."""

    def __init__(self, transport: Transport) -> None:
        super().__init__(transport)
        self._wire = transport

    def create(self, kind: Kind, document: Raw) -> Raw:
        try:
            return super().create(kind, document)
        except NotFound:
            namespace = json.dumps({"metadata": {"name": document["metadata"]["namespace"]}}).encode()
            self._wire.call("POST", "/api/v1/namespaces", body=namespace, timeout_s=10)
            return super().create(kind, document)


@contextmanager
def kubernetes(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """A real API server, as a user who may do everything."""
    kube = request.getfixturevalue("kube")
    kube.apply(CRDS)
    opened: list[OfficialTransport] = []

    def connect() -> ObjectStore:
        opened.append(OfficialTransport(kube.admin))
        return MakesNamespaces(opened[-1])

    def forget(store: ObjectStore) -> None:
        kube.compact()
        retry = Retry(attempts=100, within_s=30)  # an API server that has just started takes no watches for a moment
        retry("watch", lambda: next(store.watch(POLICY, None, store.list(POLICY).resource_version, 1), None))

    yield Backend(connect, forget)
    for transport in opened:
        transport.close()


BACKENDS: dict[str, Callable[[pytest.FixtureRequest], AbstractContextManager[Backend]]] = {
    "local": local,
    "local-quick": lambda request: local(request, quick()),
    "kubernetes": kubernetes,
}


@pytest.fixture(params=["local", "local-quick", pytest.param("kubernetes", marks=pytest.mark.cluster)])
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with BACKENDS[request.param](request) as backend:
        yield backend


@pytest.fixture
def store(backend: Backend) -> ObjectStore:
    return backend.store


@pytest.fixture
def namespace() -> str:
    """A namespace of the test's own; a backend that needs it made makes it on first use."""
    return f"test-{uuid4().hex[:8]}"
