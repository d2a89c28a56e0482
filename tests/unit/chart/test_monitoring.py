"""What the chart gives to the Prometheus operator and to Grafana, and that it gives nothing unasked."""

from __future__ import annotations

from tests.support.chart import one, render
from tests.unit.chart.test_chart import kinds

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
