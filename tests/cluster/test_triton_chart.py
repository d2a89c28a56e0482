"""The chart of Triton on a real API server: its fields are known, and an upgrade takes nothing back that the controller did."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import helm_python
import pytest

from rollout_controller.api.names import Raw
from rollout_controller.lab import parts
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import KubeRefused
from tests.support.chart import apply_crds, make_namespace, restricted
from tests.support.triton_chart import EVERYTHING, IMAGES, TRITON, named, over, rendered, values_of

pytestmark = pytest.mark.cluster

WHOLE = "vision-whole"
KEPT = "vision-kept"
PATCH = "application/json-patch+json"


@pytest.fixture(scope="module")
def knowing(kube: Kube) -> Kube:
    """An API server that knows all kinds of the chart; namespaces take only pods which Pod Security calls restricted."""
    kube.apply(*parts.find_operator_crds(print))
    kube.apply_istio_crds("virtualservices", "destinationrules")
    apply_crds(kube)
    kube.apply(restricted(WHOLE))
    make_namespace(kube, KEPT)
    return kube


def apply_strictly(kube: Kube, document: Raw) -> Raw:
    """As `kubectl apply --server-side --validate=strict`: a field that the definition does not have is refused."""
    query = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
    applied: Raw = kube.api.call(
        "PATCH", kube.api.path_of(document), document, query=query, content_type="application/apply-patch+yaml"
    )
    return applied


def test_every_field_of_every_object_is_one_that_the_api_server_knows(knowing: Kube) -> None:
    everything = over(EVERYTHING, {"affinity": {"nodeAffinity": {}}})
    documents = rendered(everything, namespace=WHOLE) + rendered(IMAGES, base="image", name="images", namespace=WHOLE)
    documents += rendered(name="plain", namespace=WHOLE)
    kept = [apply_strictly(knowing, document) for document in documents]
    kinds = {document["kind"] for document in kept}
    assert kinds == {
        *("Deployment", "Service", "ServiceAccount", "VirtualService", "DestinationRule", "TritonRollout", "RolloutPolicy"),
        *("ServiceMonitor", "PodDisruptionBudget", "HorizontalPodAutoscaler"),
    }
    broken = deepcopy(named(documents, "Deployment")["plain-triton-blue"])
    broken["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["httpGet"]["paths"] = "/"
    with pytest.raises(KubeRefused, match=r"field not declared in schema|unknown field"):
        apply_strictly(knowing, broken)


def test_pod_security_restricted_takes_the_pods(knowing: Kube) -> None:
    """Without the sidecar, which is Istio's to make fit."""
    documents = rendered(name="pods", namespace=WHOLE)
    knowing.apply(*named(documents, "ServiceAccount").values())
    for name, deployment in named(documents, "Deployment").items():
        spec = deepcopy(deployment["spec"]["template"]["spec"])
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": WHOLE}, "spec": spec}
        path = f"/api/v1/namespaces/{WHOLE}/pods"
        knowing.api.call("POST", path, pod, query={"dryRun": "All"})
        spec["containers"][0]["securityContext"].pop("capabilities")
        with pytest.raises(KubeRefused, match="unrestricted capabilities"):
            knowing.api.call("POST", path, pod, query={"dryRun": "All"})


def test_an_upgrade_takes_back_neither_weights_nor_images_nor_replicas(knowing: Kube, tmp_path: Path) -> None:
    """With Helm's own engine, after what the controller writes in a promotion; then the slot that is stable gets a new name."""
    archive = helm_python.package(TRITON, destination=tmp_path)
    values = values_of("image")
    route = f"/apis/networking.istio.io/v1/namespaces/{KEPT}/virtualservices/triton"
    workloads = f"/apis/apps/v1/namespaces/{KEPT}/deployments"

    def state() -> tuple[list[int], dict[str, tuple[int, str]]]:
        entries = knowing.api.get(route)["spec"]["http"][0]["route"]
        found = {each["metadata"]["name"]: each["spec"] for each in knowing.api.get(workloads)["items"]}
        pods = {name: (spec["replicas"], spec["template"]["spec"]["containers"][0]["image"]) for name, spec in found.items()}
        return [entry.get("weight", 0) for entry in entries], pods

    image = "registry.example.com/vision/triton"
    with helm_python.Config(kubeconfig_path=knowing.admin, namespace=KEPT) as helm:
        helm.install(archive, "triton", values, namespace=KEPT, timeout=60)
        assert state() == ([100, 0], {"triton-blue": (3, f"{image}:1"), "triton-green": (0, f"{image}:1")})

        weights = [
            {"op": "replace", "path": f"/spec/http/0/route/{n}/weight", "value": value} for n, value in enumerate((0, 100))
        ]
        knowing.api.call("PATCH", route, weights, content_type=PATCH)
        container = "/spec/template/spec/containers/0/image"
        brought = [
            {"op": "replace", "path": "/spec/replicas", "value": 4},
            {"op": "replace", "path": container, "value": f"{image}:2"},
        ]
        knowing.api.call("PATCH", f"{workloads}/triton-green", brought, content_type=PATCH)
        idle = [{"op": "replace", "path": "/spec/replicas", "value": 0}]
        knowing.api.call("PATCH", f"{workloads}/triton-blue", idle, content_type=PATCH)
        promoted = ([0, 100], {"triton-blue": (0, f"{image}:1"), "triton-green": (4, f"{image}:2")})
        assert state() == promoted

        changed = {**values, "replicas": 7, "drain": {"requestsSeconds": 99}}
        assert helm.upgrade(archive, "triton", changed, namespace=KEPT, timeout=60)["revision"] == 2
        assert state() == promoted
        green = knowing.api.get(f"{workloads}/triton-green")["spec"]["template"]["spec"]["containers"][0]
        assert "--exit-timeout-secs=99" in green["args"], "what is not the controller's is upgraded"

        moved = {**changed, "slots": ["blue", "emerald"]}
        with pytest.raises(helm_python.HelmReleaseError, match=r"conflict.*\.spec\.http"):
            helm.upgrade(archive, "triton", moved, namespace=KEPT, timeout=60)
        assert state()[0] == [0, 100]
        _give_to_helm(knowing, route)  # what `helm upgrade --force-conflicts` does
        helm.upgrade(archive, "triton", moved, namespace=KEPT, timeout=60)
        hosts = [entry["destination"]["host"] for entry in knowing.api.get(route)["spec"]["http"][0]["route"]]
        assert hosts == ["triton-blue", "triton-emerald"]
        assert state()[0] == [0, 100], "traffic goes where the slot has gone, and not to one that nobody asked for"
        helm.uninstall("triton", timeout=60)


def _give_to_helm(kube: Kube, path: str) -> None:
    """Make Helm the only owner of this object, whoever wrote to it since."""
    owners = kube.api.get(path)["metadata"]["managedFields"]
    mine = [field for field in owners if field["operation"] == "Apply"]
    assert len(mine) == 1 < len(owners)
    kube.api.call("PATCH", path, [{"op": "replace", "path": "/metadata/managedFields", "value": mine}], content_type=PATCH)
