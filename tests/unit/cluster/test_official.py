"""The official client's connection: what kubeconfigs and pods tell it, and what comes of answers that no API server gives."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster import official_config, transport
from rollout_controller.cluster import wire as wire_module
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.light import LightTransport
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import (
    LEASE,
    POLICY,
    VIRTUAL_SERVICE,
    AlreadyExists,
    Conflict,
    Expired,
    Forbidden,
    NotFound,
    NotInstalled,
    Refused,
    StoreError,
    Unauthorized,
    Unavailable,
)
from tests.contract.documents import policy
from tests.support.fault_server import FaultServer, Reply, fault_server, kubeconfig

KEY = Key("vision", "balanced")


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as server:
        yield server


@pytest.fixture(params=[OfficialTransport, LightTransport])
def wire(server: FaultServer, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[OfficialTransport | LightTransport]:
    wire = request.param(kubeconfig(tmp_path / "config", server.url))
    yield wire
    wire.close()


@pytest.fixture
def store(wire: OfficialTransport | LightTransport) -> KubernetesStore:
    return KubernetesStore(wire, timeout_s=2)


def status(code: int, reason: str = "", message: str = "", **details: Any) -> bytes:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code, "details": details}
    return json.dumps(body).encode()


def stored(document: Raw, version: str = "7") -> Raw:
    return {**document, "metadata": {**document["metadata"], "resourceVersion": version, "uid": "u"}}


def raised(call: Callable[[], object]) -> StoreError:
    with pytest.raises(StoreError) as caught:
        call()
    return caught.value


# where the server is


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"current-context": "nowhere"}, "contexts in it: here"),
        ({"current-context": None}, "contexts in it: here"),
        ({"contexts": []}, "contexts in it: none"),
        ({"contexts": 7}, "a kubeconfig"),
        ({"clusters": []}, "contexts in it: here"),
        ({"clusters": [{"name": "c", "cluster": {}}]}, "https://HOST:PORT"),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://x"}}]}, "https://HOST:PORT"),
        ({"clusters": [{"name": "c", "cluster": {"server": 7}}]}, "AttributeError"),
        ({"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "/no/such"}}]}, "/no/such"),
        (
            {"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "%%%"}}]},
            "cannot be used",
        ),
        ({"users": [{"name": "u", "user": {"tokenFile": "/no/such"}}]}, "No such file"),
    ],
)
def test_a_bad_kubeconfig_is_one_clear_error(tmp_path: Path, change: Raw, said: str) -> None:
    path = kubeconfig(tmp_path / "config", "https://x")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(InvalidDocument, match=said) as caught:
        OfficialTransport(path)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "\x00", "[]", "7", "just text", "a: [", "kind: Config"])
def test_garbage_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(InvalidDocument, match="cannot be used"):
        OfficialTransport(path)


def test_a_kubeconfig_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidDocument, match="no such kubeconfig"):
        OfficialTransport(tmp_path / "nothing")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "other"))
    with pytest.raises(InvalidDocument, match="other"):
        OfficialTransport(service_account=tmp_path)


def test_an_unknown_context_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "config", "https://x")
    with pytest.raises(InvalidDocument, match="contexts in it: here"):
        OfficialTransport(path, "other")
    assert OfficialTransport(path, "here").namespace == "vision"


def test_kubeconfig_comes_from_the_environment_as_kubectl_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kubeconfig(tmp_path / "config", "https://x:1/prefix/")
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/nothing:{path}")
    wire = OfficialTransport(service_account=tmp_path / "none")
    assert (wire.namespace, wire.server) == ("vision", "https://x:1/prefix")


def test_in_a_pod_its_service_account_is_used_and_read_again(
    tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", server.url.rpartition(":")[2])
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("one")
    with pytest.raises(InvalidDocument, match="certification file"):
        OfficialTransport(service_account=account)
    (account / "ca.crt").write_text("no certificate")
    with pytest.raises(InvalidDocument, match="a pod's service account is needed"):
        OfficialTransport(service_account=account)
    (account / "ca.crt").write_bytes(Path(certifi.where()).read_bytes())
    (account / "namespace").write_text("rollout-system\n")
    wire = OfficialTransport(service_account=account)
    assert (wire.namespace, wire.server) == ("rollout-system", server.url.replace("http", "https"))
    # The client reads the token again after a minute; the header is asked for again after FRESH_S.
    credentials = official_config.load_access(None, None, account).configuration
    (account / "token").write_text("two\n")
    hook: Any = credentials.refresh_api_key_hook.__closure__[0].cell_contents
    hook.token_expires_at = hook.token_expires_at.min
    assert official_config.Credentials(credentials).headers(1) == {"authorization": "bearer two"}


def test_a_credential_plugin_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official_config, "PLUGIN_S", 0.3)
    path = kubeconfig(tmp_path / "config", "https://x")
    document = yaml.safe_load(path.read_text())
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sleep", "args": ["5"], "interactiveMode": "Never"}
    document["users"] = [{"name": "u", "user": {"exec": plugin}}]
    path.write_text(yaml.safe_dump(document))
    with pytest.raises(Unavailable, match=r"credential plugin did not answer within 0\.3 s"):
        OfficialTransport(path)


def test_refused_credentials_are_read_again(tmp_path: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_module, "RELOAD_S", 0.0)
    store = KubernetesStore(OfficialTransport(kubeconfig(tmp_path / "config", server.url)), timeout_s=2)
    server.replies = [Reply(401, status(401, "Unauthorized")), Reply(200, json.dumps(stored(policy("vision"))).encode())]
    assert isinstance(raised(lambda: store.get(POLICY, KEY)), Refused)
    kubeconfig(tmp_path / "config", server.url, token="renewed")
    store.get(POLICY, KEY)
    assert [headers["authorization"] for _, _, _, headers in server.seen] == ["Bearer secret", "Bearer renewed"]


# what an answer means


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (Reply(400, status(400, "BadRequest", "no")), Refused, "BadRequest"),
        (Reply(401, status(401, "Unauthorized")), Unauthorized, "credentials"),
        (Reply(403, status(403, "Forbidden")), Forbidden, "verb get on rolloutpolicies.rollouts.triton.dev in namespace vision"),
        (Reply(403, status(403, "Forbidden", "going", causes=[{"reason": "NamespaceTerminating"}])), Refused, "'going'$"),
        (Reply(404, status(404, "NotFound", name="balanced")), NotFound, "no RolloutPolicy vision/balanced"),
        (Reply(404, b"404 page not found", content_type="text/plain"), NotInstalled, "custom resource definitions"),
        (Reply(409, status(409, "AlreadyExists")), AlreadyExists, "there already"),
        (Reply(409, status(409, "Conflict")), Conflict, "Conflict"),
        (Reply(410, status(410, "Expired")), Expired, "again"),
        (Reply(413, b"too large"), Refused, "too large"),
        (Reply(422, status(422, "Invalid", "spec.steps: must rise")), Refused, "must rise"),
        (Reply(429, b"slow down", {"Retry-After": "3"}), Unavailable, "429"),
        (Reply(500, status(500, "InternalError", retryAfterSeconds=3)), Unavailable, "InternalError"),
        (Reply(503, b"<html>no upstream</html>", content_type="text/html"), Unavailable, "no upstream"),
        (Reply(504, status(504, "Timeout", causes=[{"reason": "ResourceVersionTooLarge"}])), Expired, "again"),
        (Reply(302, b"", {"Location": "http://elsewhere.example.com/login"}), Unavailable, "302"),
        (Reply(200, b"<html>log in</html>", content_type="text/html"), Unavailable, "text/html.*log in"),
        (Reply(200, b""), Unavailable, "no JSON"),
        (Reply(200, b"[]"), Unavailable, "no JSON object"),
        (Reply(200, b"[" * 100_000), Unavailable, "no JSON"),
        (Reply(200, b'{"kind": "Other"}'), Unavailable, "no RolloutPolicy"),
        (Reply(200, json.dumps(stored(policy("vision"), "seven")).encode()), Unavailable, "'seven' is not a number"),
        (Reply(200, json.dumps(stored(policy("vision"))).encode(), declared=9999), Unavailable, "cut its answer"),
        (Reply(200, [b"{", b" "] * 50, {"Content-Length": "999"}, pause_s=0.2), Unavailable, "in time"),
    ],
)
def test_every_answer_is_a_document_or_an_error_of_the_store(
    server: FaultServer, store: KubernetesStore, reply: Reply, error: type[StoreError], said: str
) -> None:
    server.replies = [reply]
    with pytest.raises(StoreError, match=said) as caught:
        store.get(POLICY, KEY)
    assert type(caught.value) is error
    if isinstance(caught.value, Unavailable):
        assert caught.value.retry_after_s == (3 if "429" in said or "Internal" in said else None)


def test_a_long_message_is_shortened_and_cannot_steer_a_terminal(server: FaultServer, store: KubernetesStore) -> None:
    server.replies = [Reply(400, status(400, "BadRequest", "\x1b[2J" + "x" * 9000))]
    said = str(raised(lambda: store.get(POLICY, KEY)))
    assert len(said) < 600
    assert "\x1b" not in said


def test_an_answer_that_is_too_big_is_not_read(
    server: FaultServer, store: KubernetesStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire_module, "MAX_BODY_BYTES", 1000)
    server.replies = [Reply(200, b"x" * 2000)]
    assert type(raised(lambda: store.get(POLICY, KEY))) is transport.Oversize
    assert type(raised(lambda: store.list(POLICY))) is transport.Oversize
    assert [path.partition("limit=")[2] for _, _, path, _ in server.seen] == ["", "250", "20"]


def test_credentials_that_cannot_be_sent_are_not_repeated(tmp_path: Path, server: FaultServer) -> None:
    store = KubernetesStore(OfficialTransport(kubeconfig(tmp_path / "config", server.url, token="hush\nhush")))
    said = str(raised(lambda: store.get(POLICY, KEY)))
    assert "hush" not in said
    assert "credentials" in said


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1:1", "http://127.0.0.1:1", "http://no-such-host.invalid", "http://127.0.0.1:99999"]
)
def test_a_server_that_is_not_there_is_named(tmp_path: Path, url: str) -> None:
    store = KubernetesStore(OfficialTransport(kubeconfig(tmp_path / "config", url)), timeout_s=2)
    error = raised(lambda: store.get(POLICY, KEY))
    assert type(error) is Unavailable
    assert url in str(error)


def test_a_server_that_speaks_no_tls_is_told_from_one_that_is_away(tmp_path: Path, server: FaultServer) -> None:
    store = KubernetesStore(OfficialTransport(kubeconfig(tmp_path / "config", server.url.replace("http", "https"))), timeout_s=2)
    assert "TLS" in str(raised(lambda: store.get(POLICY, KEY)))


def test_a_name_that_cannot_be_is_not_asked_for(server: FaultServer, store: KubernetesStore) -> None:
    for key in (Key("vision", "../policies"), Key("vision", ""), Key("a/b", "c"), Key("..", "c"), Key("vision", "a?b=c")):
        assert type(raised(lambda key=key: store.get(POLICY, key))) is NotFound  # type: ignore[misc]
        assert type(raised(lambda key=key: store.delete(LEASE, key))) is NotFound  # type: ignore[misc]
    assert server.seen == []


def test_what_is_not_json_is_not_sent(server: FaultServer, store: KubernetesStore) -> None:
    for value in (float("nan"), {1, 2}, time.struct_time(range(9)).tm_zone or object()):
        with pytest.raises(Refused):
            store.patch(VIRTUAL_SERVICE, KEY, [{"op": "add", "path": "/spec", "value": value}])
    assert server.seen == []


@pytest.mark.parametrize(("version", "error"), [("7", Refused), ("8", Conflict)])
def test_a_patch_that_a_rule_refuses_is_told_from_one_that_others_overtake(
    server: FaultServer, store: KubernetesStore, version: str, error: type[StoreError]
) -> None:
    """An admission webhook may answer as a failed `test` does; the document that stays as it is tells them apart."""
    failed = Reply(422, status(422, "Invalid", "weights are frozen"))
    before, after = (Reply(200, json.dumps(stored(policy("vision"), each)).encode()) for each in ("7", version))
    server.replies = [failed, before, failed, after]
    operations: list[Raw] = [
        {"op": "test", "path": "/kind", "value": "RolloutPolicy"},
        {"op": "add", "path": "/metadata/labels", "value": {}},
    ]
    assert type(raised(lambda: store.patch(POLICY, KEY, operations))) is error
    assert len(server.seen) == 4


# streams


def event(type_: str, document: Raw) -> bytes:
    return json.dumps({"type": type_, "object": document}).encode() + b"\n"


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (Reply(410, json.dumps(GONE).encode()), Expired, "again"),
        (Reply(200, [event("ERROR", GONE)]), Expired, "again"),
        (Reply(200, [event("ERROR", {"kind": "Status", "code": 500, "message": "etcd"})]), Unavailable, "etcd"),
        (Reply(200, [event("ERROR", {"kind": "Status", "code": 403})]), Forbidden, "verb watch on rolloutpolicies"),
        (Reply(200, [event("ERROR", {})]), Unavailable, "500"),
        (Reply(200, [b'{"type": "ERROR", "object": 7}\n']), Unavailable, "500"),
        (Reply(200, [b"<html>\n"]), Unavailable, "no change"),
        (Reply(200, [b'{"type": "ADDED"}\n']), Unavailable, "no change"),
        (Reply(200, [b'{"type": "STRANGE", "object": {}}\n']), Unavailable, "unknown type"),
        (Reply(200, [b'{"type": "ADDED", "object": {}}\n']), Unavailable, "no RolloutPolicy"),
        (Reply(200, [b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "x"}}}\n']), Unavailable, "not a number"),
        (Reply(200, [b'{"type": "ADDED", "obj']), Unavailable, "middle of a line"),
        (Reply(204, b""), Unavailable, "no JSON|no stream"),
        (Reply(429, b"", {"Retry-After": "2"}), Unavailable, "429"),
        (Reply(200, [b"x" * 5_000_000]), transport.Oversize, "a line of more than"),
    ],
)
def test_a_watch_that_goes_wrong_says_how(
    server: FaultServer, store: KubernetesStore, reply: Reply, error: type[StoreError], said: str
) -> None:
    server.replies = [reply]
    with pytest.raises(StoreError, match=said) as caught:
        list(store.watch(POLICY, "vision", "1", 5))
    assert type(caught.value) is error


def test_a_watch_gives_what_came_before_it_goes_wrong(server: FaultServer, store: KubernetesStore) -> None:
    server.replies = [Reply(200, [event("ADDED", stored(policy("vision"), "8")) + event("ERROR", GONE) + b"\n"])]
    watch = store.watch(POLICY, None, "7", 5)
    assert next(watch).resource_version == "8"
    with pytest.raises(Expired):
        next(watch)
    assert list(watch) == []
    assert "/apis/rollouts.triton.dev/v1alpha1/rolloutpolicies?" in server.seen[0][2]


def test_silence_is_an_error_even_when_bytes_trickle(server: FaultServer, wire: OfficialTransport | LightTransport) -> None:
    server.replies = [Reply(200, [b"x"] * 30, pause_s=0.1)]
    lines = wire.stream("/", query={}, connect_s=1, silence_s=0.5)
    with pytest.raises(Unavailable, match="in time"):
        next(lines)


def test_a_stream_can_be_closed_while_another_thread_reads_it(server: FaultServer, store: KubernetesStore) -> None:
    server.replies = [Reply(200, [b"\n"] * 30, pause_s=0.2)]
    watch = store.watch(POLICY, None, "7", 30)
    seen: list[object] = []
    reader = threading.Thread(target=lambda: seen.append(list(watch)))
    reader.start()
    time.sleep(0.5)
    watch.close()
    reader.join(2)
    assert seen == [[]]


def test_a_watch_starts_from_a_resource_version_only(server: FaultServer, store: KubernetesStore) -> None:
    with pytest.raises(Refused, match="no resourceVersion"):
        next(store.watch(POLICY, None, "x&limit=1", 5))
    assert server.seen == []


def test_the_store_itself_costs_no_client(tmp_path: Path) -> None:
    """The CLI brings a lighter connection: the store must not import the official client, nor urllib3."""
    heavy = "{'kubernetes', 'urllib3', 'requests', 'tenacity', 'jsonpatch'}"
    code = f"import sys, rollout_controller.cluster.kubernetes; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout == "[]\n"
