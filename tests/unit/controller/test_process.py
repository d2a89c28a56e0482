"""The process: a follower is ready and writes nothing, a leader acts, and whoever has lost the lease ends, whatever hangs."""

from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key, Raw
from rollout_controller.cluster.fence import Fence
from rollout_controller.cluster.lease import Candidate, Timing, claimed
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import EVENT, LEASE, POLICY, ROLLOUT, VIRTUAL_SERVICE, Kind, Listing, PatchOp, Refused
from rollout_controller.controller.config import MetricsConfig, PrometheusConfig
from rollout_controller.controller.process import Controller, Seat, Settings, Stores
from rollout_controller.controller.tritons import by_name
from tests.contract.documents import policy, rollout, virtual_service
from tests.support.watching import soon

SEAT = Seat(Key("vision", "controller"), Timing())
ROUTE = Key("vision", "triton")
NOWHERE = by_name({})


class Told(LocalStore):
    """A real store that remembers who patched a route in it, and holds such patches, or refuses lists, while it is told to."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.patched = 0
        self.hang: threading.Event | None = None
        self.refused: set[Kind] = set()
        self.at_status: Callable[[], None] | None = None

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        if self.at_status is not None:
            self.at_status()
        return super().replace_status(kind, key, status, resource_version)

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        self.patched += kind is VIRTUAL_SERVICE
        if self.hang is not None:
            self.hang.wait(30)
        return super().patch(kind, key, operations)

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        if kind in self.refused:
            raise Refused(f"list {kind.plural}: HTTP 403 Forbidden")
        return super().list(kind, namespace)


class Run:
    """One controller in a thread of this process."""

    def __init__(
        self, path: Path, name: str, *, refused: set[Kind] | None = None, seat: Seat | None = SEAT, waits: bool = False
    ) -> None:
        self.store = Told(path)
        self.store.refused = refused or set()
        settings = Settings(
            prometheus=PrometheusConfig(url="http://127.0.0.1:9", window="1s"),
            tritons=NOWHERE,
            metrics=MetricsConfig(),
            identity=name,
            workers=1,
        )
        self.left: list[int] = []
        stores = Stores(self.store, self.store, self.store)
        self.controller = Controller(stores, settings, Fence(1.0), seat, leave=self.left.append)
        self.codes: list[int] = []
        self.thread = threading.Thread(target=lambda: self.codes.append(self.controller.run()), daemon=True)
        if not waits:
            self.thread.start()

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.controller.health.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def leads(self) -> bool:
        return "rollout_controller_leader 1.0" in self.get("/metrics")[1]

    def end(self) -> int:
        self.controller.stop()
        return self.code()

    def close(self) -> None:
        """Nothing of it goes on in this process, also where its own process would have been ended from within."""
        if not self.codes:
            self.end()
        elif self.left:
            self.controller._end()
        self.store.close()

    def code(self) -> int:
        self.thread.join(30)
        assert self.codes, "it does not end"
        return self.codes[0]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    """Starts controllers on one file with a rollout at rest, and a Lease that nobody holds."""
    admin = LocalStore(tmp_path / "store.db")
    resting = rollout("vision")
    del resting["metadata"]["annotations"]
    for kind, document in ((POLICY, policy("vision")), (VIRTUAL_SERVICE, virtual_service("vision")), (ROLLOUT, resting)):
        admin.create(kind, document)
    admin.create(LEASE, {**claimed(None, SEAT.key, Candidate("x"), 0.0), "spec": {}})
    admin.close()
    runs: list[Run] = []

    def make(name: str, **options: Any) -> Run:
        runs.append(Run(tmp_path / "store.db", name, **options))
        return runs[-1]

    yield make
    for run in runs:
        run.close()


def drift(run: Run) -> None:
    """Weights by hand, once a leader knows which slot is stable: before, nobody could say what is right."""
    resting = Key("vision", "resnet50")
    soon(lambda: "stableSlot" in (run.store.get(ROLLOUT, resting).get("status") or {}))
    set_weights(run, 50)


def set_weights(run: Run, weight: int) -> None:
    document = run.store.get(VIRTUAL_SERVICE, ROUTE)
    for share in document["spec"]["http"][0]["route"]:
        share["weight"] = weight
    run.store.replace(VIRTUAL_SERVICE, document)


def weights(run: Run) -> list[int]:
    return weights_of(run.store.get(VIRTUAL_SERVICE, ROUTE))


def weights_of(route: Raw) -> list[int]:
    return [share["weight"] for share in route["spec"]["http"][0]["route"]]


def test_the_leader_acts_and_the_follower_is_ready(start: Callable[..., Run]) -> None:
    first = start("first")
    soon(first.leads)
    second = start("second")
    soon(lambda: second.get("/readyz")[0] == 200, otherwise=lambda: second.get("/readyz")[1])
    drift(first)
    soon(lambda: weights(first) == [100, 0])
    assert first.store.patched >= 1
    assert not second.leads()
    assert second.store.patched == 0
    assert second.get("/healthz")[0] == 200
    assert first.end() == 0
    assert first.left == []
    soon(second.leads)
    drift(second)
    soon(lambda: weights(second) == [100, 0])


def test_a_route_that_changes_during_the_first_turn_is_seen_at_once(start: Callable[..., Run]) -> None:
    """Before, nothing knew yet that the rollout hangs on it, and it was seen when every rollout is looked at: here after 28 s."""
    run = start("first", waits=True)

    def by_hand() -> None:
        run.store.at_status = None
        set_weights(run, 50)
        soon(lambda: weights_of(run.controller.documents.get(VIRTUAL_SERVICE, ROUTE) or {}) == [50, 50])

    run.store.at_status = by_hand
    run.thread.start()
    soon(lambda: run.store.patched == 1, 15)
    soon(lambda: weights(run) == [100, 0])


def test_a_policy_that_went_is_not_kept(start: Callable[..., Run]) -> None:
    run = start("first")
    soon(lambda: "stableSlot" in (run.store.get(ROLLOUT, Key("vision", "resnet50")).get("status") or {}))
    held = run.controller.observer._policies
    assert set(held) == {Key("vision", "balanced")}
    run.store.delete(ROLLOUT, Key("vision", "resnet50"))
    run.store.delete(POLICY, Key("vision", "balanced"))
    soon(lambda: not held)


def test_a_follower_that_is_asked_to_end_leaves_the_lease_alone(start: Callable[..., Run]) -> None:
    first = start("first")
    soon(first.leads)
    second = start("second")
    soon(lambda: second.get("/readyz")[0] == 200)
    assert second.end() == 0
    assert first.store.get(LEASE, SEAT.key)["spec"]["holderIdentity"] == "first"


def test_who_has_lost_the_lease_ends_whatever_hangs(start: Callable[..., Run]) -> None:
    run = start("first")
    soon(run.leads)
    run.store.hang = threading.Event()
    patched = run.store.patched
    drift(run)
    soon(lambda: run.store.patched > patched)  # a worker hangs in a write
    lease = run.store.get(LEASE, SEAT.key)
    lease["spec"]["holderIdentity"] = "another"
    del lease["metadata"]["resourceVersion"]
    run.store.replace(LEASE, lease)
    assert run.code() == 1
    soon(lambda: run.left == [1])  # for the hung worker's sake the process is ended from within
    run.store.hang.set()
    assert run.store.get(LEASE, SEAT.key)["spec"]["holderIdentity"] == "another"


def test_a_lease_is_not_given_back_while_a_write_hangs(start: Callable[..., Run]) -> None:
    run = start("first")
    soon(run.leads)
    run.store.hang = threading.Event()
    patched = run.store.patched
    drift(run)
    soon(lambda: run.store.patched > patched)
    assert run.end() == 0
    assert run.store.get(LEASE, SEAT.key)["spec"]["holderIdentity"] == "first"
    run.store.hang.set()


def test_a_loop_that_dies_ends_the_process_and_gives_the_lease_back(start: Callable[..., Run]) -> None:
    run = start("first")
    soon(run.leads)
    run.controller.die("test", RuntimeError("told to"))
    assert run.code() == 1
    assert run.store.get(LEASE, SEAT.key)["spec"]["holderIdentity"] == ""


def test_kinds_that_may_not_be_read_are_said_and_mended(start: Callable[..., Run]) -> None:
    run = start("first", refused={VIRTUAL_SERVICE})
    soon(lambda: "list virtualservices: HTTP 403 Forbidden" in run.get("/readyz")[1])
    assert run.get("/readyz")[0] == 503
    assert run.get("/healthz")[0] == 200

    def condition() -> str:
        status = run.store.get(ROLLOUT, Key("vision", "resnet50")).get("status") or {}
        return str((status.get("reason") or {}).get("sentence"))

    soon(lambda: "HTTP 403 Forbidden" in condition(), otherwise=condition)
    run.store.refused = set()
    soon(lambda: run.get("/readyz")[0] == 200)
    soon(lambda: run.store.get(ROLLOUT, Key("vision", "resnet50"))["status"]["phase"] == "Idle", 90, condition)


def test_without_a_lease_it_leads_at_once(start: Callable[..., Run]) -> None:
    run = start("only", seat=None)
    soon(run.leads)
    drift(run)
    soon(lambda: weights(run) == [100, 0])
    assert run.end() == 0
    assert run.store.list(EVENT).items


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        store = LocalStore(tmp_path / "store.db")
        config = PrometheusConfig(url="http://127.0.0.1:9")
        settings = Settings(prometheus=config, tritons=NOWHERE, metrics=MetricsConfig(port=port), identity="x", workers=1)
        with pytest.raises(InvalidDocument, match=f"metrics: 127.0.0.1 port {port} cannot be listened on"):
            Controller(Stores(store, store, store), settings, Fence(1.0), None)
        store.close()
