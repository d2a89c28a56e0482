"""What an answer can be besides an answer: each has a code and one sentence, none raises, none shows a secret."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import responses

from rollout_controller.core.observation import Unknown
from rollout_controller.slo.prometheus import Answer, Prometheus

URL = "http://prom:9090"
GOOD: dict[str, Any] = {"status": "success", "data": {"resultType": "vector", "result": []}}


def ask(body: Any, status: int = 200, **options: Any) -> Answer | Unknown:
    with responses.RequestsMock() as wire:
        text = body if isinstance(body, (str, Exception)) else json.dumps(body)
        wire.post(f"{URL}/api/v1/query", body=text, status=status)
        return Prometheus(URL, **options).instant("up", 1.0)


@pytest.mark.parametrize(
    ("status", "body", "code", "sentence"),
    [
        (
            422,
            {"status": "error", "errorType": "execution", "error": "too many samples"},
            "server-error",
            'answered 422: "too many samples"',
        ),
        (
            400,
            {"status": "error", "errorType": "bad_data", "error": "parse error"},
            "server-error",
            'answered 400: "parse error"',
        ),
        (503, "Service Unavailable", "server-error", 'answered 503 with no JSON of its API: "Service Unavailable"'),
        (
            200,
            "<html>\n<title>Log in</title>",
            "server-error",
            'answered 200 with no JSON of its API: "<html> <title>Log in</title>"',
        ),
        (302, "", "server-error", 'answered 302 with no JSON of its API: ""'),
        (200, '"x"', "server-error", "no JSON of its API"),
        (200, {"status": "error", "errorType": "timeout"}, "server-error", 'answered 200: "timeout"'),
        (200, {**GOOD, "warnings": ["store x: partial", "y"]}, "partial", 'answered with a warning: "store x: partial"'),
        (200, {"status": "success", "data": {"resultType": "matrix", "result": []}}, "server-error", "a matrix where a vector"),
        (200, {"status": "success", "data": None}, "server-error", "a NoneType where a vector"),
        (500, "e" * 500, "server-error", "e" * 200 + '..."'),
    ],
)
def test_no_answer_is_taken_for_one(status: int, body: Any, code: str, sentence: str) -> None:
    found = ask(body, status)
    assert isinstance(found, Unknown)
    assert found.code == code
    assert found.sentence.startswith(f"Prometheus at {URL} ")
    assert sentence in found.sentence


def test_infos_are_kept_and_are_no_fault() -> None:
    assert ask({**GOOD, "infos": ["PromQL info"]}) == Answer((), ("PromQL info",))


def test_query_headers_params_and_token_go_with_each_request(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    prometheus = Prometheus(
        URL, headers={"X-Scope-OrgID": "t"}, params={"partial_response": "false"}, token_file=token, timeout_s=3
    )
    with responses.RequestsMock() as wire:
        wire.post(f"{URL}/api/v1/query", json=GOOD)
        wire.post(f"{URL}/api/v1/query_range", json={"status": "success", "data": {"resultType": "matrix", "result": []}})
        prometheus.instant("up", 12.5)
        token.write_text("second")
        prometheus.range("up", 10, 30, 10, timeout_s=1)
        first, second = (call.request for call in wire.calls)
    assert [r.headers["Authorization"] for r in (first, second)] == ["Bearer first", "Bearer second"]
    assert first.headers["X-Scope-OrgID"] == "t"
    assert str(first.body) == "query=up&time=12.500&timeout=3000ms&partial_response=false"
    assert str(second.body) == "query=up&start=10.000&end=30.000&step=10.000&timeout=1000ms&partial_response=false"


def test_secrets_never_come_back_in_a_sentence(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    found = ask("no: Bearer s3cret from tenant9", 401, token_file=token, headers={"X-Scope-OrgID": "tenant9"})
    assert isinstance(found, Unknown)
    assert found.sentence.endswith('"no: Bearer *** from ***"')
    with responses.RequestsMock() as wire:
        wire.post(f"{URL}/api/v1/query", body="pa55word", status=401)
        other = Prometheus("http://me:pa55word@prom:9090/").instant("up", 1)
        assert wire.calls[0].request.headers["Authorization"].startswith("Basic ")
    assert isinstance(other, Unknown)
    assert "pa55word" not in other.sentence


def test_a_missing_file_of_authorities_is_said(tmp_path: Path) -> None:
    found = Prometheus("https://127.0.0.1:1", ca_file=tmp_path / "none").instant("up", 1)
    assert isinstance(found, Unknown)
    assert found.code == "no-answer"
    assert str(tmp_path / "none") in found.sentence


@pytest.mark.parametrize("text", ["\ufeffs3cret", "s3cret\u201d", "s3\ncret"])
def test_a_token_that_no_header_can_carry_is_said_and_not_shown(tmp_path: Path, text: str) -> None:
    """Before, the first request with it ended the process."""
    token = tmp_path / "token"
    token.write_text(text, encoding="utf-8")
    found = Prometheus(URL, token_file=token).instant("up", 1)
    assert isinstance(found, Unknown)
    assert (found.code, "must hold ASCII only" in found.sentence) == ("no-answer", True)
    assert "s3" not in found.sentence.replace(str(token), "")


def test_a_missing_token_file_is_said(tmp_path: Path) -> None:
    found = Prometheus(URL, token_file=tmp_path / "none").instant("up", 1)
    assert isinstance(found, Unknown)
    assert found.code == "no-answer"
    assert "the token file" in found.sentence
    assert "No such file" in found.sentence


class Server:
    """Takes one connection at a time and plays `script` on it."""

    def __init__(self, *script: bytes | float) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._script = script
        self.connections = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.recv(65536)
                try:
                    for part in self._script:
                        if isinstance(part, float):
                            self._closed.wait(part)
                        else:
                            connection.sendall(part)
                    connection.shutdown(socket.SHUT_WR)
                    connection.settimeout(10)
                    while connection.recv(65536):  # what is left unread would make the end a reset
                        pass
                except OSError:
                    pass

    def close(self) -> None:
        self._closed.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ((60.0,), "did not answer within 0.3 s"),
        ((HEAD, 60.0), "did not answer within 0.3 s"),
        ((HEAD, *[b"x", 0.1] * 600), "did not end its answer within 0.3 s"),
        ((HEAD, b"{"), "broke off in the middle of its answer"),
        ((), "does not answer"),
    ],
)
def test_every_wait_is_bounded_and_nothing_is_tried_twice(script: tuple[bytes | float, ...], sentence: str) -> None:
    server = Server(*script)
    prometheus = Prometheus(server.url, timeout_s=0.3 if "0.3 s" in sentence else 30)
    found = prometheus.instant("up", 1)
    assert isinstance(found, Unknown)
    assert (found.code, sentence in found.sentence) == ("no-answer", True), found
    assert server.connections == 1
    prometheus.close()
    server.close()


def test_a_refused_connection_is_said() -> None:
    server = Server()
    server.close()
    found = Prometheus(server.url).instant("up", 1)
    assert found == Unknown("no-answer", f"Prometheus at {server.url} does not answer: connection refused")
