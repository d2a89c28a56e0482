"""Configuration: what the chart mounts is read, and what is wrong in it is said with its place and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.controller.config import ClusterConfig, load_cluster, load_local

WHOLE = """
prometheus: {url: http://prometheus.monitoring:9090, window: 15s, lag: 3s, tokenFile: /run/prometheus/token}
triton: {url: "http://{host}.{namespace}.svc:8000", urls: {triton-blue: "http://10.0.0.7:8000"}}
metrics: {host: 0.0.0.0, port: 8080}
lease: {name: rollout-controller, namespace: rollout-system, duration: 4s}
namespaces: [vision, text]
"""


def read(path: Path, text: str) -> ClusterConfig:
    (path / "config.yaml").write_text(text)
    return load_cluster(path / "config.yaml")


def test_the_whole_file(tmp_path: Path) -> None:
    config = read(tmp_path, WHOLE)
    assert (config.prometheus.window, config.prometheus.lag) == (15.0, 3.0)
    assert config.prometheus.token_file == Path("/run/prometheus/token")
    assert config.triton.urls == {"triton-blue": "http://10.0.0.7:8000"}
    assert config.lease is not None
    assert (config.lease.name, config.lease.namespace, config.lease.duration) == ("rollout-controller", "rollout-system", 4.0)
    assert config.namespaces == ("vision", "text")


def test_what_may_be_left_out(tmp_path: Path) -> None:
    config = read(tmp_path, "prometheus: {url: http://prometheus.monitoring:9090/}")
    assert config.prometheus.url == "http://prometheus.monitoring:9090"
    assert (config.prometheus.window, config.prometheus.lag) == (10.0, 2.0)
    assert config.triton.url == "http://{host}.{namespace}.svc:8000"
    assert (config.metrics.host, config.metrics.port) == ("0.0.0.0", 8080)
    assert config.lease is None
    assert config.namespaces == ()


NEWS = "prometheus: {url: http://p:9090}\nnotifications: {"
GOOD = "prometheus: {url: http://p:9090}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ("0 documents", "one, with the fields prometheus, triton, metrics, lease")),
        ("---\n" + GOOD + "---\n" + GOOD, ("2 documents",)),
        ("- a\n", ("config.yaml:1", "is no document")),
        ("a: [\n", ("is not YAML",)),
        ("metrics: {port: 1}\n", ("prometheus: is missing",)),
        (GOOD + "prometeus: {}\n", ("config.yaml:2", "prometeus: unknown field", "lease")),
        ("prometheus: {url: p:9090}\n", ("config.yaml:1", "prometheus.url", "'p:9090' is not a URL", "http://")),
        ("prometheus: {url: http://p:port}\n", ("prometheus.url", "is not a URL")),
        ("prometheus:\n  url: http://p\n  window: 10\n", ("config.yaml:3", "prometheus.window", "not a duration", "'100ms'")),
        ("prometheus: {url: http://p, window: 0s}\n", ("prometheus.window", "'0s' was read", "at least '1s'")),
        ("prometheus: {url: http://p, token_file: /x}\n", ("prometheus.token_file: unknown field", "did you mean 'tokenFile'?")),
        ("prometheus: {url: http://p:0x10}\n", ("prometheus.url", "is not a URL")),
        (GOOD + "metrics: {port: 0x1F90}\n", ("config.yaml:2", "metrics.port: 0x1F90 is the number 8080 to YAML", "8080, or")),
        (GOOD + "metrics: {port: 70000}\n", ("metrics.port", "70000", "from 0 to 65535")),
        (GOOD + "triton: {url: 'http://triton:8000'}\n", ("triton.url", "does not say where a host is", "{host}")),
        (GOOD + "triton: {url: 'http://{host}.{ns}:8000'}\n", ("triton.url", "{namespace}")),
        (GOOD + "triton: {url: '{host}:8000'}\n", ("triton.url", "is not a URL")),
        (GOOD + "triton: {urls: {triton-blue: 10.0.0.7}}\n", ("triton.urls.triton-blue", "'10.0.0.7' is not a URL")),
        (GOOD + "lease: {name: Rollouts}\n", ("lease.name", "'Rollouts' is not a name", "lower-case")),
        (GOOD + "lease: {namespace: a.b}\n", ("lease.namespace", "'a.b' is not a namespace")),
        (GOOD + "lease: {duration: 1500ms}\n", ("lease.duration", "whole seconds", "'2s' to '60s'")),
        (GOOD + "lease: {duration: 61s}\n", ("lease.duration", "'1m1s' was read", "'60s'")),
        (GOOD + "namespaces: vision\n", ("namespaces", "'vision'", "a list")),
        (GOOD + "namespaces: [vision, Vision]\n", ("namespaces[1]", "'Vision' is not a namespace")),
        (NEWS + "slack: {}}\n", ("notifications.slack", "neither webhookFile nor tokenFile is given", "one of the two")),
        (NEWS + "slack: {webhookFile: /a, tokenFile: /b}}\n", ("both webhookFile and tokenFile are given",)),
        (NEWS + "slack: {tokenFile: /a}}\n", ("notifications.slack", "without channel", "C0123456789")),
        (NEWS + "slack: {webhookFile: /a, channel: C1}}\n", ("notifications.slack.channel", "without tokenFile")),
        (NEWS + "slack: {webhookFile: /a, kinds: [Rollback]}}\n", ("notifications.slack.kinds[0]", "Rollback", "RolledBack")),
        (NEWS + "slack: {webhookFile: /a, timeout: 2m}}\n", ("notifications.slack.timeout", "'2m' was read", "'60s'")),
        (NEWS + "links: {runbook: 'https://a/{reason}'}}\n", ("notifications.links.runbook", "{reason}", "{code}")),
        (NEWS + "links: {runbook: 'runbooks/{code}'}}\n", ("notifications.links.runbook", "is not a URL")),
        (GOOD + GOOD, ("config.yaml:2", "prometheus: is given twice")),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, text: str, said: tuple[str, ...]) -> None:
    with pytest.raises(InvalidDocument) as caught:
        read(tmp_path, text)
    for part in ("config.yaml", *said):
        assert part in str(caught.value)


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match="there is no such file"):
        load_cluster(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidDocument, match="is not UTF-8: by its first bytes it is UTF-16"):
        load_cluster(tmp_path / "config.yaml")
    with pytest.raises(InvalidDocument, match="cannot be read: Is a directory"):
        load_cluster(tmp_path)


def test_the_local_file_is_read_the_same_way(tmp_path: Path) -> None:
    (tmp_path / "local.yaml").write_text("prometheus:\n  url: nowhere\ntriton: {triton-blue: http://127.0.0.1:8001}\n")
    with pytest.raises(InvalidDocument, match=r"local\.yaml:2  prometheus\.url: 'nowhere' is not a URL"):
        load_local(tmp_path)
