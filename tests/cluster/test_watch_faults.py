"""What goes wrong between controller and API server: the cache is right again after it, and says meanwhile that it is not."""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster import cache as cache_module
from rollout_controller.cluster import kubernetes_watch
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import VIRTUAL_SERVICE, Expired, Kind, StoreError
from rollout_controller.controller.retry import Retry
from rollout_controller.lab.kube import Kube
from tests.contract.documents import virtual_service
from tests.support.fault_server import FaultServer, Reply, fault_server, kubeconfig
from tests.support.tcp_proxy import Mode, TcpProxy
from tests.support.watching import Watched, soon, watched

OUTAGE_S = 10
MOST_CONNECTIONS = 30
"""In OUTAGE_S, of one watch that is refused: with waits that double from 0.1 s to 10 s about 8 are made."""


class Place:
    """A namespace on a real API server: written directly, watched through a proxy."""

    def __init__(self, kube: Kube, proxy: TcpProxy, namespace: str, tmp_path: Path) -> None:
        self.kube, self.proxy, self.namespace = kube, proxy, namespace
        config = json.loads(kube.admin.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        (tmp_path / "through-proxy.json").write_text(json.dumps(config))
        self.transports = [OfficialTransport(kube.admin), OfficialTransport(tmp_path / "through-proxy.json")]
        self.direct, self.through = KubernetesStore(self.transports[0]), KubernetesStore(self.transports[1], timeout_s=4)

    def truth(self) -> dict[str, Raw]:
        retry = Retry(attempts=100, within_s=30)  # an API server that has just started is not quite there
        listing = retry("list", lambda: self.direct.list(VIRTUAL_SERVICE, self.namespace))
        return {item["metadata"]["name"]: item for item in listing.items}

    def write(self, *names: str) -> None:
        """Makes them, or changes them where they are."""
        for name in names:
            if name in self.truth():
                value = secrets.token_hex(4)
                mark = [{"op": "add", "path": "/metadata/annotations/n", "value": value}]
                self.direct.patch(VIRTUAL_SERVICE, Key(self.namespace, name), mark)
            else:
                self.direct.create(VIRTUAL_SERVICE, virtual_service(self.namespace, name))

    def how_a_watch_ends(self, since: str) -> type[StoreError] | None:
        try:
            next(self.direct.watch(VIRTUAL_SERVICE, self.namespace, since, 1), None)
        except StoreError as error:
            return type(error)
        return None

    def delete(self, name: str) -> None:
        self.direct.delete(VIRTUAL_SERVICE, Key(self.namespace, name))


@pytest.fixture
def place(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Place]:
    proxy = TcpProxy("127.0.0.1", urlsplit(kube.url).port or 443, slow_bytes_s=200)
    place = Place(kube, proxy, namespace, tmp_path)
    yield place
    for transport in place.transports:
        transport.close()
    proxy.close()


@pytest.fixture
def seen(place: Place) -> Iterator[Watched]:
    """Holds `stays` and `goes` already."""
    place.write("stays", "goes")
    with watched(place.through, VIRTUAL_SERVICE, place.namespace) as seen:
        seen.holds(place.truth)
        yield seen


@pytest.fixture
def short_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute takes seconds: the way is the same."""
    monkeypatch.setattr(kubernetes_watch, "LONGEST_S", 2.0)
    monkeypatch.setattr(kubernetes_watch, "GRACE_S", 1.0)
    monkeypatch.setattr(kubernetes_watch, "CONNECT_S", 1.0)


def test_a_dead_connection_is_noticed_within_45_seconds() -> None:
    assert kubernetes_watch.LONGEST_S + kubernetes_watch.GRACE_S <= 45


@pytest.mark.cluster
@pytest.mark.parametrize("name", ["new", "stays", "goes"])
def test_cut_connections_lose_no_change(place: Place, seen: Watched, name: str) -> None:
    for _ in range(5):
        place.proxy.cut()
        place.write(name)
    place.delete("goes")
    seen.holds(place.truth)
    place.write("after")
    seen.holds(place.truth)


@pytest.mark.cluster
def test_changes_while_connections_are_cut_again_and_again(place: Place, seen: Watched) -> None:
    for round_ in range(20):
        place.write("stays", f"new-{round_}")
        if round_ % 3 == 0:
            place.proxy.cut()
        if round_ % 4 == 3:
            place.delete(f"new-{round_ - 1}")
    seen.holds(place.truth)
    assert len(seen.documents) == 17


@pytest.mark.cluster
@pytest.mark.usefixtures("short_watches")
@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("swallow", "does not take connections in time|did not answer in time"),
        ("slow", "does not take connections in time|did not answer in time"),
        ("refuse", "cannot be reached"),
        ("reset", "cut its answer|cannot be reached|cut the connection"),
    ],
)
def test_an_outage_is_told_while_it_lasts_and_over_when_it_is(place: Place, seen: Watched, mode: Mode, said: str) -> None:
    place.proxy.set(mode)
    place.write("stays", "new")
    place.delete("goes")
    soon(lambda: re.search(said, seen.problem) is not None, 30, lambda: seen.problem)
    assert f"https://127.0.0.1:{place.proxy.port}" in seen.problem
    assert set(seen.documents) == {"stays", "goes"}, "what was known is kept"
    soon(lambda: seen.age > 4)
    place.proxy.set("pass")
    seen.holds(place.truth)
    soon(lambda: seen.age < 4)


@pytest.mark.cluster
@pytest.mark.usefixtures("short_watches")
def test_a_connection_that_dies_in_silence_is_noticed(place: Place, seen: Watched) -> None:
    place.proxy.set("swallow")  # what is open now stays dead ...
    place.write("stays")
    time.sleep(0.3)
    place.proxy.set("pass")  # ... and new connections work, as after a NAT has forgotten the old ones
    place.write("new")
    place.delete("goes")
    seen.holds(place.truth)


@pytest.mark.cluster
@pytest.mark.usefixtures("short_watches")
def test_an_api_server_that_hangs_is_noticed(place: Place, seen: Watched) -> None:
    place.kube.freeze_apiserver()
    try:
        soon(lambda: "in time" in seen.problem, 30, lambda: seen.problem)
    finally:
        place.kube.thaw_apiserver()
        place.kube.wait_ready()
    place.write("stays", "new")
    seen.holds(place.truth)


@pytest.mark.cluster
def test_an_outage_is_not_answered_with_a_storm(place: Place, seen: Watched) -> None:
    place.proxy.set("reset")
    before = place.proxy.accepted
    time.sleep(OUTAGE_S)
    made = place.proxy.accepted - before
    assert 2 <= made <= MOST_CONNECTIONS
    place.proxy.set("pass")
    place.write("new")
    seen.holds(place.truth)


@pytest.mark.cluster
def test_an_api_server_that_dies_and_comes_back(place: Place, seen: Watched) -> None:
    place.kube.kill_apiserver()
    soon(lambda: seen.problem != "")
    place.kube.start_apiserver()
    place.write("stays", "new")
    place.delete("goes")
    seen.holds(place.truth)


@pytest.mark.cluster
def test_after_compaction_everything_is_read_again(place: Place, seen: Watched) -> None:
    place.proxy.set("refuse")
    known = place.direct.list(VIRTUAL_SERVICE, place.namespace).resource_version
    place.write("stays", "new")
    place.delete("goes")
    place.kube.compact()
    place.write("stays")
    soon(lambda: place.how_a_watch_ends(known) is Expired)  # first of all it says that it is not ready
    place.proxy.set("pass")
    seen.holds(place.truth)


@pytest.mark.cluster
def test_a_document_made_anew_under_the_same_name_is_another_one(place: Place, seen: Watched) -> None:
    old = seen.documents["goes"]["metadata"]["uid"]
    place.proxy.set("refuse")
    place.delete("goes")
    place.write("goes")
    place.proxy.set("pass")
    soon(lambda: seen.documents["goes"]["metadata"]["uid"] != old)
    seen.holds(place.truth)


@pytest.mark.cluster
@pytest.mark.usefixtures("short_watches")
def test_a_quiet_watch_shows_that_it_is_alive(place: Place, seen: Watched) -> None:
    soon(lambda: seen.age > 1)
    soon(lambda: seen.age < 1)
    assert seen.problem == ""


@pytest.mark.cluster
def test_stop_ends_a_watch_that_is_under_way(place: Place, seen: Watched) -> None:
    soon(lambda: place.proxy.open > 0)
    seen.cache.stop()
    soon(lambda: place.proxy.open == 0, 60)


# what a real API server cannot be made to say


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """Its watches are short ones."""
    monkeypatch.setattr(cache_module, "WATCH_S", 0.4)
    with fault_server() as server:
        yield server


def listing(version: str, *names: str, kind: Kind = VIRTUAL_SERVICE) -> Reply:
    items = [virtual_service("vision", name) for name in names]
    for item in items:
        item["metadata"] |= {"resourceVersion": version, "uid": f"{item['metadata']['name']}-{version}"}
    body = {"apiVersion": kind.api_version, "kind": f"{kind.name}List", "metadata": {"resourceVersion": version}, "items": items}
    return Reply(200, json.dumps(body).encode())


def store_on(server: FaultServer, tmp_path: Path) -> KubernetesStore:
    return KubernetesStore(OfficialTransport(kubeconfig(tmp_path / "config", server.url)), timeout_s=2)


QUIET = Reply(200, [b""] * 3, pause_s=0.1)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(500, b'{"kind": "Status", "code": 500, "reason": "InternalError", "message": "panic"}'), "InternalError, 'panic'"),
        (Reply(503, b"<html>no healthy upstream</html>", content_type="text/html"), "no healthy upstream"),
        (Reply(200, b"<html>please log in</html>", content_type="text/html"), "no JSON object.*please log in"),
        (Reply(200, b"\x00\xff\x1b[2J" * 9), "no JSON object"),
        (Reply(200, b'{"items": 7, "metadata": {}}'), "no list"),
        (Reply(200, b'{"items": [7], "metadata": {"resourceVersion": "1"}}'), "no VirtualService"),
        (Reply(200, b'{"items": [], "metadata": {"resourceVersion": "x"}}'), "not a number"),
    ],
)
def test_strange_answers_are_told_and_survived(server: FaultServer, tmp_path: Path, reply: Reply, said: str) -> None:
    server.replies = [reply]
    with watched(store_on(server, tmp_path), VIRTUAL_SERVICE, None) as seen:
        soon(lambda: re.search(said, seen.problem) is not None, 10, lambda: seen.problem)
        assert "\x1b" not in seen.problem
        server.replies = [listing("5", "one"), reply, QUIET]
        soon(lambda: set(seen.documents) == {"one"})
        soon(lambda: seen.problem == "", 30, lambda: seen.problem)
        assert seen.deaths == []


def test_a_server_that_asks_for_a_pause_gets_it(server: FaultServer, tmp_path: Path) -> None:
    server.replies = [Reply(429, b"too many requests", {"Retry-After": "2"}), listing("5", "one"), QUIET]
    with watched(store_on(server, tmp_path), VIRTUAL_SERVICE, None) as seen:
        soon(lambda: set(seen.documents) == {"one"})
        assert server.seen[1][0] - server.seen[0][0] >= 2


def test_a_database_restored_from_a_backup_is_believed(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "RELIST_S", 0.0)
    server.replies = [listing("90", "newest", "both"), QUIET, listing("50", "both", "old"), QUIET]
    with watched(store_on(server, tmp_path), VIRTUAL_SERVICE, None) as seen:
        soon(lambda: set(seen.documents) == {"newest", "both"})
        soon(lambda: set(seen.documents) == {"both", "old"})
        assert seen.documents["both"]["metadata"]["uid"] == "both-50"
