"""The command line and a real controller on a real API server: each ask is answered by its own result."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_controller.api.names import ANNOTATION_REQUEST, ANNOTATION_VERSION
from rollout_controller.cluster.store import POLICY, ROLLOUT
from rollout_controller.lab.kube import Kube
from tests.support.crowd import MERGE, Tritons, documents, rules
from tests.support.people import allow, started
from tests.support.replicas import Stage
from tests.support.shell import Shell
from tests.unit.triton.wire_triton import serve

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
NAME = "asked-by-people"
BOUND = ("--timeout", "90s")


@pytest.fixture
def scene(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    """There is no Prometheus: nothing is judged, and every attempt stays in its first step until a person ends it."""
    with serve(Tritons()) as triton:
        made = Stage(kube, namespace, tmp_path, triton={"url": triton.url + "/{host}"})
        try:
            kube.apply(rules(namespace, {"errors": "90s", "latency": "90s"}), *documents(namespace, NAME))
            made.replica("a").wait_acting()
            yield made
        finally:
            made.close()


def until_progressing(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    while "Progressing" not in process.stdout.readline():
        assert process.poll() is None


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and the phase in its last line."""
    out, _ = process.communicate(timeout=240)
    return process.returncode, out.splitlines()[-1].split()[3]


def test_each_ask_is_answered_by_its_own_result(
    scene: Stage, kube: Kube, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ROLLOUTS_LOCAL", raising=False)
    person = f"person-{scene.namespace}"
    allow(kube, scene.namespace, person, [(ROLLOUT, ["get", "patch"]), (POLICY, ["get"])], user=True)
    shell = Shell(
        ("--kubeconfig", str(kube.user(person, namespace=scene.namespace))), scene.store, capsys, namespace=scene.namespace
    )

    def run(*argv: str) -> str:
        code, out, err = shell.run(*argv)
        assert code == 0, f"{err}\n{scene.logs()}"
        return out

    assert "ersion 2" in run("trigger", NAME, "--version", "2", "--answer-within", "30s")
    with started(shell, "wait", NAME, *BOUND) as process:
        until_progressing(process)  # a canary without traffic cannot be paused
        process.terminate()
    assert "Paused" in run("pause", NAME) + run("status", NAME)
    run("resume", NAME)
    run("promote", NAME)
    with started(shell, "wait", NAME, *BOUND) as process:
        run("promote", NAME)
        assert ended(process) == (0, "Succeeded"), scene.logs()

    with started(shell, "trigger", NAME, "--version", "3", "--wait", *BOUND) as process:
        until_progressing(process)
        run("abort", NAME)
        assert ended(process) == (3, "Aborted")
    assert shell.run("trigger", NAME, "--version", "3", "--wait")[0] == 3, "it is not tried again unasked"

    wanted = {"metadata": {"annotations": {ANNOTATION_VERSION: "4", ANNOTATION_REQUEST: "run-4"}}}
    kube.api.call("PATCH", kube.api.path_of(documents(scene.namespace, NAME)[0]), wanted, content_type=MERGE)
    with started(shell, "wait", NAME, "--request", "run-4", *BOUND) as process:  # the result that is there now is Aborted
        until_progressing(process)
        run("promote", NAME)
        run("promote", NAME)
        assert ended(process) == (0, "Succeeded"), scene.logs()
    past = [line.split()[1:3] for line in run("history", NAME).splitlines()[1:]]
    assert past == [["4", "Promoted"], ["3", "Aborted"], ["2", "Promoted"]]
