"""Envoy in front of the slots: its bootstrap, and the route file that it watches until the controller writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab.processes import Server

ROUTE_CONFIG = "local"
STATS_FLUSH = "0.25s"
"""Envoy's histograms are as old as its last flush, its counters are of now. Its default, 5 s, would show in latency SLIs."""

CONNECT_TIMEOUT = "0.25s"
ROUTE_TIMEOUT = "15s"  # Envoy's own default, written down

ACCESS_LOG_FORMAT = {
    "start": "%START_TIME(%s.%3f)%",
    "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "cluster": "%UPSTREAM_CLUSTER%",
    "duration_ms": "%DURATION%",
    "path": "%REQ(:PATH)%",
    "details": "%RESPONSE_CODE_DETAILS%",
}
"""One JSON object a line: what each user saw.

`start` is seconds since 1970 as text, to the millisecond; `flags` is null when all went well.
"""


def envoy_server(binary: Path, home: Path, *, port: int, admin_port: int, slots: Mapping[str, int]) -> Server:
    """Envoy on `port`, with one cluster per slot host (host -> port of its Triton)."""
    home.mkdir(parents=True, exist_ok=True)
    config = home / "bootstrap.yaml"
    config.write_text(yaml.safe_dump(bootstrap(home, port=port, admin_port=admin_port, slots=slots), sort_keys=False))
    if not rds_path(home).exists():
        write_first_route(home, next(iter(slots)))
    argv = [
        str(binary),
        "-c",
        str(config),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--log-level",
        "warning",
        "--file-flush-interval-msec",
        "200",
    ]
    return Server(name="envoy", argv=argv, log=home / "log", ready=f"http://127.0.0.1:{admin_port}/ready", grace_s=3.0)


def rds_path(home: Path) -> Path:
    """The route file. It takes a new one by atomic rename within its directory."""
    return home / "rds" / "rds.yaml"


def access_log(home: Path) -> Path:
    return home / "access.jsonl"


def write_first_route(home: Path, host: str) -> None:
    """All traffic to one slot: how it is until a VirtualService says otherwise."""
    route = {"match": {"prefix": "/"}, "route": {"cluster": host, "timeout": ROUTE_TIMEOUT}}
    virtual_host = {"name": "all", "domains": ["*"], "routes": [route]}
    kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    resource = {"@type": kind, "name": ROUTE_CONFIG, "virtual_hosts": [virtual_host]}
    target = rds_path(home)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_suffix(".half")
    half.write_text(json.dumps({"version_info": "lab", "resources": [resource]}, indent=1))  # JSON is YAML
    half.replace(target)


def bootstrap(home: Path, *, port: int, admin_port: int, slots: Mapping[str, int]) -> dict[str, Any]:
    """Envoy's bootstrap document: everything static but the routes."""
    listener = {"name": "ingress", "address": _address(port), "filter_chains": [{"filters": [_connection_manager(home)]}]}
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": _address(admin_port)},
        "stats_flush_interval": STATS_FLUSH,
        "static_resources": {
            "listeners": [listener],
            "clusters": [_cluster(host, slot_port) for host, slot_port in slots.items()],
        },
    }


def _connection_manager(home: Path) -> dict[str, Any]:
    kind = "type.googleapis.com/envoy.extensions"
    rds = rds_path(home)
    log = {"path": str(access_log(home)), "log_format": {"json_format": ACCESS_LOG_FORMAT}}
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{kind}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "ingress",
            "generate_request_id": False,
            "access_log": [{"name": "file", "typed_config": {"@type": f"{kind}.access_loggers.file.v3.FileAccessLog", **log}}],
            "rds": {
                "route_config_name": ROUTE_CONFIG,
                "config_source": {
                    "resource_api_version": "V3",
                    "path_config_source": {"path": str(rds), "watched_directory": {"path": str(rds.parent)}},
                },
            },
            "http_filters": [{"name": "router", "typed_config": {"@type": f"{kind}.filters.http.router.v3.Router"}}],
        },
    }


def _cluster(host: str, port: int) -> dict[str, Any]:
    many = 100_000  # breakers are not what the lab is about; the defaults (1024) would show as 503 of ours
    limits = {"max_connections": many, "max_pending_requests": many, "max_requests": many}
    return {
        "name": host,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": host, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
