"""Which cluster and as whom: kubeconfigs found, merged and refused as kubectl does, credentials of every kind, and TLS."""

from __future__ import annotations

import base64
import json
import ssl
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.names import Raw
from rollout_controller.cluster import exec_credentials, kubeconfig, light
from rollout_controller.cluster.kubeconfig import Login, NoCluster, login
from rollout_controller.cluster.light import LightTransport
from rollout_controller.cluster.store import Refused, Unavailable, Untrusted
from tests.support.fault_server import Reply, fault_server

TLS = Path(__file__).parents[2] / "support" / "tls"
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def config(path: Path, *, user: Raw | None = None, server: str = "https://127.0.0.1:1", **cluster: Any) -> Path:
    """A kubeconfig of one context."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": {"token": "secret"} if user is None else user}],
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "vision"}}],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document))
    return path


def refused(path: Path | None, context: str | None = None) -> str:
    with pytest.raises(InvalidDocument) as caught:
        login(path, context)
    return str(caught.value)


# where the files are


def test_without_any_kubeconfig_there_is_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoCluster):
        login(None, None)
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'nothing'}:")
    with pytest.raises(NoCluster):
        login(None, "other")
    assert "nothing  cannot be read: No such file" in refused(tmp_path / "nothing")


def test_the_default_file_is_in_the_home(tmp_path: Path) -> None:
    path = config(tmp_path / "home" / ".kube" / "config")
    found = login(None, None)
    assert (found.server, found.namespace, found.where) == ("https://127.0.0.1:1", "vision", f"context 'here' of {path}")
    assert found.headers == {"Authorization": "Bearer secret"}
    assert "secret" not in repr(found)


def test_several_files_are_one_and_the_first_to_say_something_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a" / "config", tmp_path / "b" / "config"
    config(second, server="https://second", user={"tokenFile": "my-token"})
    (second.parent / "my-token").write_text("beside\n")
    first.parent.mkdir()
    first.write_text(
        yaml.safe_dump(
            {
                "current-context": "mine",
                "contexts": [{"name": "mine", "context": {"cluster": "c", "user": "u"}}],
                "clusters": None,
                "users": [],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'nothing'}:{first}::{second}")
    found = login(None, None)
    assert (found.server, found.namespace) == ("https://second", "default")
    assert found.where == f"context 'mine' of {first}"
    assert found.headers == {"Authorization": "Bearer beside"}, "a path is relative to the file that has it"
    assert login(None, "here").namespace == "vision"
    assert f"{first}:{second}  contexts: there is no context 'x'\n" in refused(None, "x")


def test_an_unknown_context_is_answered_with_those_there_are(tmp_path: Path) -> None:
    path = config(tmp_path / "config")
    assert refused(path, "prod").split("\n", 1)[1].strip() == "there are 'here'"
    document = yaml.safe_load(path.read_text())
    del document["current-context"]
    path.write_text(yaml.safe_dump(document))
    assert "current-context: is not set" in refused(path)
    assert login(path, "here").namespace == "vision"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contexts": []}, "there are no contexts at all"),
        ({"contexts": 7}, "contexts: 7 was read"),
        ({"clusters": [1, 2]}, "clusters: [1, 2] was read"),
        ({"current-context": ["here"]}, "current-context: ['here'] was read"),
        ({"contexts": [{"context": {}}]}, "'name' is missing"),
        ({"clusters": []}, "there is no cluster 'c', which context 'here' names"),
        ({"users": []}, "there is no user 'u', which context 'here' names"),
        ({"clusters": [{"name": "c", "cluster": {"server": "ftp://x"}}]}, "'ftp://x' was read"),
        ({"clusters": [{"name": "c", "cluster": {"server": 7}}]}, "Expected `str`, got `int`"),
        ({"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority": "no-such"}}]}, "cannot be used"),
        ({"clusters": [{"name": "c", "cluster": {"server": "https://x", "certificate-authority-data": "%"}}]}, "cannot be used"),
        ({"clusters": [{"name": "c", "cluster": {"server": "https://x", "proxy-url": "socks5://x:1"}}]}, "proxy"),
        ({"users": [{"name": "u", "user": {"tokenFile": "no-such"}}]}, "users[u].tokenFile: cannot be read"),
        ({"users": [{"name": "u", "user": {"client-certificate": "no-such"}}]}, "client-key: cannot be used"),
        ({"users": [{"name": "u", "user": {"client-certificate-data": "YQ==", "client-key-data": "YQ=="}}]}, "cannot be used"),
        ({"users": [{"name": "u", "user": {"token": "t", "as": "root"}}]}, "users[u].as: is not supported"),
        ({"users": [{"name": "u", "user": {"auth-provider": {"name": "oidc"}}}]}, "users[u].auth-provider: is not supported"),
    ],
)
def test_a_bad_kubeconfig_is_one_clear_error(tmp_path: Path, change: Raw, said: str) -> None:
    path = config(tmp_path / "config")
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **change}))
    with pytest.raises(InvalidDocument) as caught:
        LightTransport(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "\x00", "[]", "7", "just text", "a: [", "kind: Config", "", "[" * 10_000])
def test_garbage_is_no_kubeconfig(tmp_path: Path, text: str) -> None:
    (tmp_path / "config").write_text(text)
    assert refused(tmp_path / "config").startswith(str(tmp_path / "config"))


def test_in_a_pod_the_service_account_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("of-the-pod\n")
    (account / "namespace").write_text("ci")
    (account / "ca.crt").write_bytes((TLS / "ca.pem").read_bytes())
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", str(account))
    with pytest.raises(NoCluster):
        login(None, None)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    found = login(None, None)
    assert (found.server, found.namespace, found.where) == ("https://[fd00::1]:443", "ci", "the pod's service account")
    assert found.headers == {"Authorization": "Bearer of-the-pod"}
    config(tmp_path / "home" / ".kube" / "config")
    assert login(None, None).namespace == "vision", "a kubeconfig comes first"


# credentials


def test_a_password(tmp_path: Path) -> None:
    found = login(config(tmp_path / "config", user={"username": "me", "password": "pass"}), None)
    assert found.headers == {"Authorization": f"Basic {base64.b64encode(b'me:pass').decode()}"}
    assert login(config(tmp_path / "config", user={}), None).headers == {}


def plugin(folder: Path, code: str) -> Path:
    """An executable Python script in `folder`."""
    path = folder / "plugin"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys, time\n{code}\n")
    path.chmod(0o755)
    return path


def with_plugin(tmp_path: Path, code: str, **more: Any) -> Path:
    plugin(tmp_path, code)
    told = {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never", **more}
    return config(tmp_path / "config", user={"exec": told}, **{"tls-server-name": "api"})


ANSWER = "print(json.dumps({'apiVersion': %r, 'kind': 'ExecCredential', 'status': %s}))"


@pytest.mark.parametrize("version", [V1, "client.authentication.k8s.io/v1beta1"])
def test_a_credential_plugin_is_told_what_it_asks_for_and_gives_a_token(tmp_path: Path, version: str) -> None:
    told = "{'token': sys.argv[1] + os.environ['MINE'] + os.environ['KUBERNETES_EXEC_INFO']}"
    path = with_plugin(
        tmp_path,
        ANSWER % (version, told),
        apiVersion=version,
        args=["one "],
        env=[{"name": "MINE", "value": "two "}],
        provideClusterInfo=True,
    )
    token = login(path, None).headers["Authorization"].removeprefix("Bearer ")
    assert token.startswith("one two ")
    cluster = {"server": "https://127.0.0.1:1", "tls-server-name": "api"}
    spec = {"interactive": False, "cluster": cluster}
    assert json.loads(token.removeprefix("one two ")) == {"apiVersion": version, "kind": "ExecCredential", "spec": spec}


@pytest.mark.parametrize(
    ("code", "more", "said"),
    [
        ("sys.exit('log in\\nfirst')", {}, "'./plugin' exited 1: log in first"),
        ("time.sleep(5)", {}, "did not end within 0.5 s"),
        ("print('secret')", {}, "printed no ExecCredential"),
        ("print('[]')", {}, "printed no ExecCredential"),
        (ANSWER % (V1, "{}"), {}, "gave neither a token nor a certificate"),
        (ANSWER % (V1, "{'clientCertificateData': 'x'}"), {}, "gave neither a token nor a certificate"),
        (ANSWER % ("v2", "{'token': 'secret'}"), {}, f"speaks v2, {V1} was asked for"),
        ("", {"apiVersion": "client.authentication.k8s.io/v1alpha1"}, "exec.apiVersion"),
        ("", {"command": "no-such-plugin", "installHint": "brew install\nit"}, "on this machine: brew install it"),
        ("", {"command": "/"}, "cannot be run: Permission denied"),
    ],
)
def test_a_credential_plugin_that_gives_nothing_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, more: Raw, said: str
) -> None:
    monkeypatch.setattr(exec_credentials, "PLUGIN_S", 0.5 if "sleep" in code else 20.0)
    path = with_plugin(tmp_path, code, **more)
    with pytest.raises(Refused) as caught:
        login(path, None)
    assert said in str(caught.value)
    assert f"user 'u' of {path}" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_refused_credentials_are_read_again_and_tried_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a token that expires during a long wait."""
    monkeypatch.setattr("rollout_controller.cluster.wire.RELOAD_S", 0.0)
    monkeypatch.setattr(light, "RELOAD_S", 0.0)
    count = "n = os.path.getsize('n') if os.path.exists('n') else 0; open('n', 'a').write('x')\n"
    monkeypatch.chdir(tmp_path)
    with fault_server() as server:
        path = with_plugin(tmp_path, count + ANSWER % (V1, "{'token': f'number-{n}'}"))
        document = yaml.safe_load(path.read_text())
        document["clusters"][0]["cluster"]["server"] = server.url
        path.write_text(yaml.safe_dump(document))
        wire = LightTransport(path)
        server.replies = [Reply(), Reply(401), Reply(), Reply(401)]
        answers = [wire.call("GET", "/", timeout_s=5).status for _ in range(3)]
        wire.close()
    assert answers == [200, 200, 401]
    sent = [headers["Authorization"].rpartition("-")[2] for _, _, _, headers in server.seen]
    assert sent == ["0", "0", "1", "1", "2"], "one more try each, not more"


# TLS


def server_tls(*, clients: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "server.pem")
    if clients:
        context.load_verify_locations(TLS / "ca.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def asked(path: Path) -> int:
    wire = LightTransport(path)
    try:
        return wire.call("GET", "/", timeout_s=5).status
    finally:
        wire.close()


def data(name: str) -> str:
    return base64.b64encode((TLS / f"{name}.pem").read_bytes()).decode()


def test_a_server_is_known_by_its_authority_and_its_name(tmp_path: Path) -> None:
    ca = {"certificate-authority-data": data("ca")}
    with fault_server(server_tls()) as server:

        def ask(**cluster: Any) -> int:
            return asked(config(tmp_path / "config", server=server.url, **cluster))

        assert ask(**ca) == ask(**{"certificate-authority": str(TLS / "ca.pem")}) == 200
        assert ask(**ca, **{"tls-server-name": "api.example.com"}) == 200
        with pytest.raises(Untrusted, match=r"Hostname mismatch.*other.example.com"):
            ask(**ca, **{"tls-server-name": "other.example.com"})
        with pytest.raises(Untrusted, match=r"unable to get local issuer certificate|self.signed"):
            ask(**{"certificate-authority-data": data("client")})
        with pytest.raises(Untrusted):
            ask()
        with warnings.catch_warnings(action="error"):
            assert ask(**{"insecure-skip-tls-verify": True}) == 200


def test_a_client_is_known_by_its_certificate(tmp_path: Path) -> None:
    cluster = {"certificate-authority-data": data("ca")}
    (tmp_path / "client.pem").write_bytes((TLS / "client.pem").read_bytes())
    both = repr({"clientCertificateData": "PEM", "clientKeyData": "PEM"}).replace("'PEM'", "open('client.pem').read()")
    plugin(tmp_path, f"os.chdir({str(tmp_path)!r})\n" + ANSWER % (V1, both))
    users: list[Raw] = [
        {"client-certificate-data": data("client"), "client-key-data": data("client")},
        {"client-certificate": "client.pem", "client-key": "client.pem"},
        {"exec": {"apiVersion": V1, "command": "./plugin", "interactiveMode": "Never"}},
    ]
    with fault_server(server_tls(clients=True)) as server:
        for user in users:
            assert asked(config(tmp_path / "config", user=user, server=server.url, **cluster)) == 200
        with pytest.raises(Unavailable):
            asked(config(tmp_path / "config", user={}, server=server.url, **cluster))


# proxies


def test_a_proxy_of_the_kubeconfig_or_the_environment_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain HTTP shows the whole way: the proxy is asked for the API server's address."""
    with fault_server() as proxy:
        through: dict[str, Any] = {"proxy-url": proxy.url.replace("//", "//me:pw@")}
        assert asked(config(tmp_path / "config", server="http://api.example.com", **through)) == 200
        monkeypatch.setenv("http_proxy", proxy.url)
        assert asked(config(tmp_path / "config", server="http://api.example.com")) == 200
        monkeypatch.setenv("no_proxy", ".example.com")
        with pytest.raises(Unavailable, match=r"cannot be resolved|in time"):
            asked(config(tmp_path / "config", server="http://api.example.com"))
    assert [path for _, _, path, _ in proxy.seen] == ["http://api.example.com/", "http://api.example.com/"]
    assert proxy.seen[0][3]["proxy-authorization"] == f"Basic {base64.b64encode(b'me:pw').decode()}"


def test_a_proxy_of_the_environment_is_not_for_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with fault_server() as server:
        assert asked(config(tmp_path / "config", server=server.url)) == 200
        assert asked(config(tmp_path / "config", server=server.url.replace("127.0.0.1", "localhost"))) == 200


def test_what_is_on_this_machine() -> None:
    def here(server: str) -> bool:
        return Login(server, "", "", ssl.create_default_context()).on_this_machine

    servers = ("https://localhost:6443", "https://[::1]", "http://127.9.9.9", "https://10.0.0.1", "https://localhost.example.com")
    assert [here(server) for server in servers] == [True, True, True, False, False]
