"""Envoy as a sidecar whose routes, clusters and endpoints come from istiod, and its figures under Istio's names.

Istio's own build of Envoy has filters that this one lacks, so the listeners are fixed; everything behind them is istiod's.
Those filters also make Istio's metrics. Here Prometheus makes them from Envoy's own: a count per answer that came from a
cluster, where Istio counts each request once. The two differ for requests that were tried again, and for nothing else here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab.envoy import ACCESS_LOG_FORMAT, STATS_FLUSH, access_log
from rollout_controller.lab.processes import Server
from rollout_controller.lab.prometheus import Target, pod_labels

HTTP_PORT, GRPC_PORT = 8000, 8001
"""Triton's ports, as the mesh knows them: they name istiod's route configurations and are part of its clusters' names."""
PROXY_VERSION = "1.31.0"
"""What istiod takes this proxy for."""

_UPSTREAM = "%COMMON_DURATION(DS_RX_END:US_RX_END:ms)%"
"""From the end of the request to the end of the server's answer: what `upstream_rq_time`, and so Istio's duration here, is."""

_KINDS = "type.googleapis.com/envoy.extensions"
_HCM = f"{_KINDS}.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ADS: dict[str, Any] = {"ads": {}, "resource_api_version": "V3"}
_XDS = "istiod"


def sidecar_server(binary: Path, home: Path, *, http: int, grpc: int, admin: int, istiod: int, namespace: str) -> Server:
    """A client's sidecar in `namespace`: `http` and `grpc` are its ports for what goes to 8000 and 8001 in the mesh."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "bootstrap.yaml"
    document = bootstrap(home, http=http, grpc=grpc, admin=admin, istiod=istiod, namespace=namespace)
    config.write_text(yaml.safe_dump(document, sort_keys=False))
    argv = [str(binary), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    argv += ["--file-flush-interval-msec", "200"]
    return Server(name="envoy", argv=argv, log=home / "log", ready=f"http://127.0.0.1:{admin}/ready", grace_s=0)


def bootstrap(home: Path, *, http: int, grpc: int, admin: int, istiod: int, namespace: str) -> dict[str, Any]:
    """Envoy's bootstrap document."""
    metadata = {"NAMESPACE": namespace, "CLUSTER_ID": "Kubernetes", "LABELS": {"app": "client"}, "ISTIO_VERSION": PROXY_VERSION}
    domain = f"{namespace}.svc.cluster.local"
    ads = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": _XDS}}]}
    return {
        "node": {"id": f"sidecar~127.0.0.1~client-1.{namespace}~{domain}", "cluster": "client", "metadata": metadata},
        "admin": {"address": _address(admin)},
        "stats_flush_interval": STATS_FLUSH,
        "stats_config": {"use_all_default_tags": False, "stats_tags": _tags()},
        "dynamic_resources": {"ads_config": ads, "cds_config": _ADS},
        "static_resources": {
            "listeners": [_listener(home, http, HTTP_PORT), _listener(home, grpc, GRPC_PORT)],
            "clusters": [_istiod(istiod)],
        },
    }


def _tags() -> list[dict[str, str]]:
    """Names of clusters have dots: istiod ends them with a semicolon where they name figures."""
    return [
        {
            "tag_name": "cluster_name",
            "regex": r"^cluster\.((.+?);\.)",
        },
        {"tag_name": "response_code", "regex": r"_rq(_(\d{3}))$"},
    ]


def _listener(home: Path, port: int, mesh_port: int) -> dict[str, Any]:
    log = {"path": str(access_log(home)), "log_format": {"json_format": {**ACCESS_LOG_FORMAT, "upstream_ms": _UPSTREAM}}}
    manager = {
        "@type": _HCM,
        "stat_prefix": f"outbound_{mesh_port}",
        "generate_request_id": False,
        "access_log": [{"name": "file", "typed_config": {"@type": f"{_KINDS}.access_loggers.file.v3.FileAccessLog", **log}}],
        "rds": {"route_config_name": str(mesh_port), "config_source": _ADS},
        "http_filters": [*([_grpc_stats()] if mesh_port == GRPC_PORT else []), _filter("router", "Router")],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {"name": f"outbound_{mesh_port}", "address": _address(port), "filter_chains": [{"filters": filters}]}


def _grpc_stats() -> dict[str, Any]:
    """Counts answers by gRPC status, for all methods together."""
    return _filter("grpc_stats", "FilterConfig", stats_for_all_methods=False)


def _filter(name: str, message: str, **fields: Any) -> dict[str, Any]:
    config = {"@type": f"{_KINDS}.filters.http.{name}.v3.{message}", **fields}
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def _istiod(port: int) -> dict[str, Any]:
    options = {"@type": f"{_KINDS}.upstreams.http.v3.HttpProtocolOptions", "explicit_http_config": {"http2_protocol_options": {}}}
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": _XDS,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": _XDS, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def istio_target(admin_port: int) -> Target:
    """Scrapes the sidecar; what comes out has Istio's names and labels."""
    only = (("filter", r"^cluster\.outbound.*;\.(upstream_rq_[0-9][0-9][0-9]$|upstream_rq_time|grpc\.[0-9])"),)
    return Target("istio", admin_port, "/stats/prometheus", pod_labels("client-1", "istio-proxy"), only, istio_names())


def istio_names() -> tuple[dict[str, Any], ...]:
    """Envoy's cluster `outbound|8000||HOST.NAMESPACE.svc.cluster.local` is Istio's destination; 8001 is gRPC."""
    cluster = ["cluster_name"]
    name = "__name__"
    return (
        {"source_labels": cluster, "regex": r"outbound\|.*", "action": "keep"},
        *(
            {
                "source_labels": cluster,
                "regex": r"outbound\|\d+\|[^|]*\|(([^.]+)\.([^.]+)\..*)",
                "target_label": to,
                "replacement": of,
            }
            for to, of in (
                ("destination_service", "$1"),
                ("destination_workload", "$2"),
                ("destination_workload_namespace", "$3"),
            )
        ),
        {"target_label": "reporter", "replacement": "source"},
        {"target_label": "request_protocol", "replacement": "http"},
        {
            "source_labels": cluster,
            "regex": rf"outbound\|{GRPC_PORT}\|.*",
            "target_label": "request_protocol",
            "replacement": "grpc",
        },
        # of gRPC's answers, all of them HTTP 200, the gRPC status is counted
        {"source_labels": ["request_protocol", name], "regex": "grpc;envoy_cluster_upstream_rq", "action": "drop"},
        {
            "source_labels": [name],
            "regex": r"envoy_cluster_grpc_(\d+)",
            "target_label": "grpc_response_status",
            "replacement": "$1",
        },
        {"source_labels": [name], "regex": r"envoy_cluster_grpc_\d+", "target_label": "response_code", "replacement": "200"},
        {
            "source_labels": [name],
            "regex": r"envoy_cluster_(upstream_rq|grpc_\d+)",
            "target_label": name,
            "replacement": "istio_requests_total",
        },
        {
            "source_labels": [name],
            "regex": "envoy_cluster_upstream_rq_time_(.*)",
            "target_label": name,
            "replacement": "istio_request_duration_milliseconds_$1",
        },
        {"source_labels": [name], "regex": "istio_.*", "action": "keep"},
        {"regex": "cluster_name", "action": "labeldrop"},
    )
