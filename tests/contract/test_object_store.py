"""What every ObjectStore must do, whatever it is made of."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.store import (
    EVENT,
    POLICY,
    ROLLOUT,
    VIRTUAL_SERVICE,
    AlreadyExists,
    Conflict,
    Expired,
    Kind,
    NotFound,
    ObjectStore,
    Refused,
    SelectingStore,
    WatchEvent,
)
from tests.contract.conftest import Backend
from tests.contract.documents import policy, rollout, told, virtual_service
from tests.support.routes import increment

WEIGHT = "/spec/http/0/route/0/weight"


def edited(document: Raw, **annotations: str) -> Raw:
    """The document with more annotations; it stays as it is."""
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}}


# documents


def test_a_created_document_is_read_back_with_what_the_store_adds(store: ObjectStore, namespace: str) -> None:
    made = store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    read = store.get(VIRTUAL_SERVICE, Key(namespace, "triton"))
    assert read == made
    assert read["spec"] == virtual_service(namespace)["spec"]
    metadata = read["metadata"]
    assert metadata["annotations"] == {"example.com/n": "0"}
    assert metadata["generation"] == 1
    assert metadata["uid"]
    assert metadata["resourceVersion"].isdigit()
    written = time.mktime(time.strptime(metadata["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(time.time() - written) < 60


def test_what_is_handed_out_is_the_callers_own(store: ObjectStore, namespace: str) -> None:
    given = virtual_service(namespace)
    made = store.create(VIRTUAL_SERVICE, given)
    assert given == virtual_service(namespace)
    made["spec"]["http"].clear()
    store.get(VIRTUAL_SERVICE, Key(namespace, "triton"))["spec"].clear()
    assert store.get(VIRTUAL_SERVICE, Key(namespace, "triton"))["spec"] == given["spec"]


def test_a_name_is_taken_once_per_kind_and_namespace(store: ObjectStore, namespace: str) -> None:
    store.create(POLICY, policy(namespace, "one"))
    with pytest.raises(AlreadyExists):
        store.create(POLICY, policy(namespace, "one"))
    store.create(ROLLOUT, rollout(namespace, "one"))
    store.create(POLICY, policy(f"{namespace}-b", "one"))


def test_what_is_not_there_is_not_found(store: ObjectStore, namespace: str) -> None:
    key = Key(namespace, "nothing")
    for call in (
        lambda: store.get(POLICY, key),
        lambda: store.replace(POLICY, policy(namespace, "nothing")),
        lambda: store.patch(POLICY, key, [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]),
        lambda: store.replace_status(ROLLOUT, key, {}, "1"),
        lambda: store.delete(POLICY, key),
    ):
        with pytest.raises(NotFound):
            call()


def test_a_list_holds_one_namespace_or_all(store: ObjectStore, namespace: str) -> None:
    for where in (namespace, f"{namespace}-b"):
        store.create(POLICY, policy(where, "one"))
        store.create(POLICY, policy(where, "two"))
    here = store.list(POLICY, namespace)
    assert [item["metadata"]["name"] for item in here.items] == ["one", "two"]
    everywhere = {(d["metadata"]["namespace"], d["metadata"]["name"]) for d in store.list(POLICY).items}
    assert {(namespace, "one"), (f"{namespace}-b", "two")} <= everywhere
    assert store.list(POLICY, f"{namespace}-c").items == ()


def test_documents_are_picked_by_their_fields(store: SelectingStore, namespace: str) -> None:
    for name, about in (("a", "resnet50"), ("b", "bert"), ("c", "resnet50")):
        store.create(EVENT, told(namespace, name, about))
    picked = store.select(EVENT, namespace, {"regarding.name": "resnet50"})
    assert [found["metadata"]["name"] for found in picked] == ["a", "c"]
    assert [found["metadata"]["name"] for found in store.select(EVENT, namespace, {"metadata.name": "b"})] == ["b"]
    both = {"regarding.name": "resnet50", "metadata.name": "b"}
    assert store.select(EVENT, namespace, both) == store.select(EVENT, f"{namespace}-c", {"regarding.name": "resnet50"}) == ()


def test_a_deleted_document_is_gone_and_its_name_free_for_another(store: ObjectStore, namespace: str) -> None:
    first = store.create(POLICY, policy(namespace))
    store.delete(POLICY, Key(namespace, "balanced"))
    with pytest.raises(NotFound):
        store.get(POLICY, Key(namespace, "balanced"))
    second = store.create(POLICY, policy(namespace))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


# generation and resourceVersion


def test_generation_counts_changes_of_the_spec_only(store: ObjectStore, namespace: str) -> None:
    made = store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    annotated = store.replace(VIRTUAL_SERVICE, edited(made, **{"example.com/n": "1"}))
    assert annotated["metadata"]["generation"] == 1
    moved = store.patch(VIRTUAL_SERVICE, Key(namespace, "triton"), [{"op": "replace", "path": WEIGHT, "value": 90}])
    assert moved["metadata"]["generation"] == 2
    versions = [int(d["metadata"]["resourceVersion"]) for d in (made, annotated, moved)]
    assert versions == sorted(set(versions))
    assert moved["metadata"]["uid"] == made["metadata"]["uid"]
    assert moved["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]


def test_a_write_that_changes_nothing_keeps_the_resource_version(store: ObjectStore, namespace: str) -> None:
    made = store.create(ROLLOUT, rollout(namespace))
    with_status = store.replace_status(
        ROLLOUT, Key(namespace, "resnet50"), {"phase": "Idle"}, made["metadata"]["resourceVersion"]
    )
    version = with_status["metadata"]["resourceVersion"]
    assert store.replace(ROLLOUT, with_status) == with_status
    asked = {"op": "replace", "path": "/metadata/annotations/rollouts.triton.dev~1version", "value": "1"}
    assert store.patch(ROLLOUT, Key(namespace, "resnet50"), [asked]) == with_status
    assert store.replace_status(ROLLOUT, Key(namespace, "resnet50"), {"phase": "Idle"}, version) == with_status


def test_system_metadata_cannot_be_written(store: ObjectStore, namespace: str) -> None:
    made = store.create(POLICY, {**policy(namespace), "metadata": {**policy(namespace)["metadata"], "generation": 77}})
    assert made["metadata"]["generation"] == 1
    forged = {**made["metadata"], "generation": 99, "creationTimestamp": "2001-01-01T00:00:00Z", "labels": {"a": "b"}}
    written = store.replace(POLICY, {**made, "metadata": forged})
    for field in ("uid", "generation", "creationTimestamp"):
        assert written["metadata"][field] == made["metadata"][field]


def test_a_stale_writer_is_told(store: ObjectStore, namespace: str) -> None:
    made = store.create(ROLLOUT, rollout(namespace))
    store.replace(ROLLOUT, edited(made, **{"example.com/n": "1"}))
    version = made["metadata"]["resourceVersion"]
    with pytest.raises(Conflict):
        store.replace(ROLLOUT, edited(made, **{"example.com/n": "2"}))
    with pytest.raises(Conflict):
        store.replace_status(ROLLOUT, Key(namespace, "resnet50"), {"phase": "Idle"}, version)
    with pytest.raises(Conflict):
        store.patch(
            ROLLOUT,
            Key(namespace, "resnet50"),
            [
                {"op": "test", "path": "/metadata/resourceVersion", "value": version},
                {"op": "add", "path": "/metadata/labels", "value": {"a": "b"}},
            ],
        )
    read = store.get(ROLLOUT, Key(namespace, "resnet50"))
    assert read["metadata"]["annotations"]["example.com/n"] == "1"
    assert "labels" not in read["metadata"]


def test_a_writer_that_names_no_resource_version_overwrites(store: ObjectStore, namespace: str) -> None:
    store.create(POLICY, policy(namespace))
    written = store.replace(POLICY, {**policy(namespace), "spec": {**policy(namespace)["spec"], "steps": [{"weight": 100}]}})
    assert written["spec"]["steps"] == [{"weight": 100}]
    assert written["metadata"]["generation"] == 2


def test_a_writer_that_read_a_document_of_the_same_name_before_is_told(store: ObjectStore, namespace: str) -> None:
    old = store.create(POLICY, policy(namespace))
    store.delete(POLICY, Key(namespace, "balanced"))
    store.create(POLICY, policy(namespace))
    metadata = {"name": "balanced", "namespace": namespace, "uid": old["metadata"]["uid"], "labels": {"a": "b"}}
    with pytest.raises(Conflict):
        store.replace(POLICY, {**policy(namespace), "metadata": metadata})


# status


def test_status_is_written_on_its_own(store: ObjectStore, namespace: str) -> None:
    key = Key(namespace, "resnet50")
    made = store.create(ROLLOUT, {**rollout(namespace), "status": {"phase": "Progressing"}})
    assert made.get("status", {}).get("phase") != "Progressing"
    after = store.replace_status(ROLLOUT, key, {"phase": "Idle"}, made["metadata"]["resourceVersion"])
    assert after["status"] == {"phase": "Idle"}
    assert after["metadata"]["generation"] == 1
    assert after["spec"] == made["spec"]
    written = store.replace(ROLLOUT, {**after, "status": {"phase": "Paused"}, "spec": {**after["spec"], "policy": "fast"}})
    assert written["status"] == {"phase": "Idle"}
    assert written["spec"]["policy"] == "fast"
    assert written["metadata"]["generation"] == 2
    patched = store.patch(
        ROLLOUT,
        key,
        [
            {"op": "replace", "path": "/status/phase", "value": "Paused"},
            {"op": "replace", "path": "/spec/policy", "value": "slow"},
        ],
    )
    assert (patched["status"], patched["spec"]["policy"]) == ({"phase": "Idle"}, "slow")


def test_status_is_written_only_on_what_was_read(store: ObjectStore, namespace: str) -> None:
    key = Key(namespace, "resnet50")
    made = store.create(ROLLOUT, rollout(namespace))
    store.replace_status(ROLLOUT, key, {"phase": "Idle"}, made["metadata"]["resourceVersion"])
    with pytest.raises(Conflict):
        store.replace_status(ROLLOUT, key, {"phase": "Paused"}, made["metadata"]["resourceVersion"])


# JSON Patch


def test_a_patch_changes_what_it_names_and_nothing_else(store: ObjectStore, namespace: str) -> None:
    made = store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    patched = store.patch(
        VIRTUAL_SERVICE,
        Key(namespace, "triton"),
        [
            {"op": "test", "path": "/spec/http/0/name", "value": "resnet50"},
            {"op": "test", "path": WEIGHT, "value": 100},
            {"op": "replace", "path": WEIGHT, "value": 90},
            {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": 10},
            {"op": "add", "path": "/metadata/annotations/rollouts.triton.dev~1mark", "value": "{}"},
        ],
    )
    assert patched["spec"] == virtual_service(namespace, blue=90, green=10)["spec"]
    assert patched["metadata"]["annotations"] == {"example.com/n": "0", "rollouts.triton.dev/mark": "{}"}
    assert patched["metadata"]["uid"] == made["metadata"]["uid"]


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        ([{"op": "test", "path": WEIGHT, "value": 99}], Conflict),
        ([{"op": "test", "path": "/metadata/annotations/nobody", "value": "x"}], Conflict),
        ([{"op": "test", "path": "/spec/http/7/name", "value": "x"}], Conflict),
        ([{"op": "replace", "path": "/spec/http/7/name", "value": "x"}], Refused),
        ([{"op": "remove", "path": "/metadata/annotations/nobody"}], Refused),
        ([{"op": "add", "path": "/metadata/nothing/here", "value": "x"}], Refused),
        ([{"op": "explode", "path": "/spec"}], Refused),
        ([{"op": "replace", "path": "spec", "value": {}}], Refused),
        ([{"op": "replace", "path": "/metadata/name", "value": "other"}], Refused),
        ([{"op": "replace", "path": "/kind", "value": "Other"}], Refused),
        ([{"op": "add", "path": "/metadata/annotations/n", "value": 1}], Refused),
        ([{"op": "remove", "path": "/metadata"}], Refused),
    ],
)
def test_a_patch_is_done_whole_or_not_at_all(
    store: ObjectStore, namespace: str, operations: list[dict[str, Any]], error: type[Exception]
) -> None:
    made = store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    first = {"op": "replace", "path": WEIGHT, "value": 1}
    for attempt in ([first, *operations] if error is Refused else [*operations, first],):
        with pytest.raises(error):
            store.patch(VIRTUAL_SERVICE, Key(namespace, "triton"), attempt)
    assert store.get(VIRTUAL_SERVICE, Key(namespace, "triton")) == made


# watch


def drain(
    store: ObjectStore, kind: Kind, namespace: str, since: str, *, enough: int | Callable[[WatchEvent], bool], seconds: float = 10
) -> list[WatchEvent]:
    """The first `enough` changes (bookmarks left out), or up to the one that is enough."""
    seen: list[WatchEvent] = []
    for event in store.watch(kind, namespace, since, seconds):
        if event.type == "BOOKMARK":
            continue
        seen.append(event)
        if len(seen) == enough if isinstance(enough, int) else enough(event):
            break
    return seen


def test_a_watch_sees_each_change_after_a_list_once_and_in_order(store: ObjectStore, namespace: str) -> None:
    store.create(POLICY, policy(namespace, "before"))
    since = store.list(POLICY, namespace).resource_version
    made = store.create(POLICY, policy(namespace, "one"))
    changed = store.replace(POLICY, edited(made, **{"example.com/n": "1"}))
    store.create(ROLLOUT, rollout(namespace))  # another kind
    store.create(POLICY, policy(f"{namespace}-b", "two"))  # another namespace
    store.delete(POLICY, Key(namespace, "one"))
    store.create(POLICY, policy(namespace, "three"))
    seen = drain(store, POLICY, namespace, since, enough=4)
    assert [(event.type, event.document["metadata"]["name"]) for event in seen] == [
        ("ADDED", "one"),
        ("MODIFIED", "one"),
        ("DELETED", "one"),
        ("ADDED", "three"),
    ]
    assert [event.document for event in seen[:2]] == [made, changed]
    versions = [int(event.resource_version) for event in seen]
    assert versions == sorted(set(versions))
    assert [event.document["metadata"]["resourceVersion"] for event in seen] == [event.resource_version for event in seen]
    assert drain(store, POLICY, namespace, seen[1].resource_version, enough=2) == seen[2:]


def test_no_change_is_lost_between_list_and_watch_while_others_write(backend: Backend, namespace: str) -> None:
    names = [f"p{index:02}" for index in range(40)]

    def write() -> None:
        store = backend.connect()
        for name in names:
            store.create(POLICY, policy(namespace, name))

    writer = threading.Thread(target=write)
    writer.start()
    listing = backend.store.list(POLICY, namespace)
    seen = [item["metadata"]["name"] for item in listing.items]
    if len(seen) < len(names):
        events = drain(backend.store, POLICY, namespace, listing.resource_version, enough=len(names) - len(seen))
        seen += [event.document["metadata"]["name"] for event in events]
    writer.join()
    assert seen == names


def test_a_watch_sees_a_change_by_another_client_soon(backend: Backend, namespace: str) -> None:
    since = backend.store.list(POLICY, namespace).resource_version
    other = backend.connect()

    def write() -> None:
        time.sleep(0.3)
        other.create(POLICY, policy(namespace))

    writer = threading.Thread(target=write)
    writer.start()
    ended: list[str] = []
    for event in backend.store.watch(POLICY, namespace, since, 60):
        ended.append(event.type)
        if event.type != "BOOKMARK":
            break
    writer.join()
    assert ended[-1:] == ["ADDED"]


def test_a_watch_ends_by_its_time_and_says_how_far_it_saw(store: ObjectStore, namespace: str) -> None:
    since = store.list(POLICY, namespace).resource_version
    store.create(ROLLOUT, rollout(namespace))
    began = time.monotonic()
    events = list(store.watch(POLICY, namespace, since, 1))
    assert time.monotonic() - began > 0.5
    assert {event.type for event in events} <= {"BOOKMARK"}
    if events:
        assert int(events[-1].resource_version) > int(since)
        assert drain(store, POLICY, namespace, events[-1].resource_version, enough=1, seconds=1) == []


def test_a_watch_from_too_long_ago_has_expired(backend: Backend, namespace: str) -> None:
    since = backend.store.list(POLICY, namespace).resource_version
    backend.forget()
    with pytest.raises(Expired):
        drain(backend.store, POLICY, namespace, since, enough=1)


# many at once


def test_no_increment_is_lost_between_two_threads(backend: Backend, namespace: str) -> None:
    backend.store.create(VIRTUAL_SERVICE, virtual_service(namespace))
    key = Key(namespace, "triton")
    threads = [threading.Thread(target=increment, args=(store, key, 25)) for store in (backend.store, backend.connect())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert backend.store.get(VIRTUAL_SERVICE, key)["metadata"]["annotations"]["example.com/n"] == "50"


def test_of_many_writers_of_one_state_one_wins(backend: Backend, namespace: str) -> None:
    made = backend.store.create(POLICY, policy(namespace))
    won: list[int] = []

    def write(number: int) -> None:
        try:
            backend.store.replace(POLICY, edited(made, **{"example.com/n": str(number)}))
        except Conflict:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert backend.store.get(POLICY, Key(namespace, "balanced"))["metadata"]["annotations"]["example.com/n"] == str(won[0])


# strange documents


@pytest.mark.parametrize("name", ["", "a b", "Upper", "../../etc/passwd", "ünïcode", "-a", "a\n", "a" * 254, None, 7, {"a": 1}])
def test_hostile_names_are_refused(store: ObjectStore, namespace: str, name: Any) -> None:
    document = policy(namespace)
    document["metadata"]["name"] = name
    with pytest.raises(Refused):
        store.create(POLICY, document)
    assert store.list(POLICY, namespace).items == ()


@pytest.mark.parametrize(
    "broken",
    [
        {"metadata": None},
        {"metadata": {"name": "a", "annotations": {"a": 1}}},
        {"metadata": {"name": "a", "annotations": ["a"]}},
        {"metadata": {"name": "a", "annotations": {"not a key": "1"}}},
        {"metadata": {"name": "a", "labels": {"a": "not a label"}}},
        {"kind": "Other"},
        {"apiVersion": "v2"},
    ],
)
def test_documents_that_are_none_are_refused(store: ObjectStore, namespace: str, broken: Raw) -> None:
    document = policy(namespace) | broken
    if isinstance(document["metadata"], dict):
        document["metadata"]["namespace"] = namespace
    with pytest.raises(Refused):
        store.create(POLICY, document)


def test_any_text_survives_in_an_annotation(store: ObjectStore, namespace: str) -> None:
    text = "Grüße, 世界 🚀 \u202e \x00 \x1b[31m \\ \" ' {{ }} $(rm) \r\n\t '; DROP TABLE documents; --"
    store.create(POLICY, edited(policy(namespace), **{"example.com/text": text}))
    assert store.get(POLICY, Key(namespace, "balanced"))["metadata"]["annotations"]["example.com/text"] == text


@pytest.mark.parametrize("text", ["Grüße 世界 🚀", "p95 < 100 ms & more", "\u2028", "\x00\x1b\b\f\x7f", '\\" \\u003c', ""])
def test_any_text_can_be_tested_by_a_patch(store: ObjectStore, namespace: str, text: str) -> None:
    store.create(POLICY, edited(policy(namespace), **{"example.com/text": text}))
    path = "/metadata/annotations/example.com~1text"
    for tested, error in ((text + "x", Conflict), (text, None), (text, Conflict)):
        operations = [{"op": "test", "path": path, "value": tested}, {"op": "replace", "path": path, "value": "another"}]
        if error is None:
            store.patch(POLICY, Key(namespace, "balanced"), operations)
        else:
            with pytest.raises(error):
                store.patch(POLICY, Key(namespace, "balanced"), operations)


def test_a_big_annotation_is_kept_and_a_huge_one_refused(store: ObjectStore, namespace: str) -> None:
    key = Key(namespace, "balanced")
    big = "x" * 200 * 1024
    made = store.create(POLICY, edited(policy(namespace), **{"example.com/big": big}))
    assert store.get(POLICY, key)["metadata"]["annotations"]["example.com/big"] == big
    with pytest.raises(Refused):
        store.replace(POLICY, edited(made, **{"example.com/big": "x" * 1024 * 1024}))
    assert store.get(POLICY, key) == made


def test_a_thousand_routes_fit_and_a_document_too_big_is_refused(store: ObjectStore, namespace: str) -> None:
    document = virtual_service(namespace)
    document["spec"]["http"] = [{**document["spec"]["http"][0], "name": f"r{index}"} for index in range(1000)]
    made = store.create(VIRTUAL_SERVICE, document)
    assert len(store.get(VIRTUAL_SERVICE, Key(namespace, "triton"))["spec"]["http"]) == 1000
    longer = [{**route, "name": f"{index}-" + "x" * 4000} for index, route in enumerate(made["spec"]["http"])]
    with pytest.raises(Refused):
        store.replace(VIRTUAL_SERVICE, {**made, "spec": {**made["spec"], "http": longer}})
    assert store.get(VIRTUAL_SERVICE, Key(namespace, "triton")) == made
