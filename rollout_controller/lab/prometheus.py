"""Prometheus for the lab: what it scrapes every second, and the arguments that both 2.42 and 3.x take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab.processes import Server

SCRAPE_EVERY = "1s"
LAG = "500ms"
"""After this long a scrape's samples can be queried: on this machine a scrape takes a few milliseconds."""
RETENTION = "6h"
NAMESPACE = "default"
"""The namespace that the lab's targets claim to be in."""

_ENVOY_STATS = r"^(cluster\.|http\.ingress\.|server\.(live|uptime))"


@dataclass(frozen=True)
class Target:
    """One scrape job with one target. `labels` are attached to it, as a Kubernetes discovery would."""

    job: str
    port: int
    path: str = "/metrics"
    labels: tuple[tuple[str, str], ...] = ()
    params: tuple[tuple[str, str], ...] = ()
    relabel: tuple[dict[str, Any], ...] = ()
    """`metric_relabel_configs` of the job: what becomes of each sample's name and labels."""
    honor: bool = False
    """Labels that the target has, too, are its own. Else, as the charts have it, they arrive as exported_*."""


def pod_labels(pod: str, container: str, namespace: str = NAMESPACE) -> tuple[tuple[str, str], ...]:
    """A pod's target. `instance` is the pod, too: a lab that is started again has other ports, yet the same series."""
    return (("namespace", namespace), ("pod", pod), ("container", container), ("instance", pod))


def envoy_target(admin_port: int) -> Target:
    return Target("envoy", admin_port, "/stats/prometheus", pod_labels("envoy-0", "envoy"), (("filter", _ENVOY_STATS),))


def istio_target(admin_port: int, namespace: str = NAMESPACE) -> Target:
    """The same Envoy's requests and durations under Istio's names, so that dashboards and alerts work here as they are."""
    only = (("filter", r"^cluster\.triton-[a-z]+\.(upstream_rq_[0-9][0-9][0-9]$|upstream_rq_time)"),)
    names = tuple(
        {"source_labels": ["__name__"], "regex": theirs, "target_label": "__name__", "replacement": istios}
        for theirs, istios in (
            ("envoy_cluster_upstream_rq", "istio_requests_total"),
            ("envoy_cluster_upstream_rq_time_(.*)", "istio_request_duration_milliseconds_$1"),
        )
    )
    labels = tuple(
        {"source_labels": [theirs], "target_label": istios}
        for theirs, istios in (("envoy_cluster_name", "destination_workload"), ("envoy_response_code", "response_code"))
    )
    rest: tuple[dict[str, Any], ...] = (
        {"target_label": "reporter", "replacement": "source"},
        {"target_label": "destination_workload_namespace", "replacement": namespace},
        {"source_labels": ["__name__"], "regex": "istio_.*", "action": "keep"},
        {"regex": "envoy_.*", "action": "labeldrop"},
    )
    relabel = (*names, *labels, *rest)
    return Target("istio", admin_port, "/stats/prometheus", pod_labels("client-0", "istio-proxy", namespace), only, relabel)


def controller_target(port: int, namespace: str = NAMESPACE) -> Target:
    """As the chart's ServiceMonitor has it: the label namespace is the TritonRollout's."""
    return Target("rollout-controller", port, labels=pod_labels("rollout-controller-0", "controller", namespace), honor=True)


@dataclass(frozen=True)
class Alerting:
    """The rules that are evaluated each second, and the port of the Alertmanager that is told."""

    rules: Path
    alertmanager: int


def prometheus_server(
    binary: Path, home: Path, *, port: int, targets: tuple[Target, ...], alerting: Alerting | None = None
) -> Server:
    home.mkdir(parents=True, exist_ok=True)
    config = home / "prometheus.yml"
    config.write_text(yaml.safe_dump({**scrape_config(targets), **_alerting(alerting)}, sort_keys=False))
    argv = [
        str(binary),
        f"--config.file={config}",
        f"--storage.tsdb.path={home / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
        "--scrape.discovery-reload-interval=100ms",  # default 5 s: that long nothing is scraped after a start
    ]
    return Server(name="prometheus", argv=argv, log=home / "log", ready=f"http://127.0.0.1:{port}/-/ready", grace_s=5.0)


def scrape_config(targets: tuple[Target, ...]) -> dict[str, Any]:
    """Prometheus' configuration document."""
    every = {"scrape_interval": SCRAPE_EVERY, "scrape_timeout": SCRAPE_EVERY, "evaluation_interval": SCRAPE_EVERY}
    return {"global": every, "scrape_configs": _jobs(targets)}


def _alerting(alerting: Alerting | None) -> dict[str, Any]:
    if alerting is None:
        return {}
    told = {"static_configs": [{"targets": [f"127.0.0.1:{alerting.alertmanager}"]}]}
    return {"rule_files": [str(alerting.rules)], "alerting": {"alertmanagers": [told]}}


def _jobs(targets: tuple[Target, ...]) -> list[dict[str, Any]]:
    jobs: dict[str, dict[str, Any]] = {}
    for target in targets:
        job = jobs.setdefault(
            target.job,
            {
                "job_name": target.job,
                "metrics_path": target.path,
                "params": {name: [value] for name, value in target.params},
                "honor_labels": target.honor,
                "static_configs": [],
            },
        )
        if target.relabel:
            job["metric_relabel_configs"] = [dict(rule) for rule in target.relabel]
        job["static_configs"].append({"targets": [f"127.0.0.1:{target.port}"], "labels": dict(target.labels)})
    return list(jobs.values())
