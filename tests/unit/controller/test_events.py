"""Events: one for each thing that happens, a series for what happens again, none twice after a restart, none lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.store import EVENT, Kind, ObjectStore, Refused, StoreError, Unavailable
from rollout_controller.controller import tell
from rollout_controller.controller.reference import Reference
from rollout_controller.controller.tell import NOTE_BYTES, EventTeller
from rollout_controller.core.plan import Tell
from tests.support.writes import DeadlyStore


class Away(DeadlyStore):
    """A store that fails while `error` is set."""

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, 1_000_000, landed=True)
        self.error: StoreError | None = None

    def create(self, kind: Kind, document: Raw) -> Raw:
        if self.error is not None:
            raise self.error
        return super().create(kind, document)


def about(namespace: str, name: str = "resnet50", uid: str = "u-1") -> Reference:
    return Reference("rollouts.triton.dev/v1alpha1", "TritonRollout", Key(namespace, name), uid)


def drift(**changes: Any) -> Tell:
    given: dict[str, Any] = {
        "code": "Drift",
        "sentence": "Drift: restored.",
        "dedup": "1/0/Drift/50",
        "warning": True,
        "again": True,
    }
    return Tell(**{**given, **changes})


@contextmanager
def teller(store: ObjectStore, outcomes: list[str] | None = None) -> Iterator[EventTeller]:
    """Written when the block is left."""
    deaths: list[BaseException] = []
    told = EventTeller(
        store,
        instance="test",
        clock=lambda: 1_800_000_000.25,
        on_death=lambda _name, error: deaths.append(error),
        on_outcome=(outcomes if outcomes is not None else []).append,
    )
    told.start()
    yield told
    told.stop()
    assert deaths == []


def events(store: ObjectStore, namespace: str) -> list[Raw]:
    return sorted(store.list(EVENT, namespace).items, key=lambda event: str(event["metadata"]["name"]))


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_an_event_is_what_kubernetes_takes(store: ObjectStore, namespace: str) -> None:
    with teller(store) as told:
        told.tell(about(namespace, name="a" * 199 + "-" + "b" * 50), Tell("StepBegun", "é" * 2000, "1/0/StepBegun/"))
    (event,) = events(store, namespace)
    assert event["apiVersion"] == "events.k8s.io/v1"
    assert event["metadata"]["name"].startswith("a" * 199 + ".")
    assert len(event["note"].encode()) <= NOTE_BYTES
    assert event["note"].strip("é") == ""
    assert event["eventTime"] == "2027-01-15T08:00:00.250000Z"
    assert (event["type"], event["reason"], event["action"]) == ("Normal", "StepBegun", "Rollout")
    assert event["reportingController"] == "rollouts.triton.dev/controller"
    assert event["reportingInstance"]
    assert event["regarding"]["uid"] == "u-1"
    assert "series" not in event


def test_what_happens_again_counts_on_in_the_same_event(store: ObjectStore, namespace: str) -> None:
    outcomes: list[str] = []
    with teller(store, outcomes) as told:
        for n in range(7):
            told.tell(about(namespace), drift(sentence=f"Drift: restored, {n}."))
        told.tell(about(namespace), drift(dedup="1/0/Drift/70"))
    counted = [event for event in events(store, namespace) if "series" in event]
    assert len(events(store, namespace)) == 2
    assert [event["series"] for event in counted] == [{"count": 7, "lastObservedTime": "2027-01-15T08:00:00.250000Z"}]
    assert counted[0]["note"] == "Drift: restored, 0.", "the same sentence"
    assert outcomes == ["written", *["counted"] * 6, "written"]


def test_a_series_is_written_now_and_then_and_not_each_time(
    store: ObjectStore, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting(DeadlyStore):
        def patch(self, kind: Kind, key: Key, operations: Any) -> Raw:
            if operations[0]["path"] == "/series":
                patches.append(operations[0]["value"]["count"])
            return super().patch(kind, key, operations)

    patches: list[int] = []
    with teller(Counting(store, 1_000_000, landed=True)) as told:
        for _ in range(500):
            told.tell(about(namespace), drift())
    assert patches == [500]
    monkeypatch.setattr(tell, "SERIES_S", 0.2)
    patches.clear()
    with teller(Counting(store, 1_000_000, landed=True)) as told:
        told.tell(about(namespace), drift())
        until(lambda: patches == [501])
        told.tell(about(namespace), drift())
        until(lambda: patches == [501, 502])
    assert patches == [501, 502]


def test_the_next_controller_counts_on_where_the_last_one_stopped(store: ObjectStore, namespace: str) -> None:
    for count in (2, 4, 6):
        with teller(store) as told:
            told.tell(about(namespace), drift())
            told.tell(about(namespace), drift())
        (event,) = events(store, namespace)
        assert event["series"]["count"] == count


def test_a_series_whose_event_was_cleaned_up_is_made_anew(store: ObjectStore, namespace: str) -> None:
    """Kubernetes keeps events for an hour."""
    with teller(store) as told:
        told.tell(about(namespace), drift())
        until(lambda: bool(events(store, namespace)))
        store.delete(EVENT, Key(namespace, events(store, namespace)[0]["metadata"]["name"]))
        told.tell(about(namespace), drift())
    (event,) = events(store, namespace)
    assert event["series"]["count"] == 2


def test_a_restart_tells_nothing_twice_and_another_rollout_of_the_name_tells_its_own(store: ObjectStore, namespace: str) -> None:
    once = Tell("StepBegun", "10 %.", "1/0/StepBegun/")
    outcomes: list[str] = []
    for _ in range(3):
        with teller(store, outcomes) as told:
            told.tell(about(namespace), once)
    assert outcomes == ["written", "known", "known"]
    with teller(store) as told:
        told.tell(about(namespace, uid="u-2"), once)
    assert len(events(store, namespace)) == 2
    assert not any("series" in event for event in events(store, namespace))


def test_a_store_that_is_away_delays_events_and_loses_none(
    store: ObjectStore, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tell, "LATER_S", 0.1)
    away = Away(store)
    away.error = Unavailable("gone")
    outcomes: list[str] = []
    with teller(away, outcomes) as told:
        for n in range(100):
            told.tell(about(namespace), Tell("StepBegun", f"{n}.", f"{n}"))
        until(lambda: "late" in outcomes)
        away.error = None
        until(lambda: outcomes.count("written") == 100)
    assert len(events(store, namespace)) == 100


def test_what_is_late_has_an_end(store: ObjectStore, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "LATER_S", 0.05)
    monkeypatch.setattr(tell, "GIVE_UP_S", 0.3)
    away = Away(store)
    away.error = Unavailable("gone")
    outcomes: list[str] = []
    with teller(away, outcomes) as told:
        told.tell(about(namespace), Tell("StepBegun", "x.", "x"))
        until(lambda: "failed" in outcomes)


def test_what_is_refused_is_not_tried_again(store: ObjectStore, namespace: str) -> None:
    away = Away(store)
    away.error = Refused("forbidden")
    outcomes: list[str] = []
    with teller(away, outcomes) as told:
        told.tell(about(namespace), Tell("StepBegun", "x.", "x"))
        told.tell(about(namespace), drift())
    assert outcomes == ["failed", "failed"]


def test_a_full_backlog_drops_events_and_waits_for_nobody(
    store: ObjectStore, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tell, "BACKLOG", 5)
    outcomes: list[str] = []
    told = EventTeller(store, instance="t", clock=time.time, on_death=lambda _n, _e: None, on_outcome=outcomes.append)
    for n in range(9):
        told.tell(about(namespace), Tell("StepBegun", "x.", str(n)))
    assert outcomes == ["dropped"] * 4
    told.stop(timeout_s=0.05)
