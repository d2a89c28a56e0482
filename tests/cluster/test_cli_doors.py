"""Into a real API server, or not: kubeconfigs as people have them, and one clear sentence for each door that stays shut."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.names import Raw
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.light import LightTransport
from rollout_controller.lab.kube import Kube
from tests.support.shell import Shell

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "helm" / "rollout-controller" / "crds"
TLS = ROOT / "tests" / "support" / "tls"
MASTERS = "system:masters"
TYPE = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/tritonrollouts.rollouts.triton.dev"


@pytest.fixture
def door(
    kube: Kube, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """A rollout in a namespace of the test's own, and no way to it yet but $KUBECONFIG, which names nothing."""
    kube.apply(CRDS)
    monkeypatch.delenv("ROLLOUTS_LOCAL", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nothing"))
    monkeypatch.chdir(tmp_path)
    connection = LightTransport(kube.admin)
    shell = Shell((), KubernetesStore(connection), capsys, namespace=namespace)
    shell.put("succeeded")
    yield shell
    connection.close()


def changed(kube: Kube, path: Path, namespace: str, cluster: Mapping[str, Any] = {}, *, user: Raw | None = None) -> Path:
    """An administrator's kubeconfig with another user, or another cluster."""
    document = json.loads(kube.user("person", (MASTERS,), namespace=namespace).read_text())
    document["clusters"][0]["cluster"] |= cluster
    if user is not None:
        document["users"][0]["user"] = user
    path.write_text(json.dumps(document))
    return path


def shut(door: Shell, config: Path, *argv: str) -> str:
    """What is said where a command fails; it is one error, and no traceback."""
    code, out, err = door.run("--kubeconfig", str(config), *(argv or ("status",)))
    assert (code, out) == (1, ""), err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    return err


def test_a_user_without_rights_is_told_the_verb_the_resource_and_the_namespace(door: Shell, kube: Kube) -> None:
    alice = kube.user("alice", namespace=door.namespace)
    resource = "tritonrollouts.rollouts.triton.dev"
    for verb, argv in (("list", ["status"]), ("get", ["status", "resnet50"]), ("get", ["pause", "resnet50"])):
        said = shut(door, alice, *argv)
        assert f"error: you may not {verb} {resource} in namespace {door.namespace} (context 'lab' of {alice})" in said
        assert 'User "alice"' in said
        assert f"kubectl auth can-i {verb} {resource} -n {door.namespace}\n" in said
    assert f"you may not list {resource} in all namespaces" in shut(door, alice, "list", "-A")


def test_a_wrong_token_and_none(door: Shell, kube: Kube, tmp_path: Path) -> None:
    wrong = changed(kube, tmp_path / "wrong", door.namespace, user={"token": "wrong"})
    said = f"error: the API server does not accept the credentials of context 'lab' of {wrong}: they are wrong or have expired;"
    assert shut(door, wrong).startswith(said)
    nobody = changed(kube, tmp_path / "nobody", door.namespace, user={})
    assert 'User "system:anonymous"' in shut(door, nobody)


def test_an_unknown_authority_and_another_name(door: Shell, kube: Kube, tmp_path: Path) -> None:
    path = tmp_path / "config"
    unknown = {"certificate-authority-data": None, "certificate-authority": str(TLS / "ca.pem")}
    said = shut(door, changed(kube, path, door.namespace, unknown))
    assert f"{kube.url} has a certificate that is not trusted: " in said
    assert f"context 'lab' of {path}: its certificate-authority or tls-server-name" in said
    named = changed(kube, path, door.namespace, {"tls-server-name": "other.example.com"})
    assert "'other.example.com'" in shut(door, named)
    right = changed(kube, path, door.namespace, {"tls-server-name": "kubernetes.default.svc"})
    assert door.run("--kubeconfig", str(right), "status")[0] == 0
    insecure = {"certificate-authority-data": None, "insecure-skip-tls-verify": True}
    assert door.run("--kubeconfig", str(changed(kube, path, door.namespace, insecure)), "status")[::2] == (0, "")


def test_nobody_is_there(door: Shell, kube: Kube, tmp_path: Path) -> None:
    away = changed(kube, tmp_path / "away", door.namespace, {"server": "https://127.0.0.1:1"})
    assert shut(door, away) == f"error: https://127.0.0.1:1 cannot be reached (Connection refused) (context 'lab' of {away})\n"


def test_the_definitions_are_not_installed(door: Shell, kube: Kube) -> None:
    """The kind is no longer served, which is how a server looks that never had it; what is stored stays."""

    def served(is_served: bool) -> None:
        operations = [{"op": "replace", "path": "/spec/versions/0/served", "value": is_served}]
        kube.api.call("PATCH", TYPE, operations, content_type="application/json-patch+json")

    person = kube.user("person", (MASTERS,), namespace=door.namespace)
    served(False)
    try:
        ends = time.monotonic() + 30
        while door.run("--kubeconfig", str(person), "status")[0] == 0 and time.monotonic() < ends:
            time.sleep(0.1)
        for argv in (["status"], ["status", "resnet50"], ["trigger", "resnet50", "--version", "3"]):
            said = shut(door, person, *argv)
            assert "error: the CRDs are not installed: context 'lab' of" in said
            assert "knows no tritonrollouts (rollouts.triton.dev/v1alpha1)" in said
            assert "kubectl apply --server-side -f helm/rollout-controller/crds" in said
    finally:
        served(True)
        ends = time.monotonic() + 30
        while door.run("--kubeconfig", str(person), "status")[0] != 0 and time.monotonic() < ends:
            time.sleep(0.1)


def test_options_that_lead_nowhere(door: Shell, kube: Kube) -> None:
    person = str(kube.user("person", (MASTERS,), namespace=door.namespace))
    code, _, err = door.run("--kubeconfig", person, "--context", "prod", "status")
    assert (code, err.split()) == (2, f"{person} contexts: there is no context 'prod' there are 'lab'".split())
    for argv, said in (
        (["status"], "there is no cluster and no folder to ask"),
        (["--kubeconfig", "nowhere", "status"], "nowhere  cannot be read: No such file or directory"),
        (["--local", ".", "--context", "lab", "status"], "leave out --local or --context"),
        (["--kubeconfig", person, "-A", "-n", "x", "status"], "-A means every namespace and -n one"),
        (["--kubeconfig", person, "-n", "", "status"], "--namespace is empty"),
        (["--kubeconfig", person, "-A", "apply", "-f", "x"], "leave out -A"),
    ):
        code, _, err = door.run(*argv)
        assert (code, said in err) == (2, True), err


def test_two_files_in_the_environment_are_one(door: Shell, kube: Kube, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = json.loads(kube.user("person", (MASTERS,), namespace=door.namespace).read_text())
    (tmp_path / "clusters").write_text(json.dumps({"clusters": whole.pop("clusters"), "users": None}))
    (tmp_path / "rest").write_text(json.dumps(whole))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(str(tmp_path / name) for name in ("clusters", "missing", "rest")))
    code, out, err = door.run("status")
    assert (code, out.split()[:2], err) == (0, ["resnet50", "Succeeded"], "")


def test_a_folder_here_is_taken_before_the_cluster_unless_a_context_is_named(door: Shell, kube: Kube, tmp_path: Path) -> None:
    (tmp_path / ".lab").mkdir()
    assert door.run("--local", ".lab", "apply", "-f", str(ROOT / "mesh" / "tritonrollout.yaml"))[0] == 0
    code, out, err = door.run("status")
    assert (code, out.split()[0]) == (0, "classifier")
    assert err == "using .lab in this folder (--local was not given; --context NAME takes a cluster)\n"
    person = str(kube.user("person", (MASTERS,), namespace=door.namespace))
    assert door.run("--kubeconfig", person, "status")[1].split()[0] == "resnet50"


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_a_credential_plugin(door: Shell, kube: Kube, tmp_path: Path, version: str) -> None:
    """A real plugin as cloud providers ship them: it prints the token of a service account."""
    token = json.loads(kube.service_account(door.namespace, "robot").read_text())["users"][0]["user"]["token"]
    plugin = tmp_path / "get-token"
    answer = {"kind": "ExecCredential", "apiVersion": f"client.authentication.k8s.io/{version}", "status": {"token": token}}
    plugin.write_text(f"#!{sys.executable}\nprint({json.dumps(json.dumps(answer))})\n")
    plugin.chmod(0o755)
    told = {"apiVersion": f"client.authentication.k8s.io/{version}", "command": "./get-token", "interactiveMode": "Never"}
    config = changed(kube, tmp_path / "config", door.namespace, user={"exec": told})
    assert f'User "system:serviceaccount:{door.namespace}:robot"' in shut(door, config)
    plugin.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('please run: cloud login')\n")
    assert "exited 1: please run: cloud login" in shut(door, config)
