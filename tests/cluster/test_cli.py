"""The command line on a real API server: what it reads and writes there, with which calls, and what outlives a bad day."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rollout_controller.api.names import Key
from rollout_controller.cluster import wire
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.light import LightTransport
from rollout_controller.cluster.store import EVENT, POLICY, ROLLOUT
from rollout_controller.lab.kube import Kube
from tests.contract.documents import told
from tests.support.people import allow, playing, started
from tests.support.shell import Shell
from tests.support.watching import soon
from tests.unit.cli.gallery import POLICY as BALANCED
from tests.unit.cli.gallery import rollout

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "helm" / "rollout-controller" / "crds"
MASTERS = "system:masters"
HEAVY = {"pydantic", "kubernetes", "requests", "structlog", "rich", "jsonpatch", "apscheduler", "tenacity", "sqlite3"}


@pytest.fixture
def cluster(
    kube: Kube, namespace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shell]:
    """An API server with our CRDs, the policy `balanced` in a namespace of the test's own, and a kubeconfig for that one."""
    kube.apply(CRDS)
    for variable in ("ROLLOUTS_LOCAL", "KUBECONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    connection = LightTransport(kube.admin)
    shell = Shell(
        ("--kubeconfig", str(kube.user("person", (MASTERS,), namespace=namespace))),
        KubernetesStore(connection),
        capsys,
        namespace=namespace,
    )
    shell.store.create(POLICY, {**BALANCED, "metadata": {"name": "balanced", "namespace": namespace}})
    yield shell
    shell.join()
    connection.close()


def written(tmp_path: Path, *documents: object) -> str:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return str(tmp_path / "mine.yaml")


def calls(kube: Kube, user: str, enough: int) -> dict[tuple[str, str], int]:
    """What the audit log says, once it says `enough` calls: it may lag a moment."""
    ends = time.monotonic() + 10
    while sum((found := kube.calls(user)).values()) < enough and time.monotonic() < ends:
        time.sleep(0.05)
    return dict(found)


# reading


def test_what_is_read_is_what_a_folder_shows(cluster: Shell) -> None:
    cluster.put("progressing")
    code, out, err = cluster.run("status", "resnet50")
    assert (code, err) == (0, "")
    assert out.splitlines()[0].startswith("resnet50   Progressing")
    assert json.loads(cluster.run("status", "resnet50", "-o", "json")[1])["attempt"]["weight_percent"] == 25
    assert json.loads(cluster.run("status", "resnet50", "-o", "raw")[1]) == cluster.rollout()
    assert cluster.run("status")[1] == cluster.run("status", f"{cluster.namespace}/resnet50")[1]
    assert "NAMESPACE" not in cluster.run("list")[1]


def test_all_namespaces_have_a_column(cluster: Shell, kube: Kube) -> None:
    cluster.put("progressing")
    lines = cluster.run("list", "-A")[1].splitlines()
    assert lines[0].split()[0] == "NAMESPACE"
    mine = [line.split()[:2] for line in lines if line.startswith(cluster.namespace)]
    assert mine == [[cluster.namespace, "resnet50"]]
    facts = json.loads(cluster.run("list", "-A", "-o", "json")[1])["rollouts"]
    assert {"namespace": cluster.namespace, "name": "resnet50"}.items() <= next(
        fact for fact in facts if fact["namespace"] == cluster.namespace
    ).items()


def test_a_name_is_looked_for_in_the_namespace_of_the_context(cluster: Shell) -> None:
    cluster.put("succeeded")
    said = f"error: no TritonRollout 'resnet5' in namespace {cluster.namespace}; there is 'resnet50'\n"
    assert cluster.run("status", "resnet5") == (1, "", said)
    code, _, err = cluster.run("-n", "default", "status", "resnet50")
    assert (code, "in namespace default" in err) == (1, True)
    assert cluster.run("-n", cluster.namespace, "status", "resnet50")[0] == 0


def test_proposed_commands_reach_another_namespace(cluster: Shell) -> None:
    cluster.put("rolled-back")
    proposed = f"rollouts {' '.join(cluster.options)}"
    assert f"{proposed} trigger resnet50 --version 2 --again" in cluster.run("status", "resnet50")[1]
    options = cluster.options
    cluster.options = ("--kubeconfig", options[1], "-n", cluster.namespace)
    elsewhere = json.loads(Path(options[1]).read_text())
    elsewhere["contexts"][0]["context"]["namespace"] = "default"
    Path(options[1]).write_text(json.dumps(elsewhere))
    out = cluster.run("status", "resnet50")[1]
    assert f"{proposed} -n {cluster.namespace} trigger resnet50" in out
    cluster.options = options
    assert f"{proposed} -n {cluster.namespace} trigger" in cluster.run("status", f"{cluster.namespace}/resnet50")[1]


def test_one_status_is_two_gets_and_a_list_two_lists(cluster: Shell, kube: Kube) -> None:
    for number in range(12):
        cluster.put("progressing", f"r{number}")
    cluster.options = ("--kubeconfig", str(kube.user(f"counted-{cluster.namespace}", (MASTERS,), namespace=cluster.namespace)))
    user = f"counted-{cluster.namespace}"
    assert cluster.run("status", "r7")[0] == 0
    assert calls(kube, user, 2) == {("get", "tritonrollouts"): 1, ("get", "rolloutpolicies"): 1}
    assert len(cluster.run("list")[1].splitlines()) == 13
    assert calls(kube, user, 4) == {
        ("get", "tritonrollouts"): 1,
        ("list", "tritonrollouts"): 1,
        ("get", "rolloutpolicies"): 2,  # all twelve name the same
    }


def test_explain_reads_the_events_of_one_rollout(cluster: Shell) -> None:
    cluster.put("succeeded")
    for name, about in (("mine", "resnet50"), ("other", "bert")):
        event = told(cluster.namespace, name, about)
        cluster.store.create(EVENT, {**event, "note": f"This is about {about}."})
    out = cluster.run("explain", "resnet50")[1]
    assert "This is about resnet50." in out
    assert "bert" not in out
    assert "balanced: 10 %, 25 %, 50 %, 100 %." in out
    assert cluster.run("history", "resnet50")[0] == 0


def test_reading_imports_nothing_heavy_and_kubectl_finds_us_by_our_name(cluster: Shell, tmp_path: Path) -> None:
    cluster.put("rolled-back")
    plugin = tmp_path / "kubectl-rollouts"
    plugin.write_text(
        f"#!{sys.executable}\nimport sys\nfrom rollout_controller.cli.main import main\ncode = main()\n"
        "print(*sorted(name.partition('.')[0] for name in sys.modules), file=sys.stderr)\nsys.exit(code)\n"
    )
    plugin.chmod(0o755)

    def run(*argv: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "KUBECONFIG": cluster.options[1]}
        return subprocess.run([plugin, *argv], capture_output=True, text=True, timeout=60, check=False, env=env)

    done = run("status", "resnet50")
    assert (done.returncode, HEAVY & set(done.stderr.split())) == (0, set())
    assert "kubectl rollouts trigger resnet50 --version 2 --again" in done.stdout
    assert "kubectl rollouts status resnet50 -w" in run("--help").stdout
    assert "See kubectl rollouts --help" in run("staus").stderr


# writing


def test_apply_creates_and_updates_and_leaves_the_rest_alone(cluster: Shell, tmp_path: Path) -> None:
    document = rollout(version=None, request=None)
    del document["metadata"]["namespace"]
    file = written(tmp_path, document)
    assert cluster.run("apply", "-f", file) == (0, "tritonrollout/resnet50 created\n", "")
    assert cluster.run("apply", "-f", file) == (0, "tritonrollout/resnet50 unchanged\n", "")
    cluster.set_status(phase="Succeeded")
    cluster.run("trigger", "resnet50", "--version", "7", "--no-wait")
    document["spec"]["policy"] = "other"
    assert cluster.run("apply", "-f", written(tmp_path, document)) == (0, "tritonrollout/resnet50 configured\n", "")
    stored = cluster.rollout()
    assert (stored["spec"]["policy"], stored["status"]["phase"], cluster.annotation("version")) == ("other", "Succeeded", "7")
    assert cluster.run("apply", "--dry-run", "-f", file)[1] == "tritonrollout/resnet50 configured (dry run)\n"
    assert cluster.rollout() == stored


def test_what_the_server_refuses_is_said_with_the_line(cluster: Shell, tmp_path: Path) -> None:
    """A rule that only the server has: Istio's own, on its VirtualService."""
    file = tmp_path / "route.yaml"
    file.write_text(
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: triton
spec:
  hosts: [triton.example.com]
  http:
    - name: resnet50
      timeout: soon
      route:
        - destination: {host: triton-blue}
"""
    )
    code, out, err = cluster.run("apply", "-f", str(file))
    assert (code, out) == (2, "")
    assert re.search(rf"^{re.escape(str(file))}:9  spec\.http\[0\]\.timeout: .*must be a valid duration", err), err


def test_a_namespace_that_is_not_there(cluster: Shell, tmp_path: Path) -> None:
    document = rollout()
    document["metadata"]["namespace"] = "nowhere"
    code, out, err = cluster.run("apply", "-f", written(tmp_path, document))
    assert (code, out) == (1, "")
    assert "there is no namespace nowhere" in err


# trigger and echo


def test_a_bare_annotation_and_wait_never_see_the_previous_result(cluster: Shell, kube: Kube) -> None:
    """`kubectl annotate` does not change the generation: what counts is the echo of what it wrote."""
    cluster.put("rolled-back")
    path = f"/apis/rollouts.triton.dev/v1alpha1/namespaces/{cluster.namespace}/tritonrollouts/resnet50"
    wanted = {"rollouts.triton.dev/version": "3", "rollouts.triton.dev/request": "run-9001"}
    kube.api.call("PATCH", path, {"metadata": {"annotations": wanted}}, content_type="application/merge-patch+json")

    def controller() -> None:
        time.sleep(1.5)  # the previous result is all there is to see
        cluster.set_status(observedVersion="3", observedRequest="run-9001", phase="Preparing")
        time.sleep(0.3)
        cluster.set_status(phase="Succeeded", reason={"code": "Promoted", "sentence": "Version 3 has all traffic."})

    with playing(controller):
        code, out, _ = cluster.run("wait", "resnet50", "--timeout", "30s")
    assert code == 0
    assert out.splitlines()[0].split()[3] == "RolledBack"
    assert out.splitlines()[-1].split()[3] == "Succeeded"


def test_two_commands_at_once_are_both_done(cluster: Shell) -> None:
    """There is room for one: the second is written only after the first was taken up."""
    cluster.put("progressing")
    done: list[str] = []

    def controller() -> None:
        ends = time.monotonic() + 20
        while len(done) < 2 and time.monotonic() < ends:
            order = cluster.annotation("command")
            if order and order not in done:
                time.sleep(0.5)
                done.append(order)
                cluster.set_status(observedCommand=order, commandResult=f"{order.split()[0]} is done.", commandDone=True)
            time.sleep(0.02)

    results: list[subprocess.CompletedProcess[str]] = []

    def give(verb: str) -> None:
        argv = [sys.executable, "-m", "rollout_controller", *cluster.options, verb, "resnet50"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        results.append(subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False, env=env))

    with playing(controller, lambda: give("pause"), lambda: give("promote")):
        pass
    assert sorted(order.split()[0] for order in done) == ["pause", "promote"]
    assert sorted((result.returncode, result.stdout) for result in results) == [
        (0, "pause is done.\n"),
        (0, "promote is done.\n"),
    ]


def test_a_command_that_nobody_takes_up_gives_way_and_the_loser_is_told(cluster: Shell) -> None:
    cluster.put("progressing")
    cluster.run("pause", "resnet50", "--no-wait")
    first = cluster.annotation("command")
    code, _, err = cluster.run("abort", "resnet50", "--no-wait")
    assert code == 0
    assert re.search(rf"'{first}' was not taken up by a controller yet; 'abort \w+' takes its place", err)

    before = cluster.annotation("command")

    def somebody_else() -> None:
        soon(lambda: cluster.annotation("command") != before, 60)
        cluster.store.patch(
            ROLLOUT,
            Key(cluster.namespace, "resnet50"),
            [{"op": "add", "path": "/metadata/annotations/rollouts.triton.dev~1command", "value": "resume f00"}],
        )

    with playing(somebody_else):
        code, _, err = cluster.run("abort", "resnet50")
    assert (code, "another command took its place before an answer was seen: resume f00" in err) == (1, True)


# bad days


def test_a_wait_outlives_a_restart_of_the_api_server(cluster: Shell, kube: Kube) -> None:
    cluster.put("progressing")
    with started(cluster, "wait", "resnet50", "--timeout", "5m") as waiting:
        assert waiting.stdout is not None
        assert "Progressing" in waiting.stdout.readline()
        kube.restart_apiserver()
        cluster.set_status(phase="Succeeded", reason={"code": "Promoted", "sentence": "Version 2 has all traffic."})
        out, err = waiting.communicate(timeout=180)
    assert (waiting.returncode, out.splitlines()[-1].split()[3]) == (0, "Succeeded"), err
    assert "trying again for 60 s" in err


def test_a_wait_outlives_its_token(cluster: Shell, kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is made anew, so the first token is void; the kubeconfig, written anew, is read again."""
    monkeypatch.setattr(wire, "RELOAD_S", 1.0)
    monkeypatch.setattr("rollout_controller.cluster.light.RELOAD_S", 1.0)
    cluster.put("progressing")
    allow(kube, cluster.namespace, "ci", [(ROLLOUT, ["get"])])
    config = kube.service_account(cluster.namespace, "ci")
    cluster.options = ("--kubeconfig", str(config))

    def day() -> None:
        time.sleep(2)
        kube.api.call("DELETE", f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/ci")
        kube.service_account(cluster.namespace, "ci")
        time.sleep(15)  # the API server believes a token that it has just seen for 10 s
        cluster.set_status(phase="Succeeded", reason={"code": "Promoted", "sentence": "Version 2 has all traffic."})

    with playing(day):
        code, out, err = cluster.run("wait", "resnet50", "--timeout", "2m")
    assert (code, out.splitlines()[-1].split()[3]) == (0, "Succeeded"), err


def test_a_pipeline_needs_no_right_but_get_and_patch(cluster: Shell, kube: Kube) -> None:
    cluster.put("succeeded")
    name = f"pipeline-{cluster.namespace}"
    allow(kube, cluster.namespace, name, [(ROLLOUT, ["get", "patch"])], user=True)
    cluster.options = ("--kubeconfig", str(kube.user(name, namespace=cluster.namespace)))

    def controller() -> None:
        while not str(cluster.annotation("request")).startswith("cli-"):
            time.sleep(0.05)
        done = {"phase": "Succeeded", "reason": {"code": "Promoted", "sentence": "Version 3 has all traffic."}}
        cluster.set_status(observedVersion="3", observedRequest=cluster.annotation("request"), **done)

    with playing(controller):
        assert cluster.run("trigger", "resnet50", "--version", "3", "--wait", "--timeout", "30s")[0] == 0
    out = cluster.run("explain", "resnet50")[1]
    assert "You may not get rolloutpolicies.rollouts.triton.dev" in out
    assert "You may not list events.events.k8s.io" in out
    assert cluster.run("status", "resnet5")[2].endswith(f"no TritonRollout 'resnet5' in namespace {cluster.namespace}\n")
