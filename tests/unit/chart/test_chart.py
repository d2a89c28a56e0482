"""The chart: what Helm makes of it, what it gives rights to, and what its values may be."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import Any

import helm_python
import pytest
import yaml

from rollout_controller.api.names import Raw
from rollout_controller.cluster.store import KINDS
from tests.support.chart import CHART, needed, one, render

CI = sorted((CHART / "ci").glob("*.yaml"))
READ = ("get", "list", "watch")
RIGHTS = {
    ("rollouts.triton.dev", "tritonrollouts"): {*READ},
    ("rollouts.triton.dev", "rolloutpolicies"): {*READ},
    ("rollouts.triton.dev", "tritonrollouts/status"): {"patch"},
    ("networking.istio.io", "virtualservices"): {*READ, "patch"},
    ("events.k8s.io", "events"): {"create", "patch"},
}
"""All that the controller may do where TritonRollouts are."""
WORKLOADS = {("apps", kind): {*READ, "patch"} for kind in ("deployments", "statefulsets")}
LEADER = {
    ("coordination.k8s.io", "leases"): {"create"},
    ("coordination.k8s.io", "leases", "rollout-controller"): {"get", "update"},
}


def kinds(documents: list[Raw]) -> set[str]:
    return {document["kind"] for document in documents}


def rights(role: Raw) -> dict[tuple[str, ...], set[str]]:
    """(group, resource) or (group, resource, name) -> verbs."""
    found: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for rule in role["rules"]:
        assert set(rule) <= {"apiGroups", "resources", "verbs", "resourceNames"}, rule
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for name in rule.get("resourceNames", [None]):
                    found[(group, resource) if name is None else (group, resource, name)] |= set(rule["verbs"])
    return dict(found)


@pytest.mark.parametrize("path", CI, ids=lambda path: path.stem)
@pytest.mark.parametrize("version", ["v1.29.0", "v1.36.3"])
def test_helm_finds_nothing_to_say(path: Any, version: str) -> None:
    report = helm_python.lint(CHART, yaml.safe_load(path.read_text()), strict=True, kube_version=version)
    assert report["errors"] == []
    assert [message["error"] for message in report["messages"]] == ["icon is recommended"]


@pytest.mark.parametrize("path", CI, ids=lambda path: path.stem)
def test_it_packs(path: Any, tmp_path: Any) -> None:
    """An archive has the CRDs and the schema, and renders as the folder does."""
    archive = helm_python.package(CHART, destination=tmp_path)
    values = yaml.safe_load(path.read_text())
    with helm_python.Chart.load(archive) as packed, helm_python.Chart.load(CHART) as chart:
        assert len(packed.crds) == 2
        assert packed.schema is not None
        assert packed.render(values, name="x", namespace="y") == chart.render(values, name="x", namespace="y")


def test_everything_is_named_and_labelled() -> None:
    for document in render():
        assert document["metadata"]["labels"]["app.kubernetes.io/name"] == "rollout-controller"
        assert document["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert ("namespace" in document["metadata"]) is not document["kind"].startswith("Cluster")


# --- rights --------------------------------------------------------------------------------------------------------


def test_rights_of_a_cluster_wide_install() -> None:
    documents = render()
    assert rights(one(documents, "ClusterRole")) == RIGHTS
    assert one(documents, "ClusterRoleBinding")["subjects"] == [
        {"kind": "ServiceAccount", "name": "rollout-controller", "namespace": "rollout-system"}
    ]
    assert rights(one(documents, "Role")) == LEADER
    assert one(documents, "Role")["metadata"]["namespace"] == "rollout-system"


def test_a_namespaced_install_has_no_cluster_wide_right() -> None:
    documents = render({"namespaces": ["vision", "speech"]})
    assert not {kind for kind in kinds(documents) if kind.startswith("Cluster")}
    roles = {document["metadata"]["namespace"]: rights(document) for document in documents if document["kind"] == "Role"}
    assert roles == {"vision": RIGHTS, "speech": RIGHTS, "rollout-system": LEADER}
    bound = {document["metadata"]["namespace"]: document for document in documents if document["kind"] == "RoleBinding"}
    assert set(bound) == set(roles)
    for document in bound.values():
        assert document["roleRef"]["kind"] == "Role"
        assert document["subjects"][0]["namespace"] == "rollout-system"


def test_workloads_only_where_it_may_manage_them() -> None:
    assert rights(one(render({"workloads": {"manage": True}}), "ClusterRole")) == {**RIGHTS, **WORKLOADS}


@pytest.mark.parametrize("values", [{}, {"namespaces": ["vision"], "workloads": {"manage": True}}])
def test_no_secret_no_wildcard_no_escalation(values: Raw) -> None:
    roles = [document for document in render(values) if document["kind"] in ("Role", "ClusterRole")]
    assert roles
    for role in roles:
        for (group, resource, *_), verbs in rights(role).items():
            assert group in {"rollouts.triton.dev", "networking.istio.io", "events.k8s.io", "apps", "coordination.k8s.io"}
            assert "secrets" not in resource
            assert "*" not in (resource, group, *verbs)
            assert not verbs & {"delete", "deletecollection", "bind", "escalate", "impersonate"}


def test_rights_name_what_the_store_asks_for() -> None:
    plurals = {(kind.api_version.partition("/")[0], kind.plural) for kind in KINDS}
    asked = {place[:2] for place in (*RIGHTS, *WORKLOADS, *LEADER)} - {("rollouts.triton.dev", "tritonrollouts/status")}
    assert asked == plurals


def test_rights_and_account_may_come_from_elsewhere() -> None:
    documents = render({"rbac": {"create": False}, "serviceAccount": {"create": False, "name": "mine"}})
    assert not kinds(documents) & {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "ServiceAccount"}
    assert one(documents, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    with pytest.raises(helm_python.HelmRenderError, match=r"serviceAccount\.name is needed"):
        render({"serviceAccount": {"create": False}})


# --- pods ----------------------------------------------------------------------------------------------------------


def test_the_pods_may_do_nothing_that_they_need_not() -> None:
    """What Pod Security calls restricted, and a file system that cannot be written."""
    pod = one(render(), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "fsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]
    assert not any("hostPath" in volume for volume in pod["volumes"])
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)


def test_the_platform_may_choose_the_user() -> None:
    context = one(render({"runAsUser": None}), "Deployment")["spec"]["template"]["spec"]["securityContext"]
    assert context == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def test_probes_ports_and_metrics_fit_together() -> None:
    documents = render({"metrics": {"port": 9999}})
    (container,) = one(documents, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["ports"] == [{"name": "metrics", "containerPort": 9999}]
    for probe, path in (("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "metrics"}
    service = one(documents, "Service")["spec"]
    assert service["ports"] == [{"name": "metrics", "port": 9999, "targetPort": "metrics"}]
    pods = one(documents, "Deployment")["spec"]
    assert service["selector"] == pods["selector"]["matchLabels"]
    assert service["selector"].items() <= pods["template"]["metadata"]["labels"].items()
    assert config(documents)["metrics"] == {"host": "0.0.0.0", "port": 9999}


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ({}, "registry.example.com/rollout-controller:0.1.0"),
        ({"repository": "localhost:5000/a/b", "tag": "dev"}, "localhost:5000/a/b:dev"),
        ({"tag": "dev", "digest": "sha256:" + "a" * 64}, "registry.example.com/rollout-controller@sha256:" + "a" * 64),
    ],
)
def test_images(image: Raw, wanted: str) -> None:
    (container,) = one(render({"image": image}), "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == wanted


def test_the_charts_version_is_the_programs() -> None:
    project = (CHART.parents[1] / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.*)"$', project, re.MULTILINE)
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert version is not None
    assert chart["version"] == chart["appVersion"] == version[1]


def test_one_replica_has_no_disruption_budget() -> None:
    assert one(render(), "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    assert "PodDisruptionBudget" not in kinds(render({"replicas": 1}))
    assert "PodDisruptionBudget" not in kinds(render({"podDisruptionBudget": {"enabled": False}}))


def test_new_configuration_starts_new_pods() -> None:
    def mark(values: Raw) -> str:
        annotations = one(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]
        return str(annotations["checksum/config"])

    assert mark({}) == mark({"replicas": 3}) != mark({"namespaces": ["vision"]})


def test_two_releases_share_nothing() -> None:
    """The same name in two namespaces, and two names in one namespace."""

    def names(documents: list[Raw]) -> set[tuple[str, str, str]]:
        return {(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents}

    first = render()
    for other in (render(namespace="other"), render(name="other"), render({"fullnameOverride": "mine"}, name="third")):
        assert not names(first) & names(other)


# --- configuration ---------------------------------------------------------------------------------------------------


def config(documents: list[Raw]) -> Raw:
    found: Raw = yaml.safe_load(one(documents, "ConfigMap")["data"]["config.yaml"])
    return found


def test_the_configuration_is_what_the_values_say() -> None:
    assert config(render()) == {
        "prometheus": {"url": "http://prometheus.monitoring:9090", "window": "10s", "lag": "2s"},
        "triton": {"url": "http://{host}.{namespace}.svc:8000", "urls": {}},
        "metrics": {"host": "0.0.0.0", "port": 8080},
        "lease": {"name": "rollout-controller", "namespace": "rollout-system", "duration": "4s"},
        "workloads": {"manage": False},
        "notifications": {},
        "namespaces": [],
    }
    assert config(render({"workloads": {"manage": True}}))["workloads"] == {"manage": True}
    assert config(render({"namespaces": None}))["namespaces"] == []
    documents = render({"namespaces": ["vision"], "triton": {"urls": {"triton-blue": "http://10.0.0.7:8000"}}})
    assert config(documents)["namespaces"] == ["vision"]
    assert config(documents)["triton"]["urls"] == {"triton-blue": "http://10.0.0.7:8000"}


def test_a_token_is_a_mounted_file() -> None:
    documents = render({"prometheus": {"tokenSecret": {"name": "prometheus-token", "key": "bearer"}}})
    path = config(documents)["prometheus"]["tokenFile"]
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    volume = next(volume for volume in pod["volumes"] if volume["name"] == "prometheus")
    assert volume["secret"] == {"secretName": "prometheus-token", "items": [{"key": "bearer", "path": "token"}]}
    mount = next(mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "prometheus")
    assert path == f"{mount['mountPath']}/token"
    others = [m["mountPath"] for m in pod["containers"][0]["volumeMounts"] if m is not mount]
    assert not any(mount["mountPath"].startswith(f"{other}/") for other in others), "no mount inside a read-only mount"


@pytest.mark.parametrize("kind", ["caSecret", "caConfigMap"])
def test_a_prometheus_with_an_authority_of_its_own(kind: str) -> None:
    documents = render(
        {"prometheus": {kind: CA, "headers": {"X-Scope-OrgID": "vision"}, "params": {"partial_response": "false"}}}
    )
    told = config(documents)["prometheus"]
    assert (told["headers"], told["params"]) == ({"X-Scope-OrgID": "vision"}, {"partial_response": "false"})
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == "prometheus-ca")
    assert (told["caFile"], mount["readOnly"]) == (f"{mount['mountPath']}/value", True)
    (volume,) = (volume for volume in pod["volumes"] if volume["name"] == "prometheus-ca")
    source = volume["secret"] if kind == "caSecret" else volume["configMap"]
    assert source["items"] == [{"key": "ca.crt", "path": "value"}]
    assert source.get("secretName", source.get("name")) == "company-ca"


def test_a_long_name_fits_everywhere() -> None:
    """Helm takes 53 characters, a Service 63."""
    for document in render(name="r" * 53, values={"fullnameOverride": "f" * 63}) + render(name="r" * 53):
        longest = 63 if document["kind"] in {"Service", "Deployment"} else 253
        assert len(document["metadata"]["name"]) <= longest, document["kind"]


def test_the_lease_is_the_one_that_may_be_written() -> None:
    documents = render({"lease": {"name": "mine"}})
    assert config(documents)["lease"]["name"] == "mine"
    role = next(document for document in documents if document["kind"] == "Role")
    assert rights(role)["coordination.k8s.io", "leases", "mine"] == {"get", "update"}


# --- values ----------------------------------------------------------------------------------------------------------

CA = {"name": "company-ca", "key": "ca.crt"}
GRAFANA = {"url": "https://grafana.example.com", "tokenSecret": {"name": "rollout-grafana", "key": "token"}}


def test_what_has_no_default_is_asked_for() -> None:
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmValuesError) as caught:
        chart.validate_schema({})
    assert "at '/image': missing property 'repository'" in str(caught.value)
    assert "at '/prometheus': missing property 'url'" in str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replica": 1}, "at '': additional properties 'replica' not allowed"),
        ({"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
        ({"replicas": "2"}, "at '/replicas': got string, want integer"),
        ({"namespaces": "vision"}, "at '/namespaces': got string, want array"),
        ({"namespaces": ["Vision"]}, "at '/namespaces/0': 'Vision' does not match pattern"),
        ({"namespaces": ["a", "a"]}, "at '/namespaces': items at 0 and 1 are equal"),
        ({"prometheus": {"url": "prometheus:9090"}}, "at '/prometheus/url': 'prometheus:9090' does not match pattern"),
        ({"prometheus": {"window": 10}}, "at '/prometheus/window': got number, want string"),
        ({"prometheus": {"window": "10"}}, "at '/prometheus/window': '10' does not match pattern"),
        ({"prometheus": {"password": "x"}}, "at '/prometheus': additional properties 'password' not allowed"),
        (
            {"prometheus": {"tokenSecret": {"name": "x"}}},
            "at '/prometheus/tokenSecret': properties 'key' required, if 'name' exists",
        ),
        (
            {"notifications": {"slack": {"tokenSecret": {"name": "x", "key": "y"}}}},
            "at '/notifications/slack': properties 'channel' required, if 'tokenSecret' exists",
        ),
        (
            {"notifications": {"alertmanager": {"caConfigMap": {"name": "x", "key": "y"}}}},
            "at '/notifications/alertmanager': properties 'url' required, if 'caConfigMap' exists",
        ),
        (
            {"notifications": {"webhook": {"url": "https://x", "caSecret": {"name": "x", "key": "y"}, "caConfigMap": CA}}},
            "at '/notifications/webhook': 'not' failed",
        ),
        (
            {"notifications": {"slack": {"caSecret": CA}}},
            "at '/notifications/slack': 'anyOf' failed",
        ),
        (
            {"notifications": {"grafana": {**GRAFANA, "caConfigMap": {"name": "company-ca"}}}},
            "at '/notifications/grafana/caConfigMap': missing property 'key'",
        ),
        ({"notifications": {"slack": {"webhookFile": "/x"}}}, "additional properties 'webhookFile' not allowed"),
        ({"triton": {"url": "http://triton:8000"}}, "at '/triton/url': 'http://triton:8000' does not match pattern"),
        ({"image": {"repository": "triton:1"}}, "at '/image/repository': 'triton:1' does not match pattern"),
        ({"image": {"pullPolicy": "always"}}, "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ({"lease": {"duration": "500ms"}}, "at '/lease/duration': '500ms' does not match pattern"),
        ({"metrics": {"port": 80}}, "at '/metrics/port': minimum: got 80, want 1,024"),
        ({"workloads": {"manage": "yes"}}, "at '/workloads/manage': got string, want boolean"),
        ({"runAsUser": 0}, "at '/runAsUser': minimum: got 0, want 1"),
        ({"resources": {"limits": {"memory": "lots"}}}, "at '/resources/limits/memory': 'lots' does not match pattern"),
        ({"resources": {"limits": {"cpu": -1}}}, "at '/resources/limits/cpu': minimum: got -1, want 0"),
        ({"triton": {"url": "http://{host}.{ns}:8000"}}, "at '/triton/url': 'http://{host}.{ns}:8000' does not match pattern"),
        ({"imagePullSecrets": ["pull"]}, "at '/imagePullSecrets/0': got string, want object"),
        ({"image": {"tag": 1.5}}, "at '/image/tag': got number, want string"),
        ({"image": {"digest": "sha256:abc"}}, "at '/image/digest': 'sha256:abc' does not match pattern"),
        ({"namespaces": [""]}, "at '/namespaces/0': '' does not match pattern"),
        ({"extraEnv": {"HTTPS_PROXY": "http://proxy:3128"}}, "at '/extraEnv': got object, want array"),
        ({"extraEnv": [{"name": "A", "value": 1}]}, "at '/extraEnv/0/value': got number, want string"),
        ({"podLabels": {"app.kubernetes.io/name": "mine"}}, "at '/podLabels/app.kubernetes.io~1name': false schema"),
        ({"podAnnotations": {"checksum/config": "x"}}, "at '/podAnnotations/checksum~1config': false schema"),
        (
            {"monitoring": {"rules": {"labels": {"helm.sh/chart": "x"}}}},
            "at '/monitoring/rules/labels/helm.sh~1chart': false schema",
        ),
        ({"nodeSelector": {"gpu": True}}, "at '/nodeSelector/gpu': got boolean, want string"),
        ({"tolerations": {"key": "x"}}, "at '/tolerations': got object, want array"),
        ({"nameOverride": "My App"}, "at '/nameOverride': 'My App' does not match pattern"),
        ({"fullnameOverride": "a.b"}, "at '/fullnameOverride': 'a.b' does not match pattern"),
        ({"prometheus": {"caSecret": CA, "caConfigMap": CA}}, "at '/prometheus': 'not' failed"),
        (
            {"prometheus": {"caSecret": {"key": "ca.crt"}}},
            "at '/prometheus/caSecret': properties 'name' required, if 'key' exists",
        ),
        ({"prometheus": {"sources": {"mine": {"kind": "count"}}}}, "at '/prometheus/sources/mine/kind': value must be one of"),
        ({"prometheus": {"sources": {"My source": {"kind": "counts"}}}}, "additional properties 'My source' not allowed"),
        ({"prometheus": {"headers": {"X-Scope-OrgID": 7}}}, "at '/prometheus/headers/X-Scope-OrgID': got number, want string"),
    ],
)
def test_bad_values_are_refused_with_their_place(values: Raw, said: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as caught:
        render(values)
    assert said in str(caught.value)


def test_every_value_is_known_to_the_schema() -> None:
    """values.yaml shows all there is: nothing in the schema without a default, but what is needed and what Helm adds."""
    with helm_python.Chart.load(CHART) as chart:
        schema, values = chart.schema, chart.merge_values(needed())
    assert schema is not None
    assert set(schema["properties"]) - set(values) == {"global"}
    for name, part in schema["properties"].items():
        if "properties" in part and name not in {"resources", "podAnnotations"}:
            assert set(part["properties"]) == set(values[name]), name


def test_what_a_platform_asks_of_pods_gets_there() -> None:
    spread = one(render(), "Deployment")["spec"]["template"]["spec"]
    assert {rule["whenUnsatisfiable"] for rule in spread["topologySpreadConstraints"]} == {"ScheduleAnyway"}
    given: Raw = {
        "podLabels": {"sidecar.istio.io/inject": "true"},
        "podAnnotations": {"team": "vision"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "imagePullSecrets": [{"name": "pull"}],
        "terminationGracePeriodSeconds": 30,
        "extraEnv": [{"name": "NO_PROXY", "value": "$(KUBERNETES_SERVICE_HOST),.svc"}],
    }
    template = one(render(given), "Deployment")["spec"]["template"]
    assert template["metadata"]["labels"]["sidecar.istio.io/inject"] == "true"
    assert template["metadata"]["annotations"]["team"] == "vision"
    names = ("nodeSelector", "tolerations", "affinity", "priorityClassName", "imagePullSecrets", "terminationGracePeriodSeconds")
    assert {name: template["spec"][name] for name in names} == {name: given[name] for name in names}
    assert "topologySpreadConstraints" not in template["spec"]
    assert template["spec"]["containers"][0]["env"] == given["extraEnv"]
