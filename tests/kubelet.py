"""Plays Kubernetes' controllers for the Deployments behind two slots: pods come up after a time, or never."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rollout_controller.api import images
from rollout_controller.api.meta import Raw
from rollout_controller.api.quantities import format_instant
from tests.world import Behaviour, World

TEMPLATE = "registry.example.com/vision/triton:{version}"


def spec(**changes: Any) -> Raw:
    """What a rollout with workloads says about slots, deploy and scale."""
    slots = {slot: {"host": f"triton-{slot}", "workload": {"name": f"triton-{slot}"}} for slot in ("blue", "green")}
    return {"slots": slots, "deploy": {"image": TEMPLATE, "timeout": "5m"}, "scale": {"idle": 0, "idleAfter": "2m"}, **changes}


def deployment(slot: str, *, replicas: int, version: str = "1", namespace: str = "vision") -> Raw:
    """A Deployment as a user applies it: Triton, and a sidecar from elsewhere."""
    containers = [
        {"name": "metrics", "image": "prom/statsd-exporter:v0.28"},
        {"name": "triton", "image": images.image_of(TEMPLATE, version), "args": ["--model-repository=/models"]},
    ]
    labels = {"app": "triton", "slot": slot}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"triton-{slot}",
            "namespace": namespace,
            "annotations": {"deployment.kubernetes.io/revision": "1"},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
        },
    }


@dataclass
class Pod:
    image: str
    born: float
    placed: bool = False


@dataclass
class Kubelet:
    """Pods by slot. `nodes`: how many there is room for in all; more stay pending."""

    world: World
    nodes: int = 1000
    pods: dict[str, list[Pod]] = field(default_factory=lambda: {"blue": [], "green": []})
    deadline_s: float = 120.0
    """progressDeadlineSeconds of the Deployments."""
    versions_by_image: bool = True
    """False: what runs in a pod is Triton's business."""
    moved: dict[str, tuple[object, float]] = field(default_factory=dict)
    """Since when the counts of a slot are what they are."""

    def begin(self, slot: str, document: Raw) -> None:
        """Its pods are up already when the story begins."""
        self.pods[slot] = [Pod(self.image(document), -1e9, placed=True) for _ in range(document["spec"]["replicas"])]

    def status(self, slot: str, document: Raw) -> Raw:
        """The Deployment's status at the world's time; what runs in the slot follows from it."""
        wanted, image = document["spec"]["replicas"], self.image(document)
        pods = self.pods[slot]
        new = [pod for pod in pods if pod.image == image][:wanted]
        old = [pod for pod in pods if pod.image != image]
        new += [Pod(image, self.world.now) for _ in range(wanted - len(new))]
        self.pods[slot] = [*new, *old]
        for pod in new:
            if not pod.placed and sum(each.placed for each in (*self.pods["blue"], *self.pods["green"])) < self.nodes:
                pod.placed, pod.born = True, self.world.now
        up = [pod for pod in new if pod.placed and self._ready(pod)]
        old = old[: max(0, wanted - len(up))]
        self.pods[slot] = [*new, *old]
        running = up or old
        if self.versions_by_image:
            self.world.running[slot] = images.version_of(TEMPLATE, running[0].image) if running else None
        counts = {"replicas": len(new) + len(old), "updatedReplicas": len(new), "availableReplicas": len(up) + len(old)}
        status = {name: count for name, count in counts.items() if count}
        conditions = self._conditions(slot, complete=len(up) == wanted and not old, state=(image, wanted, len(up), len(old)))
        return {"observedGeneration": document["metadata"]["generation"], **status, "conditions": conditions}

    def _conditions(self, slot: str, *, complete: bool, state: object) -> list[Raw]:
        known, since = self.moved.get(slot, (None, 0.0))
        if known != state:
            since = self.world.now
            self.moved[slot] = (state, since)
        progressing = {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}
        if not complete and self.world.now - since >= self.deadline_s:
            progressing = {
                "type": "Progressing",
                "status": "False",
                "reason": "ProgressDeadlineExceeded",
                "message": f'ReplicaSet "triton-{slot}-6d4cf56db6" has timed out progressing.',
                "lastUpdateTime": format_instant(since + self.deadline_s),
            }
        return [progressing]

    def _ready(self, pod: Pod) -> bool:
        how = self.world.behaviours.get(images.version_of(TEMPLATE, pod.image) or "", Behaviour())
        return how.fails_to_load is None and self.world.now - pod.born >= how.load_s

    @staticmethod
    def image(document: Raw) -> str:
        return str(document["spec"]["template"]["spec"]["containers"][1]["image"])
