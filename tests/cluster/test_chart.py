"""The chart on a real API server: it installs, its pods are let in and become ready, and its rights are what they should be."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

import helm_python
import pytest
import yaml

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import LEASE, POLICY, ROLLOUT, VIRTUAL_SERVICE, AlreadyExists
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import KubeApi, KubeRefused
from tests.contract import documents
from tests.support.chart import CHART, NAME, Installed, install_chart, make_namespace, needed, one, render, restricted

pytestmark = pytest.mark.cluster

READY_S = 180.0
GROUP = "/apis/rollouts.triton.dev/v1alpha1"
ROUTES = "/apis/networking.istio.io/v1"
FORBIDDEN = 403
READ = {"get", "list", "watch"}
RULES = {
    ("rollouts.triton.dev", "tritonrollouts", ""): READ,
    ("rollouts.triton.dev", "rolloutpolicies", ""): READ,
    ("rollouts.triton.dev", "tritonrollouts/status", ""): {"patch"},
    ("networking.istio.io", "virtualservices", ""): READ | {"patch"},
    ("events.k8s.io", "events", ""): {"create", "patch"},
}
WORKLOADS = {("apps", kind, ""): READ | {"patch"} for kind in ("deployments", "statefulsets")}
LEADER = {("coordination.k8s.io", "leases", ""): {"create"}, ("coordination.k8s.io", "leases", NAME): {"get", "update"}}


def as_account(kube: Kube, installed: Installed) -> KubeApi:
    """Calls as the chart's service account."""
    config = json.loads(installed.kubeconfig.read_text())
    return KubeApi(kube.url, kube.ca, config["users"][0]["user"]["token"])


def rules(api: KubeApi, namespace: str) -> dict[tuple[str, str, str], set[str]]:
    """Everything that the API server says this user may do there, but for asking about itself: that may everybody."""
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": namespace}}
    status = api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)["status"]
    assert not status["incomplete"]
    found: dict[tuple[str, str, str], set[str]] = {}
    for rule in status["resourceRules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [""]):
                    if group not in ("authorization.k8s.io", "authentication.k8s.io"):
                        found.setdefault((group, resource, name), set()).update(rule["verbs"])
    return found


def may(api: KubeApi, verb: str, group: str, resource: str, namespace: str = "") -> bool:
    """A namespace left out: in all of them."""
    resource, _, sub = resource.partition("/")
    asked = {"verb": verb, "group": group, "resource": resource, "subresource": sub, "namespace": namespace}
    review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": asked}}
    allowed: bool = api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)["status"]["allowed"]
    return allowed


def refused(api: KubeApi, method: str, path: str, body: Raw | list[Raw] | None = None, content: str = "application/json") -> None:
    with pytest.raises(KubeRefused) as caught:
        api.call(method, path, body, content_type=content)
    assert caught.value.status == FORBIDDEN


@pytest.fixture(scope="module")
def wide(kube: Kube) -> tuple[KubeApi, Installed]:
    """A cluster-wide install, and its service account."""
    installed = install_chart(kube, namespace="wide")
    return as_account(kube, installed), installed


@pytest.fixture(scope="module")
def narrow(kube: Kube) -> tuple[KubeApi, Installed]:
    """An install for two namespaces that may manage workloads."""
    installed = install_chart(kube, {"namespaces": ["vision", "speech"], "workloads": {"manage": True}}, namespace="narrow")
    return as_account(kube, installed), installed


# --- rights --------------------------------------------------------------------------------------------------------


def test_rights_cluster_wide(kube: Kube, wide: tuple[KubeApi, Installed]) -> None:
    api, _ = wide
    assert rules(api, "default") == RULES
    assert rules(api, "wide") == {**RULES, **LEADER}
    assert may(api, "watch", "rollouts.triton.dev", "tritonrollouts")
    assert not may(api, "patch", "apps", "deployments")


def test_rights_of_two_namespaces(narrow: tuple[KubeApi, Installed]) -> None:
    api, _ = narrow
    for namespace in ("vision", "speech"):
        assert rules(api, namespace) == {**RULES, **WORKLOADS}
    assert rules(api, "narrow") == LEADER
    assert rules(api, "default") == {}
    for verb in (*READ, "patch", "update", "create"):
        for group, resource, _name in {**RULES, **WORKLOADS, **LEADER}:
            assert not may(api, verb, group, resource), "a right in all namespaces"


def test_the_account_can_do_its_work_and_no_more(kube: Kube, wide: tuple[KubeApi, Installed], namespace: str) -> None:
    api, _ = wide
    rollout = kube.api.call("POST", f"{GROUP}/namespaces/{namespace}/tritonrollouts", documents.rollout(namespace))
    path = f"{GROUP}/namespaces/{namespace}/tritonrollouts/resnet50"
    assert api.get(f"{GROUP}/tritonrollouts")["items"]
    written = api.call("PATCH", f"{path}/status", {"status": {"phase": "Idle"}}, content_type="application/merge-patch+json")
    assert written["status"] == {"phase": "Idle"}
    refused(api, "PUT", path, rollout)
    refused(api, "DELETE", path)
    refused(api, "POST", f"{GROUP}/namespaces/{namespace}/rolloutpolicies", documents.policy(namespace))

    kube.api.call("POST", f"{ROUTES}/namespaces/{namespace}/virtualservices", documents.virtual_service(namespace))
    route = f"{ROUTES}/namespaces/{namespace}/virtualservices/triton"
    weights = [{"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 90}]
    api.call("PATCH", route, weights, content_type="application/json-patch+json")
    refused(api, "PUT", route, kube.api.get(route))
    refused(api, "DELETE", route)
    refused(api, "GET", f"/api/v1/namespaces/{namespace}/secrets")
    refused(api, "GET", f"/api/v1/namespaces/{namespace}/configmaps")
    refused(api, "GET", f"/apis/apps/v1/namespaces/{namespace}/deployments")


def test_the_rights_are_enough_for_the_controllers_own_store(kube: Kube, wide: tuple[KubeApi, Installed], namespace: str) -> None:
    """Everything that the controller asks of its store, as the chart's account: nothing is refused."""
    _, installed = wide
    transport = OfficialTransport(installed.kubeconfig)
    store = KubernetesStore(transport)
    for document in (documents.rollout(namespace), documents.policy(namespace), documents.virtual_service(namespace)):
        kube.apply(document)
    try:
        for kind in (ROLLOUT, POLICY, VIRTUAL_SERVICE):
            for where in (namespace, None):
                listing = store.list(kind, where)
                assert listing.items
                assert list(store.watch(kind, where, listing.resource_version, 0.2)) is not None
        rollout = store.get(ROLLOUT, Key(namespace, "resnet50"))
        store.replace_status(ROLLOUT, Key(namespace, "resnet50"), {"phase": "Idle"}, rollout["metadata"]["resourceVersion"])
        weight = {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 90}
        store.patch(VIRTUAL_SERVICE, Key(namespace, "triton"), [weight])
        lease = {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": {"name": NAME, "namespace": "wide"}}
        with suppress(AlreadyExists):
            store.create(LEASE, {**lease, "spec": {"holderIdentity": "a"}})
        held = store.get(LEASE, Key("wide", NAME))
        store.replace(LEASE, {**held, "spec": {"holderIdentity": "b"}})
    finally:
        transport.close()


def test_the_account_can_lead_and_only_with_its_own_lease(kube: Kube, wide: tuple[KubeApi, Installed]) -> None:
    api, _ = wide
    leases = "/apis/coordination.k8s.io/v1/namespaces/wide/leases"
    with suppress(KubeRefused):  # another test has made it
        api.call("POST", leases, {"metadata": {"name": NAME}, "spec": {"holderIdentity": "a"}})
    held = api.get(f"{leases}/{NAME}")
    api.call("PUT", f"{leases}/{NAME}", {**held, "spec": {"holderIdentity": "b"}})
    kube.api.call("POST", leases, {"metadata": {"name": "other"}})
    refused(api, "GET", f"{leases}/other")
    refused(api, "GET", leases)
    refused(api, "DELETE", f"{leases}/{NAME}")
    refused(api, "GET", f"/apis/coordination.k8s.io/v1/namespaces/default/leases/{NAME}")


def test_the_account_can_tell(wide: tuple[KubeApi, Installed], namespace: str) -> None:
    api, _ = wide
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "resnet50.1", "namespace": namespace},
        "eventTime": "2026-01-31T13:02:07.250000Z",
        "type": "Normal",
        "reason": "StepBegun",
        "note": "Version 2 gets 10 %.",
        "action": "Rollout",
        "reportingController": "rollouts.triton.dev/controller",
        "reportingInstance": "a",
        "regarding": {"kind": "TritonRollout", "name": "resnet50", "namespace": namespace},
    }
    path = f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
    api.call("POST", path, event)
    series = {"series": {"count": 2, "lastObservedTime": "2026-01-31T13:03:07.250000Z"}}
    api.call("PATCH", f"{path}/resnet50.1", series, content_type="application/merge-patch+json")


# --- pods ----------------------------------------------------------------------------------------------------------


def test_pod_security_restricted_takes_the_pods(controllers: Kube) -> None:
    """The namespace enforces it; Deployment, ReplicaSet, scheduler and a kubelet's stand-in are real programs."""
    token = {"prometheus": {"tokenSecret": {"name": "prometheus-token", "key": "token"}}}
    installed = install_chart(controllers, token, namespace="pods", pods=True)
    account = one(installed.documents, "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    deployment = one(installed.documents, "Deployment")
    deadline = time.monotonic() + READY_S
    status: Raw = {}
    while time.monotonic() < deadline and status.get("availableReplicas") != 2:
        time.sleep(0.3)
        status = controllers.api.read(deployment)["status"]
    assert status.get("availableReplicas") == 2, status
    for pod in controllers.api.get("/api/v1/namespaces/pods/pods")["items"]:
        assert any(mount["mountPath"].endswith("/serviceaccount") for mount in pod["spec"]["containers"][0]["volumeMounts"])
    addresses = controllers.api.get("/apis/discovery.k8s.io/v1/namespaces/pods/endpointslices")["items"]
    assert sum(len(found["endpoints"] or []) for found in addresses) == 2, "the metrics Service finds both"


def test_pod_security_restricted_refuses_what_we_left_out(controllers: Kube) -> None:
    """The same pod with one right more: the check above looks at something."""
    controllers.apply(restricted("refused"))
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "bad", "namespace": "refused"}}
    spec = json.loads(json.dumps(one(render(), "Deployment")["spec"]["template"]["spec"]))
    spec.pop("serviceAccountName")
    controllers.api.call("POST", "/api/v1/namespaces/refused/pods", {**pod, "spec": spec}, query={"dryRun": "All"})
    spec["containers"][0]["securityContext"].pop("capabilities")
    with pytest.raises(KubeRefused, match="unrestricted capabilities"):
        controllers.api.call("POST", "/api/v1/namespaces/refused/pods", {**pod, "spec": spec}, query={"dryRun": "All"})


# --- Helm's own way ----------------------------------------------------------------------------------------------------


def test_helm_installs_upgrades_and_leaves_what_is_yours(kube: Kube, tmp_path: Path) -> None:
    """With Helm's own engine: install with CRDs, upgrade, uninstall; the documents of users stay."""
    make_namespace(kube, "by-helm")
    archive = helm_python.package(CHART, destination=tmp_path)
    with helm_python.Config(kubeconfig_path=kube.admin, namespace="by-helm") as helm:
        done = helm.install(archive, "mine", needed(), namespace="by-helm", timeout=60)
        assert (done["status"], done["revision"]) == ("deployed", 1)
        name = "mine-rollout-controller"
        path = f"/apis/apps/v1/namespaces/by-helm/deployments/{name}"
        assert kube.api.get(path)["spec"]["replicas"] == 2
        kube.api.call("POST", f"{GROUP}/namespaces/by-helm/tritonrollouts", documents.rollout("by-helm"))

        _upgrade_crds_as_documented(kube, archive)
        narrowed = {**needed(), "replicas": 1, "namespaces": ["by-helm"]}
        assert helm.upgrade(archive, "mine", narrowed, namespace="by-helm", timeout=60)["revision"] == 2
        assert kube.api.get(path)["spec"]["replicas"] == 1
        clusterwide = kube.api.get("/apis/rbac.authorization.k8s.io/v1/clusterroles")["items"]
        assert not [role for role in clusterwide if role["metadata"]["name"].startswith("by-helm:")], "gone with the mode"

        helm.uninstall("mine", timeout=60)
    with pytest.raises(KubeRefused):
        kube.api.get(path)
    assert kube.api.get(f"{GROUP}/namespaces/by-helm/tritonrollouts/resnet50")["spec"]["policy"] == "balanced"


def _upgrade_crds_as_documented(kube: Kube, archive: str) -> None:
    """`helm show crds CHART | kubectl apply --server-side --force-conflicts -f -`."""
    with helm_python.Chart.load(archive) as chart:
        for found in chart.crds:
            definition = yaml.safe_load(found["data"])
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{definition['metadata']['name']}"
            query = {"fieldManager": "kubectl", "force": "true"}
            kube.api.call("PATCH", path, definition, query=query, content_type="application/apply-patch+yaml")
