"""The pipelines of docs/ci on a real API server, with their rights, and a real controller that answers them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from rollout_controller.api.names import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.parts import find_kubectl
from tests.support.crowd import MERGE, Tritons, documents, rules
from tests.support.people import started
from tests.support.replicas import Stage
from tests.support.shell import Shell
from tests.support.watching import soon
from tests.unit.triton.wire_triton import serve

pytestmark = pytest.mark.cluster

CI = Path(__file__).parents[2] / "docs" / "ci"
TIMED_OUT = 4
NAME, ACCOUNT = "resnet50", "ci-resnet50"
VERBS = ("get", "list", "watch", "patch", "create", "update", "delete", "deletecollection")
RESOURCES = (
    ("rollouts.triton.dev", "tritonrollouts"),
    ("rollouts.triton.dev", "tritonrollouts/status"),
    ("rollouts.triton.dev", "rolloutpolicies"),
    ("networking.istio.io", "virtualservices"),
    ("apps", "deployments"),
    ("events.k8s.io", "events"),
    ("", "secrets"),
    ("", "pods"),
)


def allowed(kube: Kube, namespace: str) -> set[tuple[str, str, str]]:
    """(verb, resource, name) that RBAC gives to CI's account, of all that could be thought of."""
    user = {"user": f"system:serviceaccount:{namespace}:{ACCOUNT}", "groups": ["system:serviceaccounts", "system:authenticated"]}
    found = set()
    for group, resource in RESOURCES:
        plural, _, sub = resource.partition("/")
        for verb in VERBS:
            for name in (NAME, "other", ""):
                asked = {"verb": verb, "group": group, "resource": plural, "namespace": namespace, "name": name}
                review = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1"}
                spec = {**user, "resourceAttributes": asked | ({"subresource": sub} if sub else {})}
                path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
                if kube.api.call("POST", path, {**review, "spec": spec})["status"]["allowed"]:
                    found.add((verb, resource, name))
    return found


@pytest.mark.parametrize("file", ["rights.yaml", "rights-kubectl.yaml"])
def test_the_rights_are_for_one_rollout_and_nothing_else(kube: Kube, namespace: str, file: str) -> None:
    kube.apply(CI / file, namespace=namespace)
    verbs = verbs_of(file)
    soon(lambda: allowed(kube, namespace) == {(verb, "tritonrollouts", NAME) for verb in verbs})


def verbs_of(file: str) -> set[str]:
    (role,) = (d for d in yaml.safe_load_all((CI / file).read_text()) if d["kind"] == "Role")
    (rule,) = role["rules"]
    return set(rule["verbs"])


class Pipeline:
    """A controller that waits for people in each step, and CI with its own account."""

    def __init__(self, kube: Kube, stage: Stage, folder: Path) -> None:
        self.kube, self.stage, self.namespace = kube, stage, stage.namespace
        self._path = kube.api.path_of(documents(stage.namespace, NAME)[0])
        self._folder, self._orders = folder, 0
        self._kubectl = find_kubectl(print)

    @property
    def user(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{ACCOUNT}"

    def verbs_used(self) -> set[str]:
        """What CI's account did to rollouts so far, by the audit log. (What the server can do everybody may read: `/version`.)"""
        return {verb for verb, resource in self.kube.calls(self.user) if resource == "tritonrollouts"}

    def run(self, command: str) -> int:
        """A line of kubectl's, as CI; its exit code."""
        return subprocess.run(["/bin/sh", "-c", command], env=self._env(), timeout=200, check=False).returncode

    def _env(self) -> dict[str, str]:
        config = self.kube.service_account(self.namespace, ACCOUNT)
        return {"PATH": f"{self._kubectl.parent}:{os.environ['PATH']}", "HOME": str(self._folder), "KUBECONFIG": str(config)}

    @contextmanager
    def asks(self, version: str, request: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
        """ask-with-kubectl.sh."""
        env = {**self._env(), "TIMEOUT": "90s", **settings}
        argv = [str(CI / "ask-with-kubectl.sh"), self.namespace, NAME, version, request]
        with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def order(self, verb: str) -> None:
        """A person says so, and the controller has done it."""
        self._orders += 1
        order = f"{verb} test-{self._orders}"
        self.annotate({ANNOTATION_COMMAND: order})
        soon(lambda: self.status().get("observedCommand") == order, 60, self.stage.logs)

    def promote(self) -> None:
        """Past both steps: there is no Prometheus to go by."""
        self.order("promote")
        self.order("promote")

    def annotate(self, values: dict[str, str]) -> None:
        self.kube.api.call("PATCH", self._path, {"metadata": {"annotations": values}}, content_type=MERGE)

    def status(self) -> dict[str, object]:
        return dict(self.kube.api.get(self._path).get("status") or {})

    def until_progressing(self, request: str) -> None:
        soon(lambda: (self.status().get("observedRequest"), self.status().get("phase")) == (request, "Progressing"), 90)


@pytest.fixture
def pipeline(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Pipeline]:
    with serve(Tritons()) as triton:
        stage = Stage(kube, namespace, tmp_path, triton={"url": triton.url + "/{host}"})
        try:
            kube.apply(rules(namespace, {"errors": "90s", "latency": "90s"}), *documents(namespace, NAME))
            stage.replica("a").wait_acting()
            yield Pipeline(kube, stage, tmp_path)
        finally:
            stage.close()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code, and the last line of what it said."""
    out, err = process.communicate(timeout=240)
    return process.returncode, (err if process.returncode == TIMED_OUT else out).splitlines()[-1]


def test_with_kubectl_alone_each_end_has_its_exit_code(pipeline: Pipeline) -> None:
    pipeline.kube.apply(CI / "rights-kubectl.yaml", namespace=pipeline.namespace)
    with pipeline.asks("2", "run-1") as process:
        pipeline.until_progressing("run-1")
        pipeline.promote()
        code, said = ended(process)
    assert (code, said.startswith("Promoted: ")) == (0, True), said
    with pipeline.asks("2", "run-2") as process:
        assert ended(process)[0] == 0, "stable has it already"
    with pipeline.asks("3", "run-3") as process:
        pipeline.until_progressing("run-3")
        pipeline.order("abort")
        code, said = ended(process)
    assert (code, said.startswith("Aborted: ")) == (3, True), said
    with pipeline.asks("4", "run-4", TIMEOUT="2s") as process:
        code, said = ended(process)
    assert (code, "has not ended within 2s" in said) == (4, True), said
    lists = {"list"}  # kubectl 1.36 begins with a watch that sends what is there, 1.32 with a list
    assert pipeline.verbs_used() | lists == verbs_of("rights-kubectl.yaml"), "they are enough, and none is too much"
    pipeline.order("abort")


@pytest.mark.parametrize(("order", "ready"), [("promote", True), ("abort", False)])
def test_the_commands_of_the_page_do_what_it_says(pipeline: Pipeline, order: str, ready: bool) -> None:
    pipeline.kube.apply(CI / "rights-kubectl.yaml", namespace=pipeline.namespace)
    lines = re.findall(r"^    (kubectl .+)$", (CI.parent / "ci.md").read_text(), re.MULTILINE)
    assert len(lines) == 4
    ask, echo, end, verdict = (line.replace("-n vision", f"-n {pipeline.namespace}") for line in lines)
    assert pipeline.run(ask.replace("version=42", "version=2")) == 0
    assert pipeline.run(echo) == 0
    pipeline.until_progressing("run-8841-1")
    assert pipeline.run(end.replace("150m", "1s")) == 1, "it has not ended"
    pipeline.order(order)
    if ready:
        pipeline.order(order)
    assert pipeline.run(end) == 0
    assert pipeline.run(verdict) == (0 if ready else 1)


def test_who_is_superseded_is_told(pipeline: Pipeline) -> None:
    pipeline.kube.apply(CI / "rights-kubectl.yaml", namespace=pipeline.namespace)
    with pipeline.asks("2", "run-1") as older, pipeline.asks("2", "run-1") as same:
        pipeline.until_progressing("run-1")
        same.kill()
        pipeline.annotate({ANNOTATION_VERSION: "3", ANNOTATION_REQUEST: "run-2"})
        pipeline.until_progressing("run-2")
        pipeline.order("abort")
        code, said = ended(older)
    assert (code, said.startswith("Superseded: ")) == (3, True), said


def test_a_controller_that_is_not_there_is_a_timeout(pipeline: Pipeline) -> None:
    pipeline.kube.apply(CI / "rights-kubectl.yaml", namespace=pipeline.namespace)
    for replica in pipeline.stage.replicas:
        replica.close()
    with pipeline.asks("2", "run-1", TAKEN_UP_WITHIN="1s") as process:
        code, said = ended(process)
    assert (code, "no controller has taken it up within 1s" in said) == (4, True), said


def test_rollouts_trigger_needs_get_and_patch_and_says_who_was_superseded(
    pipeline: Pipeline, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLOUTS_LOCAL", raising=False)
    pipeline.kube.apply(CI / "rights.yaml", namespace=pipeline.namespace)
    config = pipeline.kube.service_account(pipeline.namespace, ACCOUNT)
    shell = Shell(("--kubeconfig", str(config), "-n", pipeline.namespace), pipeline.stage.store, capsys)
    ask = ("--wait", "--timeout", "90s")
    with started(shell, "trigger", NAME, "--version", "2", "--request", "run-1", *ask) as older:
        pipeline.until_progressing("run-1")
        with started(shell, "trigger", NAME, "--version", "3", "--request", "run-2", *ask) as newer:
            out, err = older.communicate(timeout=120)
            assert older.returncode == 3
            assert "is given up: version 3 was asked for instead" in err or "Superseded" in out, out + err
            pipeline.until_progressing("run-2")
            assert shell.run("status", NAME, "-o", "json")[0] == 0
            pipeline.promote()
            out, err = newer.communicate(timeout=120)
            assert newer.returncode == 0, out + err
    assert shell.run("history", NAME)[0] == 0
    assert pipeline.verbs_used() == verbs_of("rights.yaml"), "they are enough, and none is too much"
