"""The client: what it sends, what errors it makes of what comes back, and that nothing holds it."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from rollout_controller.triton.client import ModelVersion, Timeouts, TritonClient
from rollout_controller.triton.errors import TritonRefused, TritonUnreachable
from rollout_controller.triton.warmup import warm_up_request
from tests.unit.triton.wire_triton import CONFIG, METADATA, WireTriton, serve

QUICK = Timeouts(connect_s=0.2, read_s=0.2, infer_s=0.2, load_s=0.2)


@pytest.fixture
def triton() -> Iterator[WireTriton]:
    with serve(WireTriton()) as triton:
        yield triton


@contextmanager
def raw_server(talk: Callable[[socket.socket], None], asked: list[str] | None = None) -> Iterator[str]:
    """A socket that reads a request and then does what `talk` says."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    request = connection.recv(65536)
                    if asked is not None:
                        asked.append(request.decode().partition("\r\n")[0])
                    talk(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(3)


@contextmanager
def answering(status: int, body: str, headers: str = "") -> Iterator[tuple[str, list[str]]]:
    """A server that gives the same answer to everything; its URL, and the request lines it got."""
    asked: list[str] = []
    words = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body.encode())}\r\nConnection: close\r\n{headers}\r\n{body}"
    with raw_server(lambda connection: connection.sendall(words.encode()), asked) as url:
        yield url, asked


def test_the_index_is_read_with_states_and_reasons() -> None:
    lines = [
        {"name": "m", "version": "2", "state": "READY"},
        {"name": "m", "version": "3", "state": "UNAVAILABLE", "reason": "Internal: x\n\nAt:\n  y\n"},
        {"name": "n"},
    ]
    with answering(200, json.dumps(lines)) as (url, asked):
        assert TritonClient(url).index() == (
            ModelVersion("m", "2", "READY"),
            ModelVersion("m", "3", "UNAVAILABLE", "Internal: x At: y"),
            ModelVersion("n"),
        )
        assert asked == ["POST /v2/repository/index HTTP/1.1"]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, '{"error": "load failed for model \'m\': no\\n;\\n"}', TritonRefused),
        (500, '{"error": "failed to poll from model repository"}', TritonRefused),
        (403, '{"error": "This API is restricted"}', TritonRefused),
        (503, '{"error": "Server is stopping"}', TritonUnreachable),
        (503, "<html>no healthy upstream</html>", TritonUnreachable),
        (502, "bad gateway", TritonUnreachable),
        (404, "<html>nginx</html>", TritonUnreachable),
        (302, "", TritonUnreachable),
        (200, "<html>hello</html>", TritonUnreachable),
        (200, '{"name": "m"}', TritonUnreachable),
        (200, '[{"version": "1"}]', TritonUnreachable),
        (200, "[7]", TritonUnreachable),
    ],
)
def test_answers_become_two_classes_of_error(status: int, body: str, error: type[Exception]) -> None:
    with answering(status, body, headers="Location: http://elsewhere.test/\r\n") as (url, asked):
        with pytest.raises(error):
            TritonClient(url).index()
        assert len(asked) == 1, "no retries, no redirects"


def test_a_refusal_is_in_tritons_own_words_on_one_line(triton: WireTriton) -> None:
    triton.versions, triton.broken = {"1": "READY"}, {"2"}
    with pytest.raises(TritonRefused) as refused:
        TritonClient(triton.url).load_pinned("m", "2")
    assert (
        refused.value.message == "load failed for model 'm': version 2 is at UNAVAILABLE state: Internal: no weights At: model.py"
    )
    assert triton.versions["1"] == "READY"


def test_a_pin_keeps_the_rest_of_the_config_and_loads_once(triton: WireTriton) -> None:
    triton.versions = {"1": "READY"}
    TritonClient(triton.url).load_pinned("m", "2")
    assert triton.overrides == [CONFIG | {"version_policy": {"specific": {"versions": [2]}}}]
    assert sum(call.endswith("/load") for call in triton.calls) == 1


def test_where_nothing_is_loaded_a_plain_load_brings_the_config_first(triton: WireTriton) -> None:
    TritonClient(triton.url).load_pinned("m", "2")
    assert sum(call.endswith("/load") for call in triton.calls) == 2
    assert triton.versions == {"3": "UNAVAILABLE", "2": "READY"}


def test_a_broken_highest_version_is_passed_by_with_the_other_slots_config(triton: WireTriton) -> None:
    triton.broken = {"3"}
    client = TritonClient(triton.url)
    with pytest.raises(TritonRefused, match="version 3"):
        client.load_pinned("m", "2")
    client.load_pinned("m", "2", spare=lambda: dict(CONFIG))
    assert triton.versions["2"] == "READY"


@pytest.mark.parametrize("version", ["v2", "0", "02", "-1", "1.0", "", "99999999999999999999", "2\n"])
def test_a_version_that_triton_cannot_have_is_refused_before_asking(version: str) -> None:
    with pytest.raises(TritonRefused, match="whole numbers"):
        TritonClient("http://127.0.0.1:9").load_pinned("m", version)


def test_names_cannot_leave_their_place_in_the_path() -> None:
    with answering(200, "") as (url, asked):
        assert TritonClient(url).version_ready("../m?x", "1/2")
        assert asked == ["GET /v2/models/..%2Fm%3Fx/versions/1%2F2/ready HTTP/1.1"]


def test_not_ready_is_an_answer(triton: WireTriton) -> None:
    triton.versions = {"1": "READY"}
    client = TritonClient(triton.url)
    assert client.server_ready()
    assert client.version_ready("m", "1")
    assert not client.version_ready("m", "2")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(TritonUnreachable, match="connection refused"):
        TritonClient(url).index()


def drop_by_drop(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
    for _ in range(1200):
        connection.sendall(b" ")
        time.sleep(0.05)


OVER = threading.Event()


def silence(_: socket.socket) -> None:
    OVER.wait(60)


@pytest.mark.parametrize(
    "talk",
    [
        pytest.param(silence, id="silence"),
        pytest.param(lambda c: c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n["), id="cut off"),
        pytest.param(lambda c: c.sendall(b"\x16\x03\x01 not http\r\n\r\n"), id="no http"),
        pytest.param(lambda c: c.close(), id="closed"),
        pytest.param(drop_by_drop, id="drop by drop"),
    ],
)
def test_a_server_that_misbehaves_is_unreachable_and_holds_nobody(talk: Callable[[socket.socket], None]) -> None:
    ended = threading.Event()
    OVER.clear()

    def talking(connection: socket.socket) -> None:
        talk(connection)
        ended.set()

    with raw_server(talking) as url:
        with pytest.raises(TritonUnreachable):
            TritonClient(url, QUICK).index()
        assert talk not in {silence, drop_by_drop} or not ended.is_set(), "it was waited for to the end"
        OVER.set()


def test_a_load_may_take_longer_than_a_question(triton: WireTriton) -> None:
    triton.versions, triton.load_s = {"1": "READY"}, 0.5
    TritonClient(triton.url, Timeouts(read_s=0.2, load_s=5)).load_pinned("m", "2")
    assert triton.versions["2"] == "READY"


def test_warm_up_sends_zeros_of_every_inputs_shape(triton: WireTriton) -> None:
    triton.versions = {"2": "READY"}
    TritonClient(triton.url).warm_up("m", "2")
    head, tail = triton.infers[0]
    assert head["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [1, 1], "parameters": {"binary_data_size": 4}}]
    assert tail == bytes(4)
    assert "POST /v2/models/m/versions/2/infer" in triton.calls


def test_warm_up_of_texts_optional_inputs_and_sequences() -> None:
    inputs = [
        {"name": "text", "datatype": "BYTES", "shape": [-1, 2]},
        {"name": "image", "datatype": "UINT8", "shape": [3, 4]},
        {"name": "extra", "datatype": "FP64", "shape": [1]},
    ]
    config = {"input": [{"name": "extra", "optional": True}], "sequence_batching": {}}
    body, headers = warm_up_request({"inputs": inputs}, config)
    length = int(headers["Inference-Header-Content-Length"])
    head = json.loads(body[:length])
    assert [(i["name"], i["shape"]) for i in head["inputs"]] == [("text", [1, 2]), ("image", [3, 4])]
    assert body[length:] == bytes(2 * 4 + 12)
    assert head["parameters"]["sequence_start"] is head["parameters"]["sequence_end"] is True


def test_a_datatype_that_nobody_knows_is_a_refusal() -> None:
    both = {**CONFIG, **METADATA, "inputs": [{"name": "x", "datatype": "FP4", "shape": [1]}]}
    with answering(200, json.dumps(both)) as (url, _), pytest.raises(TritonRefused, match="FP4"):
        TritonClient(url).warm_up("m", "2")


@pytest.mark.parametrize("url", ["", "triton:8000", "ftp://triton", "http://", "http://triton:port", "http://[::1"])
def test_what_is_no_url_is_unreachable(url: str) -> None:
    with pytest.raises(TritonUnreachable, match="not a URL"):
        TritonClient(url).index()


def test_a_base_url_may_have_a_path() -> None:
    with answering(200, "[]") as (url, asked):
        TritonClient(f"{url}/behind/a/proxy/").index()
        assert asked == ["POST /behind/a/proxy/v2/repository/index HTTP/1.1"]


def test_connections_are_kept_and_one_that_ended_is_not_used_again() -> None:
    accepted: list[int] = []

    def answer_twice(connection: socket.socket) -> None:
        accepted.append(1)
        words = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"
        connection.sendall(words)
        connection.recv(65536)
        connection.sendall(words)

    with raw_server(answer_twice) as url:
        client = TritonClient(url)
        for calls, connections in ((1, 1), (2, 1), (3, 2), (4, 2)):
            assert client.index() == ()
            assert len(accepted) == connections, calls
            time.sleep(0.05)  # so that the server's end of the connection has come


def test_what_changes_a_triton_needs_a_permit_and_what_reads_does_not(triton: WireTriton) -> None:
    """Who does not lead any more loads nothing, not even the second half of a load."""

    class Denied(Exception):
        pass

    permits = [True]

    def permit() -> None:
        if not permits or not permits.pop():
            raise Denied

    client = TritonClient(triton.url, permit=permit)
    with pytest.raises(Denied):
        client.load_pinned("m", "2")  # the plain load is permitted, the pin after it is not
    assert triton.versions == {"3": "READY"}
    assert triton.overrides == []
    with pytest.raises(Denied):
        client.unload("m")
    assert client.index()
    assert client.server_ready()
