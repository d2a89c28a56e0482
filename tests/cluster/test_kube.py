"""The API server of these tests behaves as a cluster's does where our tests depend on it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes import client, config, watch

from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import Document, KubeRefused

pytestmark = pytest.mark.cluster


def core(kubeconfig: Path) -> client.CoreV1Api:
    return client.CoreV1Api(config.new_client_from_config(str(kubeconfig)))  # type: ignore[no-untyped-call]


def config_map(name: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name))


def grant(kube: Kube, namespace: str, subject: Document, verbs: list[str], resources: list[str]) -> None:
    api = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": resources, "verbs": verbs}]
    meta = {"name": subject["name"], "namespace": namespace}
    kube.apply(
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta, "rules": rules},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta,
            "roleRef": {"apiGroup": api, "kind": "Role", "name": subject["name"]},
            "subjects": [subject],
        },
    )


def deployment(name: str, replicas: int) -> Document:
    labels = {"app": name}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "triton", "image": "triton:1"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": pod}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def wait_for(check: Callable[[], Any], timeout_s: float = 120.0) -> Any:
    """What `check` returned once it was true. Fails after the time."""
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, f"{found!r} after {timeout_s} s"
        time.sleep(0.1)
    return found


def test_a_user_may_do_what_rbac_grants_and_nothing_else(kube: Kube, namespace: str) -> None:
    ann = core(kube.user("ann", ("team-a",)))
    with pytest.raises(client.ApiException) as refused:
        ann.list_namespaced_config_map(namespace, _request_timeout=10)
    assert refused.value.status == 403
    grant(kube, namespace, {"kind": "Group", "name": "team-a", "apiGroup": "rbac.authorization.k8s.io"}, ["list"], ["configmaps"])
    wait_for(lambda: allowed(ann, namespace))  # RBAC reaches the authorizer a moment later
    with pytest.raises(client.ApiException) as refused:
        ann.list_namespaced_secret(namespace, _request_timeout=10)
    assert refused.value.status == 403


def allowed(api: client.CoreV1Api, namespace: str) -> bool:
    try:
        api.list_namespaced_config_map(namespace, _request_timeout=10)
    except client.ApiException as error:
        if error.status != 403:
            raise
        return False
    return True


def test_the_audit_log_counts_each_call_of_a_service_account_once(kube: Kube, namespace: str) -> None:
    user = f"system:serviceaccount:{namespace}:controller"
    account = core(kube.service_account(namespace, "controller"))
    grant(kube, namespace, {"kind": "ServiceAccount", "name": "controller", "namespace": namespace}, ["*"], ["configmaps"])
    wait_for(lambda: allowed(account, namespace))
    before = kube.calls(user)
    for number in range(3):
        account.create_namespaced_config_map(namespace, config_map(f"c{number}"), _request_timeout=10)
    changes = watch.Watch()  # type: ignore[no-untyped-call]
    list(changes.stream(account.list_namespaced_config_map, namespace, timeout_seconds=1))  # type: ignore[no-untyped-call]
    with pytest.raises(client.ApiException):
        account.create_namespaced_config_map("kube-system", config_map("c"), _request_timeout=10)
    expected = Counter({("create", "configmaps"): 4, ("watch", "configmaps"): 1})
    wait_for(lambda: kube.calls(user) - before == expected)


def test_a_kubeconfig_names_its_namespace_and_trusts_the_server(kube: Kube, namespace: str) -> None:
    document = yaml.safe_load(kube.service_account(namespace, "robot").read_text())
    assert document["contexts"][0]["context"]["namespace"] == namespace
    assert document["clusters"][0]["cluster"].keys() == {"server", "certificate-authority-data"}


def test_a_deployment_becomes_ready(controllers: Kube, namespace: str) -> None:
    controllers.apply(deployment("web", 3), namespace=namespace)
    wait_for(lambda: controllers.api.read(deployment("web", 3), namespace=namespace)["status"].get("readyReplicas") == 3)


def test_a_watch_from_before_a_compaction_is_410(kube: Kube, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    since = kube.api.get(path)["metadata"]["resourceVersion"]
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}, namespace=namespace)
    kube.compact()
    event = kube.api.get(path, watch="1", resourceVersion=since, timeoutSeconds="2")
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


def test_what_was_kept_outlives_the_server(kube: Kube, namespace: str) -> None:
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}}, namespace=namespace)
    kube.kill_apiserver()
    with pytest.raises(KubeRefused) as silent:
        kube.api.get(
            "/api",
        )
    assert silent.value.status == 0
    kube.start_apiserver()
    kube.freeze_apiserver()
    with pytest.raises(KubeRefused) as frozen:
        kube.api.call("GET", "/api", timeout_s=1)
    kube.thaw_apiserver()
    kube.wait_ready()
    assert frozen.value.status == 0
    assert kube.api.get(f"/api/v1/namespaces/{namespace}/configmaps/kept")["metadata"]["name"] == "kept"


def test_a_virtual_service_is_checked_by_istios_schema(kube: Kube, namespace: str) -> None:
    document: Document = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "v"}}
    route = {"destination": {"host": "a"}, "weight": "many"}
    document["spec"] = {"hosts": ["a"], "http": [{"route": [route]}]}
    with pytest.raises(KubeRefused, match="weight") as refused:
        kube.api.call("POST", f"/apis/networking.istio.io/v1/namespaces/{namespace}/virtualservices", document)
    assert refused.value.status == 422
