"""What the chart mounts is what the controller reads, and what the chart starts is a command that there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from rollout_controller.api.meta import parse
from rollout_controller.api.names import Raw
from rollout_controller.cli import arguments
from rollout_controller.controller.config import ClusterConfig, load_cluster
from rollout_controller.controller.notifications import LinksConfig, NotificationsConfig
from rollout_controller.slo.sources import CountSource, load_sources
from tests.support.chart import CHART, one, render


def loaded(tmp_path: Path, values: Raw) -> ClusterConfig:
    path = tmp_path / "config.yaml"
    path.write_text(one(render(values), "ConfigMap")["data"]["config.yaml"])
    return load_cluster(path)


def test_the_controller_reads_the_charts_configuration(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        {
            "namespaces": ["vision", "speech"],
            "prometheus": {
                "window": "15s",
                "lag": "1500ms",
                "tokenSecret": {"name": "prometheus-token", "key": "token"},
                "caSecret": {"name": "ca", "key": "x"},
                "headers": {"A": "b"},
                "params": {"c": "d"},
            },
            "triton": {"urls": {"triton-blue": "http://10.0.0.7:8000", "vision/triton": "http://10.0.0.8:8000"}},
            "metrics": {"port": 9090},
            "lease": {"name": "mine", "duration": "10s"},
        },
    )
    assert (config.prometheus.window, config.prometheus.lag) == (15.0, 1.5)
    assert str(config.prometheus.token_file) == "/var/run/secrets/rollout-controller/prometheus/token"
    assert str(config.prometheus.ca_file) == "/var/run/secrets/rollout-controller/prometheus-ca/value"
    assert (config.prometheus.headers, config.prometheus.params) == ({"A": "b"}, {"c": "d"})
    assert config.triton.urls == {"triton-blue": "http://10.0.0.7:8000", "vision/triton": "http://10.0.0.8:8000"}
    assert (config.metrics.host, config.metrics.port) == ("0.0.0.0", 9090)
    assert config.lease is not None
    assert (config.lease.name, config.lease.namespace, config.lease.duration) == ("mine", "rollout-system", 10.0)
    assert config.namespaces == ("vision", "speech")


def test_secrets_of_notifications_are_mounted_where_the_controller_reads_them(tmp_path: Path) -> None:
    slack = {"tokenSecret": {"name": "rollout-slack", "key": "bot"}, "channel": "C0123456789", "kinds": ["RolledBack"]}
    documents = render({"notifications": {"slack": slack, "links": {"runbook": "https://runbooks.example.com/{code}"}}})
    config = loaded(tmp_path, {"notifications": {"slack": slack, "links": {"runbook": "https://runbooks.example.com/{code}"}}})
    assert config.notifications.slack is not None
    pod = one(documents, "Deployment")["spec"]["template"]["spec"]
    mounts = {mount["name"]: mount for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    file = config.notifications.slack.token_file
    assert file is not None
    (name,) = (name for name, mount in mounts.items() if mount["mountPath"] == str(file.parent))
    assert mounts[name]["readOnly"] is True
    assert volumes[name]["secret"] == {"secretName": "rollout-slack", "items": [{"key": "bot", "path": file.name}]}
    assert config.notifications.links.runbook == "https://runbooks.example.com/{code}"
    assert config.notifications.slack.kinds == ("RolledBack",)


CA = {"name": "company-ca", "key": "ca.crt"}
TARGETS: Raw = {
    "slack": {"webhookSecret": {"name": "rollout-slack", "key": "url"}},
    "webhook": {"url": "https://hooks.example.com/rollouts"},
    "alertmanager": {"url": "https://alertmanager.monitoring:9093"},
    "grafana": {"url": "https://grafana.example.com", "tokenSecret": {"name": "rollout-grafana", "key": "token"}},
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("value", "volume"),
    [
        ("caSecret", {"secret": {"secretName": "company-ca", "items": [{"key": "ca.crt", "path": "value"}]}}),
        ("caConfigMap", {"configMap": {"name": "company-ca", "items": [{"key": "ca.crt", "path": "value"}]}}),
    ],
)
def test_each_target_may_have_an_authority_of_its_own(tmp_path: Path, target: str, value: str, volume: Raw) -> None:
    values = {"notifications": {target: {**TARGETS[target], value: CA}}}
    file = getattr(loaded(tmp_path, values).notifications, target).ca_file
    pod = one(render(values), "Deployment")["spec"]["template"]["spec"]
    (mount,) = (mount for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == str(file.parent))
    assert mount["readOnly"] is True
    assert [mounted for mounted in pod["volumes"] if mounted["name"] == mount["name"]] == [{"name": mount["name"], **volume}]
    assert file.name == "value"


def test_the_values_of_the_page_about_notifications_are_taken(tmp_path: Path) -> None:
    page = (CHART.parents[1] / "docs" / "notifications.md").read_text()
    written, values = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    by_chart = loaded(tmp_path, values).notifications
    by_hand = parse(NotificationsConfig, written["notifications"])
    without = {"links": LinksConfig()}
    assert by_chart.model_copy(update=without) == by_hand.model_copy(update=without)
    assert by_chart.links.runbook == by_hand.links.runbook


def test_the_charts_defaults_are_the_controllers(tmp_path: Path) -> None:
    """Nothing is different only because a chart installed it; a chart always leads by a lease."""
    config = loaded(tmp_path, {})
    plain = ClusterConfig.model_validate({"prometheus": {"url": "http://prometheus.monitoring:9090"}})
    assert config.model_copy(update={"lease": None}) == plain
    assert config.lease is not None
    assert config.lease.model_copy(update={"namespace": None}) == type(config.lease)()


def test_the_configuration_in_the_docs_is_the_default(tmp_path: Path) -> None:
    page = (CHART.parents[1] / "docs" / "kubernetes.md").read_text()
    block = next(block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if block.startswith("prometheus:"))
    path = tmp_path / "config.yaml"
    path.write_text(block)
    written = load_cluster(path)
    assert str(written.prometheus.token_file) == "/var/run/secrets/prometheus/token"
    without = written.model_copy(
        update={"prometheus": written.prometheus.model_copy(update={"token_file": None, "ca_file": None, "sources": None})}
    )
    assert without == loaded(tmp_path, {})


@pytest.mark.parametrize("duration", ["2s", "60s"])
def test_every_lease_that_the_schema_takes_is_taken(tmp_path: Path, duration: str) -> None:
    lease = loaded(tmp_path, {"lease": {"duration": duration}}).lease
    assert lease is not None
    assert f"{lease.duration:g}s" == duration


def test_what_the_chart_starts_is_a_command() -> None:
    (container,) = one(render(), "Deployment")["spec"]["template"]["spec"]["containers"]
    args = arguments.parser().parse_args(container["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert (args.command, str(args.config)) == ("controller", f"{mounts['config']}/config.yaml")
    assert args.log_format == "json"


def test_sources_of_ones_own_get_to_the_controller(tmp_path: Path) -> None:
    """The example of the docs, through the chart, to the folder that the controller reads."""
    page = (CHART.parents[1] / "docs" / "sources.md").read_text()
    block = re.search(r"```yaml\n(name: istio-120\n.*?)```", page, re.DOTALL)
    assert block is not None
    source = yaml.safe_load(block[1])
    name = source.pop("name")
    documents = render({"prometheus": {"sources": {name: source}}})
    data = one(documents, "ConfigMap")["data"]
    (volume,) = (v for v in one(documents, "Deployment")["spec"]["template"]["spec"]["volumes"] if v["name"] == "config")
    for item in volume["configMap"]["items"]:  # as the kubelet does
        path = tmp_path / item["path"]
        path.parent.mkdir(exist_ok=True)
        path.write_text(data[item["key"]])
    found = load_sources(*load_cluster(tmp_path / "config.yaml").prometheus.folders)[name]
    assert isinstance(found, CountSource)
    assert found.latency is not None
    assert 120 in found.latency.edges_ms
    assert set(load_sources()) < set(load_sources(tmp_path / "sources"))


def test_other_sources_start_new_pods() -> None:
    def mark(values: Raw) -> str:
        return str(one(render(values), "Deployment")["spec"]["template"]["metadata"]["annotations"]["checksum/config"])

    first, other = ({"prometheus": {"sources": {"mine": {"kind": "counts", "match": {"a": a}}}}} for a in ("b", "c"))
    assert len({mark({}), mark(first), mark(other)}) == 3
