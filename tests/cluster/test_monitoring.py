"""What the chart gives to the Prometheus operator and to Grafana is taken by a real API server, each field by its definition."""

from __future__ import annotations

from copy import deepcopy

import pytest

from rollout_controller.api.names import Raw
from rollout_controller.lab import parts
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import KubeRefused
from tests.support.chart import make_namespace, one, render
from tools.alerts.files import ALERTS

pytestmark = pytest.mark.cluster

NAMESPACE = "monitored"
STACK = {"release": "kube-prometheus-stack"}
CA = {"name": "company-ca", "key": "ca.crt"}
EVERYTHING: Raw = {
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "30s", "labels": STACK},
        "rules": {"enabled": True, "labels": STACK, "runbooks": "https://wiki.example.com/{alert}"},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Rollouts"}},
    },
    "notifications": {
        "slack": {"webhookSecret": {"name": "rollout-slack", "key": "url"}, "caSecret": CA},
        "alertmanager": {"url": "https://alertmanager.monitoring:9093", "caConfigMap": CA},
    },
}


@pytest.fixture(scope="module")
def rendered(kube: Kube) -> list[Raw]:
    """All that the chart makes, for a namespace of an API server that knows the operator's kinds."""
    kube.apply(*parts.find_operator_crds(print))
    make_namespace(kube, NAMESPACE)
    return render(EVERYTHING, namespace=NAMESPACE)


def apply_strictly(kube: Kube, document: Raw) -> Raw:
    """As `kubectl apply --server-side --validate=strict`: a field that the definition does not have is refused."""
    query = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
    applied: Raw = kube.api.call(
        "PATCH", kube.api.path_of(document), document, query=query, content_type="application/apply-patch+yaml"
    )
    return applied


def test_every_field_of_every_object_is_one_that_the_api_server_knows(kube: Kube, rendered: list[Raw]) -> None:
    """Monitor, rules, dashboards, and a Deployment with mounted Secrets and authorities."""
    kept = [apply_strictly(kube, document) for document in rendered]
    assert {"ServiceMonitor", "PrometheusRule", "ConfigMap", "Deployment"} <= {document["kind"] for document in kept}
    monitor, rule = one(kept, "ServiceMonitor"), one(kept, "PrometheusRule")
    assert monitor["spec"]["endpoints"] == [{"port": "metrics", "interval": "30s", "honorLabels": True}]
    alerts = {rule["alert"]: rule for group in rule["spec"]["groups"] for rule in group["rules"] if "alert" in rule}
    assert set(alerts) == {alert.name for alert in ALERTS}
    assert alerts["RolloutStuck"]["annotations"]["runbook_url"] == "https://wiki.example.com/RolloutStuck"


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule"])
def test_a_misspelt_field_is_refused(kube: Kube, rendered: list[Raw], kind: str) -> None:
    """The test above looks at something."""
    document = deepcopy(one(rendered, kind))
    if kind == "ServiceMonitor":
        document["spec"]["endpoints"][0]["honourLabels"] = True
    else:
        document["spec"]["groups"][0]["rules"][0]["labelz"] = {}
    with pytest.raises(KubeRefused, match=r"field not declared in schema|unknown field"):
        apply_strictly(kube, document)
