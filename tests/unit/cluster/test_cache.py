"""The cache: it holds what the store holds, soon, whatever the store does meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster import cache as cache_module
from rollout_controller.cluster import local_watch
from rollout_controller.cluster.cache import DocumentCache, Feeder
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, VIRTUAL_SERVICE, Expired, Kind, Refused, Unavailable, WatchEvent
from tests.contract.documents import policy, virtual_service

BALANCED = Key("vision", "balanced")
ADD_LABEL = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]


class Scripted(LocalStore):
    """A real store whose next lists and watches go wrong as told."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, log_rows=20)
        self.list_troubles: list[Exception] = []
        self.watch_troubles: list[Exception | None] = []  # None: ends at once
        self.lists = 0
        self.watches = 0

    def list(self, kind: Kind, namespace: str | None = None) -> Any:
        self.lists += 1
        if self.list_troubles:
            raise self.list_troubles.pop(0)
        return super().list(kind, namespace)

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Any:
        self.watches += 1
        if self.watch_troubles:
            trouble = self.watch_troubles.pop(0)
            if trouble is not None:
                raise trouble
            return iter(())
        return super().watch(kind, namespace, since, timeout_s)


class Seen:
    """What the cache told."""

    def __init__(self) -> None:
        self.changes: list[Key] = []
        self.deaths: list[tuple[str, BaseException]] = []

    def changed(self, kind: Kind, key: Key) -> None:
        self.changes.append(key)

    def died(self, name: str, error: BaseException) -> None:
        self.deaths.append((name, error))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Scripted]:
    store = Scripted(tmp_path / "store.db")
    yield store
    store.close()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def cache(store: Scripted, seen: Seen) -> Iterator[DocumentCache]:
    cache = DocumentCache(store, (POLICY, VIRTUAL_SERVICE), on_change=seen.changed, on_death=seen.died)
    yield cache
    cache.stop()


def soon(what: Callable[[], bool], seconds: float = 30) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.005)


def test_it_holds_what_was_there_and_follows_what_comes(store: Scripted, cache: DocumentCache, seen: Seen) -> None:
    made = store.create(POLICY, policy("vision"))
    assert cache.get(POLICY, BALANCED) is None
    assert not cache.synced(POLICY)
    assert cache.age(POLICY) == float("inf")
    cache.start()
    assert cache.wait_synced(5)
    assert cache.get(POLICY, BALANCED) == made
    assert cache.keys(VIRTUAL_SERVICE) == ()
    assert cache.age(POLICY) < 5
    patched = store.patch(POLICY, BALANCED, ADD_LABEL)
    soon(lambda: cache.get(POLICY, BALANCED) == patched)
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    soon(lambda: cache.keys(VIRTUAL_SERVICE) == (Key("vision", "triton"),))
    store.delete(POLICY, BALANCED)
    soon(lambda: cache.get(POLICY, BALANCED) is None)
    soon(lambda: seen.changes.count(BALANCED) == 3)
    assert seen.changes.count(Key("vision", "triton")) == 1
    assert seen.deaths == []


def test_a_store_that_does_not_answer_is_tried_again(
    store: Scripted, cache: DocumentCache, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_watch, "BOOKMARK_S", 0.2)
    store.create(POLICY, policy("vision"))
    store.list_troubles = [Unavailable("locked"), Refused("may not list"), Unavailable("locked")] * 2
    store.watch_troubles = [Unavailable("reset"), None, None]
    cache.start()
    assert cache.wait_synced(20)
    soon(lambda: not store.watch_troubles and cache.problem(POLICY) is None, 20)
    patched = store.patch(POLICY, BALANCED, ADD_LABEL)
    soon(lambda: cache.get(POLICY, BALANCED) == patched)
    assert seen.deaths == []


def test_the_problem_is_told_while_it_lasts(store: Scripted, cache: DocumentCache) -> None:
    store.list_troubles = [Refused("may not list policies")] * 1000
    cache.start()
    soon(lambda: cache.problem(POLICY) == "may not list policies")
    assert not cache.wait_synced(0.05)


def test_after_expiry_everything_is_read_again_and_what_went_is_noticed(store: Scripted, seen: Seen) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    store.create(POLICY, policy("vision", "goes"))
    store.create(POLICY, policy("vision", "stays"))
    feeder._list()
    seen.changes.clear()
    store.delete(POLICY, Key("vision", "goes"))
    for _ in range(30):
        store.create(POLICY, policy("vision", "other"))
        store.delete(POLICY, Key("vision", "other"))
    store.create(POLICY, policy("vision", "comes"))
    with pytest.raises(Expired):
        feeder._list_and_watch()
    feeder._list()
    assert set(feeder.documents) == {Key("vision", "stays"), Key("vision", "comes")}
    assert sorted(key.name for key in seen.changes) == ["comes", "goes"]


def test_a_store_made_anew_is_read_anew(tmp_path: Path, store: Scripted, cache: DocumentCache) -> None:
    store.create(POLICY, policy("vision"))
    cache.start()
    assert cache.wait_synced(5)
    for path in tmp_path.glob("store.db*"):
        path.unlink()
    soon(lambda: cache.problem(POLICY) is not None)
    other = LocalStore(tmp_path / "store.db")
    other.create(POLICY, policy("vision", "new"))
    soon(lambda: cache.keys(POLICY) == (Key("vision", "new"),), 20)
    other.close()


def test_what_was_just_written_is_read_before_the_watch_says_it(store: Scripted, seen: Seen) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    old = store.create(POLICY, policy("vision"))
    feeder._list()
    new = store.patch(POLICY, BALANCED, ADD_LABEL)
    feeder.put(new)
    assert feeder.documents[BALANCED] == new
    feeder.put(old)
    assert feeder.documents[BALANCED] == new, "an older document does not replace a newer one"
    feeder._take(WatchEvent("MODIFIED", old, old["metadata"]["resourceVersion"]))
    assert feeder.documents[BALANCED] == new, "nor does a late event"


def test_a_change_that_we_wrote_upon_before_the_watch_told_of_it_is_told(store: Scripted, seen: Seen) -> None:
    """Two rollouts share a route: what somebody does to the one's part, just before we write the other's, is news for the one."""
    feeder = Feeder(store, POLICY, None, seen.changed)
    store.create(POLICY, policy("vision"))
    feeder._list()
    events = store.watch(POLICY, None, str(feeder._position), 5)
    seen.changes.clear()
    store.patch(POLICY, BALANCED, ADD_LABEL)
    ours = store.patch(POLICY, BALANCED, [{"op": "add", "path": "/metadata/labels/c", "value": "d"}])
    feeder.put(ours)
    feeder._take(next(events))
    assert seen.changes == [BALANCED]
    assert feeder.documents[BALANCED] == ours
    feeder._take(next(events))
    assert seen.changes == [BALANCED], "what this process wrote itself is no news"
    assert feeder._ours == set()
    events.close()


def test_a_change_that_we_wrote_upon_is_told_when_a_list_takes_the_place_of_the_watch(store: Scripted, seen: Seen) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    store.create(POLICY, policy("vision"))
    feeder._list()
    seen.changes.clear()
    store.patch(POLICY, BALANCED, ADD_LABEL)
    feeder.put(store.patch(POLICY, BALANCED, [{"op": "add", "path": "/metadata/labels/c", "value": "d"}]))
    feeder._list()
    assert seen.changes == [BALANCED]
    assert feeder._ours == set()


def test_a_late_put_does_not_bring_a_deleted_document_back(store: Scripted, seen: Seen) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    made = store.create(POLICY, policy("vision"))
    store.delete(POLICY, BALANCED)
    feeder._list()
    feeder.put(made)
    assert feeder.documents == {}


def test_a_document_put_before_an_older_list_is_kept(store: Scripted, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    listing = store.list(POLICY)
    made = store.create(POLICY, policy("vision"))
    feeder.put(made)
    monkeypatch.setattr(store, "list", lambda *_: listing)
    feeder._list()
    assert feeder.documents == {BALANCED: made}


def test_reading_everything_again_keeps_what_is_the_same(store: Scripted, seen: Seen) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    store.create(POLICY, policy("vision"))
    store.create(POLICY, policy("vision", "other"))
    feeder._list()
    held = dict(feeder.documents)
    seen.changes.clear()
    store.patch(POLICY, BALANCED, ADD_LABEL)
    feeder._list()
    assert seen.changes == [BALANCED]
    assert feeder.documents[BALANCED] is not held[BALANCED]
    assert feeder.documents[Key("vision", "other")] is held[Key("vision", "other")]


def test_a_store_that_has_lost_its_newest_changes_is_believed(
    store: Scripted, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeder = Feeder(store, POLICY, None, seen.changed)
    store.create(POLICY, policy("vision"))
    earlier = store.list(POLICY)
    store.patch(POLICY, BALANCED, ADD_LABEL)
    store.create(POLICY, policy("vision", "lost"))
    feeder._list()
    seen.changes.clear()
    monkeypatch.setattr(store, "list", lambda *_: earlier)
    feeder._list()
    assert feeder.documents == {BALANCED: earlier.items[0]}
    assert sorted(key.name for key in seen.changes) == ["balanced", "lost"]


def test_everything_is_read_again_now_and_then(store: Scripted, cache: DocumentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "WATCH_S", 0.05)
    monkeypatch.setattr(cache_module, "RELIST_S", 0.2)
    cache.start()
    soon(lambda: store.lists > 6)
    assert cache.problem(POLICY) is None


def test_an_unexpected_end_is_told(store: Scripted, cache: DocumentCache, seen: Seen) -> None:
    store.list_troubles = [ZeroDivisionError("a bug")]
    cache.start()
    soon(lambda: len(seen.deaths) == 1)
    name, error = seen.deaths[0]
    assert name in {"cache-rolloutpolicies", "cache-virtualservices"}
    assert isinstance(error, ZeroDivisionError)


def test_a_watch_that_ends_is_opened_again(store: Scripted, cache: DocumentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "WATCH_S", 0.05)
    cache.start()
    soon(lambda: store.watches > 10)
    assert store.lists == 2


@pytest.mark.parametrize("trouble", [None, Unavailable("locked")])
def test_stop_ends_its_threads(store: Scripted, cache: DocumentCache, trouble: Exception | None) -> None:
    store.list_troubles = [trouble] * 1000 if trouble else []
    cache.start()
    time.sleep(0.1)
    cache.stop()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cache-")]


def test_stop_does_not_wait_for_a_watch_that_hangs(store: Scripted, seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    release, ended = threading.Event(), threading.Event()

    def hangs(*_: object) -> Iterator[WatchEvent]:
        release.wait(30)
        ended.set()
        yield from ()

    monkeypatch.setattr(store, "watch", hangs)
    cache = DocumentCache(store, (POLICY,), on_change=seen.changed, on_death=seen.died)
    cache.start()
    assert cache.wait_synced(5)
    cache.stop()
    assert not ended.is_set()
    release.set()


def test_reading_is_by_reference(store: Scripted, cache: DocumentCache) -> None:
    store.create(POLICY, policy("vision"))
    cache.start()
    assert cache.wait_synced(5)
    first: Raw | None = cache.get(POLICY, BALANCED)
    assert first is cache.get(POLICY, BALANCED)


def test_only_what_is_wanted_of_a_kind_is_held(tmp_path: Path) -> None:
    """However a document comes: listed, watched or put."""
    store, seen = LocalStore(tmp_path / "store.db"), Seen()

    def bare(document: Raw) -> Raw:
        return {"metadata": document["metadata"]}

    listed = store.create(POLICY, policy("vision"))
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    kinds = (POLICY, VIRTUAL_SERVICE)
    cache = DocumentCache(store, kinds, on_change=seen.changed, on_death=seen.died, keep={POLICY: bare})
    cache.start()
    try:
        assert cache.wait_synced(10)
        assert cache.get(POLICY, BALANCED) == bare(listed)
        assert "spec" in (cache.get(VIRTUAL_SERVICE, Key("vision", "triton")) or {})
        cache.put(POLICY, store.create(POLICY, policy("vision", "mine")))
        assert "spec" not in (cache.get(POLICY, Key("vision", "mine")) or {"spec": ""})
        changed = store.patch(POLICY, BALANCED, ADD_LABEL)
        soon(lambda: cache.get(POLICY, BALANCED) == bare(changed))
    finally:
        cache.stop()
