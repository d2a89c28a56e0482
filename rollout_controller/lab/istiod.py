"""istiod on this machine, and the mesh's documents: the slots as it sees them, and the route to them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab.mesh_envoy import GRPC_PORT, HTTP_PORT
from rollout_controller.lab.processes import Server

Document = dict[str, Any]

ROOT_NAMESPACE = "istio-system"
ISTIO = "networking.istio.io/v1"


def istiod_server(binary: Path, home: Path, kubeconfig: Path, *, grpc: int, http: int, monitoring: int, ctrlz: int) -> Server:
    """It has no certificates: proxies come by plain gRPC, and nothing asks it to admit or inject."""
    home.mkdir(parents=True, exist_ok=True)
    mesh = home / "mesh.yaml"
    mesh.write_text(yaml.safe_dump({"enableAutoMtls": False, "rootNamespace": ROOT_NAMESPACE}))
    argv = [
        str(binary),
        "discovery",
        f"--kubeconfig={kubeconfig}",
        f"--meshConfig={mesh}",
        f"--namespace={ROOT_NAMESPACE}",
        f"--grpcAddr=127.0.0.1:{grpc}",
        "--secureGRPCAddr=",
        "--httpsAddr=",
        f"--httpAddr=127.0.0.1:{http}",
        f"--monitoringAddr=127.0.0.1:{monitoring}",
        "--ctrlz_address=127.0.0.1",
        f"--ctrlz_port={ctrlz}",
        "--profile=false",
    ]
    env = {
        "POD_NAME": "istiod-1",
        "POD_NAMESPACE": ROOT_NAMESPACE,
        "PILOT_ENABLE_METADATA_EXCHANGE": "false",  # a filter of Istio's own Envoy
        "CLUSTER_ID": "Kubernetes",
    }
    ready = f"http://127.0.0.1:{http}/ready"
    return Server(name="istiod", argv=argv, log=home / "log", ready=ready, env=env, grace_s=0)


def namespace(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service_entry(host: str, where: str, *, http: int, grpc: int) -> Document:
    """A service of the mesh that is one server on this machine (whose address an EndpointSlice may not hold)."""
    ports = [
        {"number": HTTP_PORT, "name": "http", "protocol": "HTTP"},
        {"number": GRPC_PORT, "name": "grpc", "protocol": "GRPC"},
    ]
    spec = {
        "hosts": [full_name(host, where)],
        "location": "MESH_INTERNAL",
        "ports": ports,
        "resolution": "STATIC",
        "endpoints": [{"address": "127.0.0.1", "ports": {"http": http, "grpc": grpc}}],
    }
    return {"apiVersion": ISTIO, "kind": "ServiceEntry", "metadata": {"name": host, "namespace": where}, "spec": spec}


def full_name(host: str, where: str) -> str:
    return f"{host}.{where}.svc.cluster.local"


def virtual_service(name: str, where: str, *, host: str, route: str, prefix: str, weights: Mapping[str, int]) -> Document:
    """The route of these weights to paths that begin with `prefix`."""
    destinations = [{"destination": {"host": slot}, "weight": weight} for slot, weight in weights.items()]
    http = [{"name": route, "match": [{"uri": {"prefix": prefix}}], "route": destinations, "timeout": "2s"}]
    metadata = {"name": name, "namespace": where}
    return {"apiVersion": ISTIO, "kind": "VirtualService", "metadata": metadata, "spec": {"hosts": [host], "http": http}}
