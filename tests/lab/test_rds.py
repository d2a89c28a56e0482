"""The route file on a real Envoy: requests follow the weights of the VirtualService in the store."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.rds import RdsProjection
from rollout_controller.cluster.store import VIRTUAL_SERVICE
from rollout_controller.lab.envoy import ROUTE_CONFIG, envoy_server, rds_path
from rollout_controller.lab.parts import find_envoy
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.processes import start, stop, wait_ready
from tests.unit.test_mesh import document, to
from tests.unit.test_mesh import http as http_route

pytestmark = pytest.mark.lab

KEY = Key("vision", "triton")


class Upstream(BaseHTTPRequestHandler):
    """Says who it is and which path it was asked for."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    name = ""

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            time.sleep(1)
        body = f"{self.name} {self.path}".encode()
        self.send_response(500 if self.path.startswith("/broken") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # Envoy gave up waiting
            self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *args: Any) -> None:
        pass


@dataclass
class Mesh:
    """A store whose VirtualServices move the traffic of an Envoy in front of two servers."""

    store: LocalStore
    rds: Path
    connection: http.client.HTTPConnection
    admin: http.client.HTTPConnection

    def ask(self, path: str = "/", method: str = "GET", host: str = "triton.example.com:8080", **headers: str) -> tuple[int, str]:
        """Status, and who answered with what it was asked for."""
        self.connection.request(method, path, headers={"Host": host, **headers})
        answer = self.connection.getresponse()
        return answer.status, answer.read().decode()

    def count(self, requests: int) -> Counter[str]:
        """Who answered how many of so many requests."""
        return Counter(self.ask()[1].split()[0] for _ in range(requests))

    def stat(self, name: str) -> int:
        self.admin.request("GET", f"/stats?format=json&filter=^http.ingress.rds.{ROUTE_CONFIG}.{name}$")
        stats = json.loads(self.admin.getresponse().read())["stats"]
        return int(stats[0]["value"]) if stats else 0

    def routes(self, *routes: Raw, settle: bool = True) -> None:
        """Puts these http routes into the store and waits until Envoy has taken them or said no."""
        before = self.stat("update_attempt")
        made = document(*routes)
        del made["metadata"]["resourceVersion"]
        self.store.replace(VIRTUAL_SERVICE, made)
        ends = time.monotonic() + 5
        while settle and self.stat("update_attempt") == before and time.monotonic() < ends:
            time.sleep(0.005)

    def weights(self, blue: int, green: int, *, settle: bool = True) -> None:
        self.routes(http_route(to("triton-blue", blue), to("triton-green", green), timeout="5s"), settle=settle)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    home = tmp_path_factory.mktemp("rds")
    servers = {}
    for name in ("triton-blue", "triton-green"):
        handler = type("Named", (Upstream,), {"name": name})
        servers[name] = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers[name].daemon_threads = True
        threading.Thread(target=servers[name].serve_forever, daemon=True).start()
    store = LocalStore(home / "store.db", projections=[RdsProjection(rds_path(home), name=ROUTE_CONFIG)])
    made = document(http_route(to("triton-blue", 100), to("triton-green", 0)))
    del made["metadata"]["resourceVersion"]
    store.create(VIRTUAL_SERVICE, made)
    port, admin_port = free_ports(2)
    ports = {name: server.server_port for name, server in servers.items()}
    running = start(envoy_server(find_envoy(), home, port=port, admin_port=admin_port, slots=ports), home, tethered=True)
    wait_ready([running], 20)
    connections = [http.client.HTTPConnection("127.0.0.1", p, timeout=10) for p in (port, admin_port)]
    yield Mesh(store, rds_path(home), *connections)
    stop([running], home)
    store.close()
    for connection in connections:
        connection.close()
    for server in servers.values():
        server.shutdown()
        server.server_close()


def test_requests_follow_the_weights(mesh: Mesh) -> None:
    mesh.weights(100, 0)
    assert mesh.count(200) == {"triton-blue": 200}
    mesh.weights(75, 25)
    answered = mesh.count(2000)
    assert answered.total() == 2000
    assert 400 < answered["triton-green"] < 600  # 25 % +- 5 sigma
    mesh.weights(2, 1)
    assert 550 < mesh.count(2000)["triton-green"] < 785
    mesh.weights(0, 100)
    assert mesh.count(200) == {"triton-green": 200}


def test_a_write_to_the_store_is_live_at_once_and_the_old_weights_never_come_back(mesh: Mesh) -> None:
    took = []
    for turn in range(20):
        want = ("triton-blue", "triton-green")[turn % 2]
        began = time.monotonic()
        mesh.weights(100 if want == "triton-blue" else 0, 100 if want == "triton-green" else 0, settle=False)
        while mesh.ask()[1].split()[0] != want:
            assert time.monotonic() - began < 60, "it is never live"
        took.append(1000 * (time.monotonic() - began))
        assert mesh.count(20) == {want: 20}
    took.sort()
    print(f"store write -> live in Envoy: p50 {took[10]:.1f} ms, max {took[-1]:.1f} ms")  # noqa: T201


def test_no_request_fails_while_weights_change(mesh: Mesh) -> None:
    done = threading.Event()

    def shift() -> None:
        for blue in range(100):
            mesh.store.replace(VIRTUAL_SERVICE, _weights(blue))
        done.set()

    shifter = threading.Thread(target=shift)
    shifter.start()
    answers = Counter[int]()
    while not done.is_set():
        answers[mesh.ask()[0]] += 1
    shifter.join()
    assert set(answers) == {200}


def _weights(blue: int) -> Raw:
    made = document(http_route(to("triton-blue", blue), to("triton-green", 100 - blue)))
    del made["metadata"]["resourceVersion"]
    return made


def test_envoy_does_what_every_translated_field_says(mesh: Mesh) -> None:
    blue, green = to("triton-blue"), to("triton-green")
    mesh.routes(
        http_route(green, name="exact", match=[{"uri": {"exact": "/exact"}}], rewrite={"uri": "/other"}),
        http_route(green, name="prefix", match=[{"uri": {"prefix": "/old/"}}], rewrite={"uri": "/new/"}),
        http_route(green, name="regex", match=[{"uri": {"regex": "/v[0-9]+/x"}}]),
        http_route(green, name="method", match=[{"method": {"exact": "POST"}, "uri": {"prefix": "/m"}}]),
        http_route(green, name="header", match=[{"headers": {"x-who": {"prefix": "gre"}}}, {"headers": {"x-green": {}}}]),
        http_route(green, name="pattern", match=[{"headers": {"x-n": {"regex": "[0-9]{1,3}"}}}]),
        http_route(green, name="slow", match=[{"uri": {"prefix": "/slow"}}], timeout="200ms"),
        http_route(green, name="broken", match=[{"uri": {"exact": "/broken"}}], retries={"attempts": 2, "perTryTimeout": "1s"}),
        http_route(blue, name="rest"),
    )
    assert mesh.stat("update_rejected") == 0
    assert mesh.ask("/exact") == (200, "triton-green /other")
    assert mesh.ask("/exact/more") == (200, "triton-blue /exact/more")
    assert mesh.ask("/old/x?a=b") == (200, "triton-green /new/x?a=b")
    assert mesh.ask("/v12/x") == (200, "triton-green /v12/x")
    assert mesh.ask("/v12/xy") == (200, "triton-blue /v12/xy")
    assert mesh.ask("/m", "POST") == (200, "triton-green /m")
    assert mesh.ask("/m") == (200, "triton-blue /m")
    assert mesh.ask(**{"x-who": "green"})[1].startswith("triton-green")
    assert mesh.ask(**{"x-who": "blue"})[1].startswith("triton-blue")
    assert mesh.ask(**{"X-Green": ""})[1].startswith("triton-green")
    assert mesh.ask(**{"x-n": "123"})[1].startswith("triton-green")
    assert mesh.ask(**{"x-n": "1234"})[1].startswith("triton-blue")
    assert mesh.ask("/slow")[0] == 504
    assert mesh.ask("/broken")[0] == 500


def test_envoy_takes_every_kind_of_host(mesh: Mesh) -> None:
    made = document(http_route(to("triton-green")))
    del made["metadata"]["resourceVersion"]
    made["spec"]["hosts"] = ["triton.example.com", "*.wild.example.com", "front.*", "10.0.0.1"]
    before = mesh.stat("update_attempt")
    mesh.store.replace(VIRTUAL_SERVICE, made)
    while mesh.stat("update_attempt") == before:
        time.sleep(0.005)
    assert mesh.stat("update_rejected") == 0
    for host in ("triton.example.com", "a.wild.example.com:80", "front.door", "10.0.0.1:8000"):
        assert mesh.ask(host=host)[0] == 200
    assert mesh.ask(host="other.example.com")[0] == 404


def test_what_the_translation_refuses_envoy_refuses_too_and_in_silence(mesh: Mesh) -> None:
    mesh.weights(100, 0)
    rejected = mesh.stat("update_rejected")
    broken = (
        mesh.rds.read_text().replace('"prefix": "/"', '"safe_regex": {"regex": "(?!x)"}').replace("triton-blue", "triton-green")
    )
    half = mesh.rds.with_suffix(".half")
    half.write_text(broken)
    half.replace(mesh.rds)
    ends = time.monotonic() + 5
    while mesh.stat("update_rejected") == rejected:
        assert time.monotonic() < ends
        time.sleep(0.01)
    assert mesh.count(20) == {"triton-blue": 20}, "it stays with the old weights without a word to the writer"
    mesh.store.sync()
