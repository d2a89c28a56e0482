"""What the chart gives to the Prometheus operator and to Grafana, and that it gives nothing unasked."""

from __future__ import annotations

import helm_python
import pytest
import yaml

from rollout_controller.api.names import Raw
from tests.support.chart import CHART, needed, one, render
from tests.unit.chart.test_chart import kinds
from tools.alerts.files import ALERTS, PLAIN
from tools.alerts.model import RUNBOOKS
from tools.dashboards.boards import BOARDS, texts

STACK = {"release": "kube-prometheus-stack"}


def test_nothing_for_the_operator_unless_asked() -> None:
    """Where its definitions are not installed, an install with one of these would fail."""
    assert not kinds(render()) & {"ServiceMonitor", "PrometheusRule"}


def test_the_monitor_finds_the_service() -> None:
    documents = render({"monitoring": {"serviceMonitor": {"enabled": True, "interval": "30s", "labels": STACK}}})
    monitor, service = one(documents, "ServiceMonitor"), one(documents, "Service")
    assert monitor["metadata"]["labels"].items() >= STACK.items()
    assert monitor["metadata"]["namespace"] == service["metadata"]["namespace"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["interval"] == "30s"
    assert endpoint["honorLabels"] is True, "else the label namespace of every rollout is the controller's"


def dashboards(**values: object) -> list[Raw]:
    documents = render({"monitoring": {"dashboards": {"enabled": True, **values}}})
    return [document for document in documents if document["kind"] == "ConfigMap" and "config.yaml" not in document["data"]]


def test_grafanas_sidecar_gets_the_dashboards_as_they_are() -> None:
    """Their legends have {{braces}}, which Helm must not take for its own."""
    made = dashboards(annotations={"grafana_folder": "Rollouts"})
    assert len(made) == len(BOARDS)
    assert {name: text for document in made for name, text in document["data"].items()} == {
        f"rollouts-{name}": text for name, text in texts().items()
    }
    for document in made:
        assert document["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert document["metadata"]["annotations"] == {"grafana_folder": "Rollouts"}
        assert len(yaml.safe_dump(document)) < 900_000, "an object of the API server has at most 1 MiB"
    assert dashboards(enabled=False) == []


def test_the_operator_gets_the_rules_with_links_to_your_runbooks() -> None:
    """Their templates have {{braces}}, which Helm must not take for its own."""
    asked = {"enabled": True, "labels": STACK, "runbooks": "https://wiki.example.com/runbooks/"}
    rule = one(render({"monitoring": {"rules": asked}}), "PrometheusRule")
    assert rule["metadata"]["labels"].items() >= STACK.items()
    text = PLAIN.read_text().replace(RUNBOOKS, "https://wiki.example.com/runbooks")
    assert rule["spec"] == yaml.safe_load(text)
    elsewhere = one(
        render({"monitoring": {"rules": {**asked, "runbooks": "https://x.example.com/$1/{alert}?v"}}}), "PrometheusRule"
    )
    links = [
        rule["annotations"]["runbook_url"] for group in elsewhere["spec"]["groups"] for rule in group["rules"] if "alert" in rule
    ]
    assert links == [f"https://x.example.com/$1/{alert.name}?v" for alert in ALERTS]
    as_it_comes = one(render({"monitoring": {"rules": {"enabled": True}}}), "PrometheusRule")
    assert as_it_comes["spec"] == yaml.safe_load(PLAIN.read_text())


@pytest.mark.parametrize(
    ("rules", "said"),
    [({"enabled": True}, True), ({"enabled": True, "runbooks": "https://wiki.example.com/runbooks"}, False), ({}, False)],
)
def test_who_installs_the_rules_is_told_that_their_links_lead_nowhere(rules: Raw, said: bool) -> None:
    with helm_python.Chart.load(CHART) as chart:
        files = chart.render({**needed(), "monitoring": {"rules": rules}}, name="x", namespace="y")
    (notes,) = (text for path, text in files.items() if path.endswith("NOTES.txt"))
    assert ("set monitoring.rules.runbooks" in notes) is said
