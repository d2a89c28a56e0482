"""Caches of several namespaces: as one, without a word to the store about any other namespace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.names import Key
from rollout_controller.cluster.caches import DocumentCaches
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, VIRTUAL_SERVICE, Kind, Listing, Refused
from tests.contract.documents import policy, virtual_service
from tests.support.watching import soon


class Namespaced(LocalStore):
    """A real store that gives what RBAC of some namespaces gives."""

    def __init__(self, path: Path, *allowed: str) -> None:
        super().__init__(path)
        self.allowed = set(allowed)
        self.asked: set[str | None] = set()

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        self._check(namespace)
        return super().list(kind, namespace)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Any:
        self._check(namespace)
        return super().watch(kind, namespace, since, timeout_s)

    def _check(self, namespace: str | None) -> None:
        self.asked.add(namespace)
        if namespace not in self.allowed:
            raise Refused(f"forbidden in {namespace or 'all namespaces'}")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Namespaced]:
    opened = Namespaced(tmp_path / "store.db", "vision", "text")
    for namespace in ("vision", "text", "other"):
        opened.create(POLICY, policy(namespace))
        opened.create(VIRTUAL_SERVICE, virtual_service(namespace))
    yield opened
    opened.close()


def caches(store: Namespaced, *namespaces: str) -> tuple[DocumentCaches, list[Key]]:
    changes: list[Key] = []

    def fail(name: str, error: BaseException) -> None:
        raise AssertionError(name) from error

    made = DocumentCaches(
        store, (POLICY, VIRTUAL_SERVICE), namespaces, on_change=lambda _kind, key: changes.append(key), on_death=fail
    )
    made.start()
    return made, changes


def test_two_namespaces_are_read_as_one(store: Namespaced) -> None:
    made, changes = caches(store, "vision", "text", "vision")
    assert made.wait_synced(10)
    assert set(made.keys(POLICY)) == {Key("vision", "balanced"), Key("text", "balanced")}
    assert made.get(VIRTUAL_SERVICE, Key("text", "triton")) is not None
    assert made.get(VIRTUAL_SERVICE, Key("other", "triton")) is None
    assert store.asked == {"vision", "text"}
    assert made.refused(POLICY) is None
    assert made.age(POLICY) < 60
    made.put(POLICY, policy("other"))  # none of ours: nothing happens
    store.patch(VIRTUAL_SERVICE, Key("text", "triton"), [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}])
    soon(lambda: changes.count(Key("text", "triton")) == 2)
    made.stop()


def test_a_namespace_that_is_refused_does_not_hide_the_other(store: Namespaced) -> None:
    made, _ = caches(store, "vision", "other")
    soon(lambda: made.refused(POLICY, "other") is not None)
    soon(lambda: made.synced(POLICY, "vision"))
    assert made.refused(POLICY, "other") == "forbidden in other"
    assert made.refused(POLICY, "vision") is None
    assert made.refused(POLICY) == made.problem(POLICY) == "forbidden in other"
    assert not made.synced(POLICY)
    assert not made.synced(POLICY, "other")
    store.allowed.add("other")
    assert made.wait_synced(30)
    assert made.refused(POLICY) is None
    made.stop()


def test_all_namespaces_are_one_watch(store: Namespaced) -> None:
    made, _ = caches(store)
    soon(lambda: made.refused(POLICY, "vision") == "forbidden in all namespaces")
    store.allowed = {None}  # type: ignore[arg-type]
    assert made.wait_synced(30)
    assert len(made.keys(POLICY)) == 3
    assert store.asked == {None}
    made.stop()
