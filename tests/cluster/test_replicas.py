"""Two controllers on a real API server: one acts, the other takes over, and who has lost the lease writes nothing more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from signal import Signals

import pytest

from rollout_controller.api.meta import ANNOTATION_VERSION
from rollout_controller.lab.kube import Kube
from tests.contract.documents import policy, rollout, virtual_service
from tests.support.chart import install_chart
from tests.support.controller_process import READS, ControllerProcess
from tests.support.replicas import Replica, Stage, stage
from tests.support.watching import soon
from tests.unit.triton.wire_triton import WireTriton, serve

pytestmark = pytest.mark.cluster

FROZEN_S = 10.0
AWAY_S = 5.0


@pytest.fixture
def scene(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(kube, namespace, tmp_path) as made:
        yield made


def settled(scene: Stage, replica: Replica) -> None:
    """Waits until it has nothing to write."""
    before = replica.writes()
    soon(lambda: scene.mended() and scene.status().get("phase") == "Idle")
    time.sleep(1.5)
    while (now := replica.writes()) != before:
        before = now
        time.sleep(1.5)


def test_one_acts_and_the_other_only_reads(scene: Stage) -> None:
    leader, follower = scene.two()
    assert leader.leads()
    assert not follower.leads()
    for _ in range(3):
        scene.drift()
        scene.wait_mended()
    soon(lambda: leader.writes()["patch", "virtualservices"] >= 3)  # the audit log comes a little later
    assert follower.writes() == {}
    calls = scene.kube.calls(follower.user)
    assert {verb for verb, resource in calls if resource == "leases"} <= {"get", "create", "update"}
    assert calls["update", "leases"] <= 1, "both may ask for it when they begin; after that one waits"
    assert {verb for verb, resource in calls if resource != "leases"} <= READS
    assert scene.lease()["holderIdentity"] == leader.said("leading")["identity"]  # type: ignore[index]


def test_a_leader_that_is_asked_to_end_hands_over(scene: Stage) -> None:
    """It says so, so nobody waits for the lease to run out."""
    leader, follower = scene.two()
    transitions = scene.lease()["leaseTransitions"]
    scene.drift()
    assert leader.end() == 0
    follower.wait_acting()
    scene.drift()
    scene.wait_mended()
    assert leader.said("the lease is given back")
    assert scene.lease()["leaseTransitions"] == transitions + 1
    soon(lambda: follower.writes()["patch", "virtualservices"] >= 1)


def test_a_leader_that_is_killed_is_followed(scene: Stage) -> None:
    leader, follower = scene.two()
    settled(scene, leader)
    scene.drift()
    leader.end(Signals.SIGKILL)
    follower.wait_acting()
    scene.drift()
    scene.wait_mended()
    assert follower.leads()
    third = scene.replica("c")
    third.wait_ready()
    assert not third.acts()


def test_a_leader_that_was_frozen_writes_nothing_when_it_wakes(scene: Stage) -> None:
    """There is work for it: the route drifts while it sleeps and again when it wakes."""
    leader, follower = scene.two()
    settled(scene, leader)
    leader.send(Signals.SIGSTOP)
    before = leader.writes()
    scene.drift()
    time.sleep(FROZEN_S)
    follower.wait_acting()
    scene.wait_mended()
    follower.send(Signals.SIGSTOP)  # nobody but the one that wakes could mend this
    scene.drift()
    leader.send(Signals.SIGCONT)
    assert leader.process.wait(120) == 1
    assert not scene.mended()
    lost = leader.said("leadership is lost")
    assert lost is not None
    assert "not renewed" in lost["why"] or "its lease is sure for 0.0 s" in lost["why"], "whichever is noticed first"
    assert leader.writes() == before
    follower.send(Signals.SIGCONT)


def test_an_api_server_that_is_away_ends_the_leader_and_not_the_rollout(scene: Stage) -> None:
    """A Deployment starts it again; the follower stays and leads when the API is back."""
    leader, follower = scene.two()
    settled(scene, leader)
    scene.kube.kill_apiserver()
    try:
        assert leader.process.wait(120) == 1
        time.sleep(AWAY_S)
        assert follower.process.poll() is None
    finally:
        scene.kube.start_apiserver()
    again = scene.replica("c")
    soon(lambda: follower.acts() or again.acts(), 90, scene.logs)
    scene.drift()
    scene.wait_mended()
    again.wait_ready()
    follower.wait_ready()
    assert follower.acts() is not again.acts()
    assert "leadership is lost" in leader.log_file.read_text()


def test_an_api_server_that_hangs_ends_the_leader(scene: Stage) -> None:
    leader, follower = scene.two()
    scene.kube.freeze_apiserver()
    try:
        assert leader.process.wait(120) == 1
    finally:
        scene.kube.thaw_apiserver()
        scene.kube.wait_ready()
    follower.wait_acting()
    scene.drift()
    scene.wait_mended()


def test_an_attempt_goes_on_where_it_was(kube: Kube, namespace: str, tmp_path: Path) -> None:
    """The same attempt, step and traffic after each hand-over, and nothing is begun anew."""
    with serve(WireTriton()) as triton, stage(kube, namespace, tmp_path, triton={"urls": both(triton)}) as scene:
        leader, _ = scene.two()
        document = scene.kube.api.path_of(_rollout(scene), namespace)
        patch = {"metadata": {"annotations": {ANNOTATION_VERSION: "2"}}}
        kube.api.call("PATCH", document, patch, content_type="application/merge-patch+json")
        soon(lambda: scene.weights() == (90, 10), 180, scene.logs)
        before = scene.status()["attempt"]
        for number, how in enumerate((Signals.SIGKILL, Signals.SIGTERM)):
            leader.end(how)
            scene.replica(f"next-{number}").wait_ready()
            leader = _acting(scene)
            soon(lambda: scene.status().get("phase") == "Progressing")
            after = scene.status()["attempt"]
            assert {name: after[name] for name in ("id", "step", "startedAt", "weight")} == {
                name: before[name] for name in ("id", "step", "startedAt", "weight")
            }
            assert scene.weights() == (90, 10)


def both(triton: WireTriton) -> dict[str, str]:
    return {"triton-blue": triton.url, "triton-green": triton.url}


def _rollout(scene: Stage) -> dict[str, object]:
    kind = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "TritonRollout"}
    return {**kind, "metadata": {"name": "resnet50", "namespace": scene.namespace}}


def _acting(scene: Stage) -> Replica:
    """The one that acts now."""

    def found() -> list[Replica]:
        return [replica for replica in scene.replicas if replica.process.poll() is None and replica.acts()]

    soon(lambda: len(found()) == 1, 60, scene.logs)
    return found()[0]


def test_two_namespaces_and_no_right_beyond_them(kube: Kube, namespace: str, tmp_path: Path) -> None:
    """One process for both, with a Role in each; a rollout elsewhere is nothing to it."""
    spaces = [namespace, f"{namespace}-b"]
    with stage(kube, f"{namespace}-c", tmp_path) as elsewhere:
        install = install_chart(kube, {"namespaces": spaces}, name="two", namespace=namespace)
        here = {"prometheus": {"url": "http://127.0.0.1:9"}, "metrics": {"host": "127.0.0.1", "port": 0}}
        config = install.config_with(tmp_path / "two.yaml", here)
        for space in spaces:
            resting = rollout(space)
            del resting["metadata"]["annotations"]
            kube.apply(policy(space), virtual_service(space), resting)
        user = f"system:serviceaccount:{namespace}:two-rollout-controller"
        process = ControllerProcess(kube, user, install.kubeconfig, config, tmp_path / "two.log")
        try:
            process.wait_acting()
            assert process.ready()
            for space in spaces:
                soon(lambda space=space: _phase(kube, space) == "Idle", 60, process.log_text)  # type: ignore[misc]
            elsewhere.drift()
            for space in spaces:
                _drift(kube, space)
            for space in spaces:
                soon(lambda space=space: _weights(kube, space) == [100, 0], 60, process.log_text)  # type: ignore[misc]
            assert elsewhere.weights() == (50, 50)
            assert "HTTP 403" not in process.log_text()
        finally:
            process.close()


def _phase(kube: Kube, space: str) -> str | None:
    phase: str | None = (kube.api.read(rollout(space), namespace=space).get("status") or {}).get("phase")
    return phase


def _weights(kube: Kube, space: str) -> list[int]:
    routes = kube.api.read(virtual_service(space), namespace=space)["spec"]["http"][0]["route"]
    return [share.get("weight", 0) for share in routes]


def _drift(kube: Kube, space: str) -> None:
    path = kube.api.path_of(virtual_service(space), space)
    patch = [{"op": "add", "path": f"/spec/http/0/route/{n}/weight", "value": 50} for n in (0, 1)]
    kube.api.call("PATCH", path, patch, content_type="application/json-patch+json")
