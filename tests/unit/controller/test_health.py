"""/metrics, /healthz, /readyz on a real socket."""

import socket
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest
import requests
from prometheus_client import CollectorRegistry, Gauge

from rollout_controller.controller import health
from rollout_controller.controller.health import HealthServer, Heartbeats


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fail() -> str:
    raise RuntimeError("with words that might be secret")


@pytest.fixture
def problems() -> dict[str, str | None]:
    return {"documents": None, "store": None}


@pytest.fixture
def beats() -> Heartbeats:
    return Heartbeats(Clock())


@pytest.fixture
def server(problems: dict[str, str | None], beats: Heartbeats) -> Iterator[HealthServer]:
    registry = CollectorRegistry()
    Gauge("answer", "x", registry=registry).set(42)
    ready = {name: partial(problems.get, name) for name in problems}
    server = HealthServer(registry, live={"loops": beats.problem}, ready=ready, host="127.0.0.1", port=0)
    server.start()
    yield server
    server.stop()


def ask(server: HealthServer, path: str) -> tuple[int, str]:
    answer = requests.get(f"http://127.0.0.1:{server.port}{path}", timeout=5)
    return answer.status_code, answer.text


def test_metrics_come_from_the_given_registry(server: HealthServer) -> None:
    status, text = ask(server, "/metrics")
    assert status == 200
    assert "answer 42.0" in text


def test_ready_says_what_is_missing(server: HealthServer, problems: dict[str, str | None]) -> None:
    assert ask(server, "/readyz") == (200, "ok\n")
    problems["store"] = "the database is locked"
    assert ask(server, "/readyz") == (503, "store: the database is locked\n")


def test_health_says_which_loop_is_silent(server: HealthServer, beats: Heartbeats) -> None:
    clock = beats._monotonic
    assert isinstance(clock, Clock)
    tick = beats.expect("tick", 10)
    beats.expect("watch", 60)
    assert ask(server, "/healthz") == (200, "ok\n")
    clock.now = 11
    assert ask(server, "/healthz") == (503, "loops: loop 'tick' has not come around for 11 s (it may take 10 s)\n")
    tick()
    assert ask(server, "/healthz")[0] == 200
    beats.forget("tick")
    tick()
    clock.now = 50
    assert ask(server, "/healthz")[0] == 200


def test_a_check_that_fails_is_an_answer_without_its_words() -> None:
    assert health._problems({"x": fail}) == {"x": "the check itself failed: RuntimeError"}


def test_other_paths_and_methods(server: HealthServer) -> None:
    assert ask(server, "/")[0] == 404
    assert ask(server, "/healthz?x=1")[0] == 200
    assert requests.post(f"http://127.0.0.1:{server.port}/healthz", timeout=5).status_code == 501


def test_silent_clients_are_cut_off_and_block_nobody(server: HealthServer, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(10)]
    assert ask(server, "/healthz")[0] == 200
    monkeypatch.setattr(server._server.RequestHandlerClass, "timeout", 0.3)
    silent.append(socket.create_connection(("127.0.0.1", server.port)))
    silent[-1].settimeout(30)
    assert silent[-1].recv(1) == b""
    for client in silent:
        client.close()


def test_a_flood_is_turned_away_and_passes(server: HealthServer) -> None:
    flood = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(health.MOST_REQUESTS)]
    time.sleep(0.2)
    with pytest.raises(requests.ConnectionError):
        ask(server, "/healthz")
    for client in flood:
        client.close()
    time.sleep(0.2)
    assert ask(server, "/healthz")[0] == 200


def test_stop_gives_the_port_back_and_ends_its_thread() -> None:
    server = HealthServer(CollectorRegistry(), live={}, ready={}, host="127.0.0.1", port=0)
    server.start()
    port = server.port
    server.stop()
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert "health" not in [thread.name for thread in threading.enumerate()]
