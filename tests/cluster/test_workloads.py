"""Images and replicas of real Deployments and StatefulSets, with the chart's rights and pods that come up by themselves.

The reconcile, the store and Kubernetes are real; traffic and its time are the pretend world's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout_controller import workload
from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.names import ANNOTATION_SCALED, ANNOTATION_VERSION
from rollout_controller.api.status import Phase
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import DEPLOYMENT, ROLLOUT, ObjectStore
from rollout_controller.controller.workloads import KINDS
from rollout_controller.core.observation import SlotState
from rollout_controller.core.states import RESTING
from rollout_controller.lab.kube import Kube
from tests import kubelet
from tests.play import Play
from tests.support.chart import Installed, install_chart, restricted
from tests.support.replicas import stage
from tests.support.watching import soon
from tests.world import Behaviour, World

pytestmark = pytest.mark.cluster

GOOD = Behaviour(errors=0.001, slow=0.01)
PATIENCE_S = 180.0
MORE_GPUS_THAN_THERE_ARE = {"limits": {"nvidia.com/gpu": 5000}}


@pytest.fixture(scope="module")
def installed(controllers: Kube) -> Installed:
    return install_chart(controllers, {"workloads": {"manage": True}}, namespace="workloads")


@pytest.fixture
def store(installed: Installed) -> Iterator[ObjectStore]:
    """As the chart's service account."""
    transport = OfficialTransport(installed.kubeconfig)
    yield KubernetesStore(transport)
    transport.close()


@pytest.fixture
def admin(controllers: Kube) -> Iterator[ObjectStore]:
    transport = OfficialTransport(controllers.admin)
    yield KubernetesStore(transport)
    transport.close()


class OnCluster(Play):
    """A rollout whose pods are Kubernetes' business. Made by an admin, turned by a controller with the chart's rights."""

    def __init__(self, admin: ObjectStore, controller: ObjectStore, namespace: str, world: World, spec: Raw) -> None:
        super().__init__(admin, world, spec, namespace=namespace)
        self.start(controller)

    def play_kubernetes(self) -> None:
        """Which version serves is read from the pods' owners, not pretended."""
        for slot in ("blue", "green"):
            state = self.seen(slot)
            self.world.running[slot] = state.version if state.ready else None

    def seen(self, slot: str) -> SlotState:
        spec = self.rollout().spec
        named = spec.slots[slot].workload
        assert named is not None
        return workload.read_slot(spec.deploy, self.store.get(KINDS[named.kind], Key(self.namespace, named.name)))

    def owner(self, kind: str, slot: str) -> Raw:
        return self.store.get(KINDS[kind], Key(self.namespace, f"triton-{slot}"))

    def until(self, done: Callable[[], bool], *, virtual_s: float = 5.0) -> None:
        """Turn, with real time for pods and a little of the world's for each turn."""
        ends = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < ends, f"{self.status.phase}: {self.status.reason}; {self.status.slots}"
            self.world.advance(self.world.now + virtual_s)
            self.settle()
            time.sleep(0.02)


def make(admin: ObjectStore, kind: str, slot: str, namespace: str, *, replicas: int, resources: Raw | None = None) -> None:
    document = kubelet.deployment(slot, replicas=replicas, namespace=namespace)
    document["kind"] = kind
    document["spec"]["template"]["spec"]["containers"][1]["resources"] = resources or {}
    if kind == "StatefulSet":
        document["spec"] |= {"serviceName": f"triton-{slot}", "podManagementPolicy": "Parallel"}
    admin.create(KINDS[kind], document)


def free(namespace: str) -> Raw:
    """A namespace that takes any pod."""
    made = restricted(namespace)
    made["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged"
    return made


def spec(kind: str = "Deployment", **changes: object) -> Raw:
    slots = {slot: {"host": f"triton-{slot}", "workload": {"kind": kind, "name": f"triton-{slot}"}} for slot in ("blue", "green")}
    return kubelet.spec(slots=slots, deploy={"image": kubelet.TEMPLATE, "timeout": "1h"}, **changes)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_an_image_becomes_ready_is_promoted_and_the_old_slot_goes_to_zero(
    admin: ObjectStore, store: ObjectStore, namespace: str, kind: str
) -> None:
    for slot, replicas in (("blue", 4), ("green", 0)):
        make(admin, kind, slot, namespace, replicas=replicas)
    played = OnCluster(admin, store, namespace, World(behaviours={"1": GOOD, "2": GOOD}), spec(kind))
    played.until(lambda: played.seen("blue").ready)
    before = admin.get(KINDS[kind], Key(namespace, "triton-blue"))
    played.annotate(version="2", request="run-1")
    most: dict[int, int] = {}

    def promoted() -> bool:
        """And on the way: whoever got traffic had the pods for it."""
        weight = dict(played.weights())["green"]
        pods = admin.get(KINDS[kind], Key(namespace, "triton-green"))["status"].get("availableReplicas", 0)
        most.setdefault(weight, pods)
        return played.status.phase is Phase.SUCCEEDED

    played.until(promoted)
    assert {weight: most[weight] for weight in (10, 25, 50, 100)} == {10: 1, 25: 1, 50: 2, 100: 4}
    assert dict(played.weights()) == {"blue": 0, "green": 100}
    assert admin.get(KINDS[kind], Key(namespace, "triton-blue"))["spec"] == before["spec"], "the way back is as it was"
    assert (played.status.slots["green"].version, played.status.slots["green"].ready_replicas) == ("2", 4)
    played.until(lambda: played.owner(kind, "blue")["spec"]["replicas"] == 0, virtual_s=10.0)
    assert played.world.now - played.status.attempts[0].ended_at >= 120
    note = played.owner(kind, "blue")["metadata"]["annotations"][ANNOTATION_SCALED]
    assert note == f"0 idle {played.status.attempts[0].id}"
    played.until(lambda: not played.owner(kind, "blue")["status"].get("replicas"))


def test_a_deployment_that_never_becomes_ready_ends_the_attempt_without_traffic_moved(
    admin: ObjectStore, store: ObjectStore, namespace: str
) -> None:
    make(admin, "Deployment", "blue", namespace, replicas=2)
    make(admin, "Deployment", "green", namespace, replicas=0, resources=MORE_GPUS_THAN_THERE_ARE)
    rollout = spec()
    rollout["deploy"]["timeout"] = "5m"
    played = OnCluster(admin, store, namespace, World(behaviours={"1": GOOD, "2": GOOD}), rollout)
    played.until(lambda: played.seen("blue").ready)
    played.annotate(version="2", request="run-1")
    moved: list[int] = []

    def over() -> bool:
        moved.append(dict(played.weights())["green"])
        return played.status.phase in RESTING and bool(played.status.attempts)

    played.until(over)
    assert set(moved) == {0}
    assert played.status.phase is Phase.STALLED
    assert played.status.attempts[0].reason.code == "LoadTimeout"
    assert "waiting for 1 of 1 pod of triton-green" in played.status.attempts[0].reason.sentence
    played.until(lambda: played.deployment("green")["spec"]["replicas"] == 0, virtual_s=10.0)


def test_pods_that_may_not_be_are_told_in_kubernetes_words(
    admin: ObjectStore, store: ObjectStore, controllers: Kube, namespace: str
) -> None:
    make(admin, "Deployment", "blue", namespace, replicas=1)
    make(admin, "Deployment", "green", namespace, replicas=0)
    played = OnCluster(admin, store, namespace, World(behaviours={"1": GOOD, "2": GOOD}), spec())
    played.until(lambda: played.seen("blue").ready)
    controllers.apply(restricted(namespace))
    played.settle()
    played.annotate(version="2", request="run-1")
    played.until(lambda: "violates PodSecurity" in played.status.slots["green"].message)
    assert played.status.phase is Phase.PREPARING
    controllers.apply(free(namespace))
    played.until(lambda: played.status.phase is Phase.PROGRESSING)
    assert played.status.slots["green"].message == ""


def test_what_somebody_else_changes_meanwhile_is_kept(admin: ObjectStore, store: ObjectStore, namespace: str) -> None:
    """A label, another container's image, replicas raised by an autoscaler: all theirs."""
    for slot, replicas in (("blue", 2), ("green", 0)):
        make(admin, "Deployment", slot, namespace, replicas=replicas)
    played = OnCluster(admin, store, namespace, World(behaviours={"1": GOOD, "2": GOOD}), spec())
    played.until(lambda: played.seen("blue").ready)
    played.annotate(version="2", request="run-1")
    played.until(lambda: dict(played.weights())["green"] == 10)
    key = Key(namespace, "triton-green")
    admin.patch(
        DEPLOYMENT,
        key,
        [
            {"op": "add", "path": "/metadata/labels", "value": {"team": "vision"}},
            {"op": "replace", "path": "/spec/replicas", "value": 3},
        ],
    )
    played.until(lambda: played.status.phase is Phase.SUCCEEDED)
    after = admin.get(DEPLOYMENT, key)
    assert (after["metadata"]["labels"], after["spec"]["replicas"]) == ({"team": "vision"}, 3)


# --- as a process ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("managed", [True, False])
def test_a_controller_process_brings_an_image_up(controllers: Kube, namespace: str, tmp_path: Path, managed: bool) -> None:
    """It sees pods come by its watch; without the chart's leave it says so and touches nothing."""
    with stage(controllers, namespace, tmp_path, {"workloads": {"manage": managed}}) as scene:
        controllers.apply(free(namespace))
        for slot, replicas in (("blue", 3), ("green", 0)):
            make(scene.store, "Deployment", slot, namespace, replicas=replicas)
        rollout = scene.store.get(ROLLOUT, Key(namespace, "resnet50"))
        rollout["spec"] |= spec()
        rollout["metadata"]["annotations"] = {ANNOTATION_VERSION: "2"}
        scene.store.replace(ROLLOUT, rollout)
        replica = scene.replica("a")
        replica.wait_acting()
        if not managed:
            soon(lambda: scene.status().get("phase") == "Stalled", PATIENCE_S, scene.logs)
            assert "this controller does not manage workloads" in scene.status()["reason"]["sentence"]
            assert {resource for _, resource in controllers.calls(replica.user)} & {"deployments", "statefulsets"} == set()
            return
        soon(lambda: scene.weights() == (90, 10), PATIENCE_S, lambda: f"{scene.status()}\n{scene.logs()}")
        assert replica.said("image set") is not None
        status = scene.status()["slots"]["green"]
        assert (status["version"], status["replicas"], status["readyReplicas"]) == ("2", 1, 1)
        assert replica.writes()["patch", "deployments"] == 2, "the image and the replicas, once"
        assert replica.end() == 0
