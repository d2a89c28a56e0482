"""A mesh on this machine: a Kubernetes API, istiod, a sidecar that it drives, two Tritons behind it, and Prometheus."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rollout_controller.lab import istiod, load, parts, processes, procfs, prometheus, tritons
from rollout_controller.lab.envoy import access_log
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.lab import SLOTS
from rollout_controller.lab.mesh_envoy import HTTP_PORT, istio_target, sidecar_server
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.processes import Running, Server

Say = Callable[[str], None]

NAMESPACE = "demo"
HOST = "triton"
"""The VirtualService's host: what clients ask for."""
ROUTE, PREFIX = "classifier", "/v2/models/classifier/"
READY_TIMEOUT_S = 120.0
ROUTE_TIMEOUT_S = 20.0
"""istiod waits up to 10 s for changes to settle."""


@dataclass(frozen=True)
class MeshInfo:
    """Addresses. `triton`, `triton_grpc` are by slot host; `front`, `front_grpc` are the sidecar's, for the mesh's 8000, 8001."""

    namespace: str
    front: str
    front_grpc: str
    envoy_admin: str
    prometheus: str
    triton: Mapping[str, str]
    triton_grpc: Mapping[str, str]
    metrics_port: int
    """Where Prometheus looks for the controller's /metrics."""

    @property
    def host_header(self) -> str:
        """What clients send as their Host for HTTP."""
        return f"{istiod.full_name(HOST, self.namespace)}:{HTTP_PORT}"


@dataclass(frozen=True)
class SlotPorts:
    http: int
    grpc: int
    metrics: int


@dataclass(frozen=True)
class _Ports:
    front: int
    front_grpc: int
    envoy_admin: int
    prometheus: int
    xds: int
    istiod: int
    istiod_metrics: int
    istiod_debug: int
    controller: int
    slots: Mapping[str, SlotPorts]

    @classmethod
    def free(cls) -> _Ports:
        front, front_grpc, admin, prom, xds, ready, metrics, debug, controller, *slots = free_ports(15)
        return cls(
            front=front,
            front_grpc=front_grpc,
            envoy_admin=admin,
            prometheus=prom,
            xds=xds,
            istiod=ready,
            istiod_metrics=metrics,
            istiod_debug=debug,
            controller=controller,
            slots={SLOTS[0]: SlotPorts(*slots[:3]), SLOTS[1]: SlotPorts(*slots[3:])},
        )

    def info(self) -> MeshInfo:
        url = "http://127.0.0.1:{}".format
        return MeshInfo(
            namespace=NAMESPACE,
            front=url(self.front),
            front_grpc=f"127.0.0.1:{self.front_grpc}",
            envoy_admin=url(self.envoy_admin),
            prometheus=url(self.prometheus),
            triton={slot: url(own.http) for slot, own in self.slots.items()},
            triton_grpc={slot: f"127.0.0.1:{own.grpc}" for slot, own in self.slots.items()},
            metrics_port=self.controller,
        )


class Mesh:
    """One mesh in one directory, for as long as the `with` block runs; its servers die with this process.

    Version 1 is loaded in the first slot, nothing in the second, and all traffic goes to the first.
    """

    def __init__(self, directory: Path, *, say: Say = lambda _line: None) -> None:
        self.directory = directory.resolve()
        self._say = say
        self._running: dict[str, Running] = {}
        self.kube = Kube(self.directory / "kube", say=say)
        self.info: MeshInfo

    def __enter__(self) -> Self:
        """Raises MissingPart, BuildFailed, ServerFailed, KubeRefused, TritonRefused; nothing stays behind then."""
        have, pilot = parts.find_parts(self._say), parts.find_istiod(self._say)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.kube.__enter__()
        try:
            self._start(have, pilot)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> tuple[procfs.Found, ...]:
        """End every process; what is left (nothing, unless one cannot be killed)."""
        left = processes.stop_all(self.directory, {}, self._running.values())
        self._running = {}
        for slot in SLOTS:
            tritons.remove_shared_memory(self.directory / slot)
        return (*left, *self.kube.close())

    def served(self, since: float) -> list[dict[str, Any]]:
        """The sidecar's access log from `since` (seconds since 1970): what each user got. Up to 0.2 s of it may be to come."""
        found = []
        for line in access_log(self.directory / "envoy").read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line is being written
            if float(entry["start"]) >= since:
                found.append(entry)
        return found

    def load(self, *, rps: float, out: Path, seconds: float = 3600.0, seed: int = 1) -> Running:
        """Inference requests by HTTP through the sidecar."""
        server = load.load_server(
            self.directory / "load.log", self.info.front, rps=rps, out=out, seconds=seconds, seed=seed, host=self.info.host_header
        )
        running = processes.start(server, self.directory, tethered=True)
        self._running[f"load-{running.pid}"] = running
        return running

    def stop_one(self, name: str) -> None:
        """End one server (`istiod`, `envoy`, `prometheus`, a slot's name), as an outage."""
        left = processes.stop([self._running[name]], self.directory)
        if left:
            raise RuntimeError(f"{name} cannot be ended: pids {', '.join(str(p.pid) for p in left)}")

    def start_one(self, name: str) -> None:
        """Start it again where it was. A Triton comes back with nothing loaded."""
        self._start_servers(self._running[name].server)

    def weights(self, *, port: int = HTTP_PORT, host: str = HOST) -> dict[str, int]:
        """The weights of that host's first route by slot, in the sidecar's own configuration: what it does."""
        name = f"{istiod.full_name(host, self.info.namespace)}:{port}"
        found = [v for v in self._routes(port).get("route_config", {}).get("virtual_hosts", []) if v["name"] == name]
        return _weights(found[0]["routes"][0]["route"]) if found else {}

    def routes_updated(self, *, port: int = HTTP_PORT) -> str:
        """Since when the sidecar has the routes that it has now, as an RFC 3339 instant."""
        return str(self._routes(port)["last_updated"])

    def wait_weights(self, expected: Mapping[str, int], **where: Any) -> None:
        """Wait until the sidecar has exactly these weights. Raises TimeoutError."""
        deadline = time.monotonic() + ROUTE_TIMEOUT_S
        while (found := self.weights(**where)) != expected:
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {ROUTE_TIMEOUT_S:g} s Envoy's weights are {found}, not {dict(expected)}")
            time.sleep(0.02)

    def route(self, weights: Mapping[str, int]) -> None:
        """Write these weights into the VirtualService, as a person would who takes over. Raises KubeRefused."""
        document = istiod.virtual_service(HOST, NAMESPACE, host=HOST, route=ROUTE, prefix=PREFIX, weights=weights)
        self.kube.apply(document)

    def _routes(self, port: int) -> dict[str, Any]:
        configs = self._envoy("/config_dump?resource=dynamic_route_configs").get("configs", [])
        return next((config for config in configs if config["route_config"]["name"] == str(port)), {})

    def _envoy(self, path: str) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.info.envoy_admin + path, timeout=5.0) as answer:
            document: dict[str, Any] = json.loads(answer.read())
        return document

    def _start(self, have: parts.Parts, pilot: Path) -> None:
        ports = _Ports.free()
        self.info = ports.info()
        home = self.directory
        tritons.lay_out_models(home / "models")
        self.kube.apply_istio_crds()
        self.kube.apply(istiod.namespace(istiod.ROOT_NAMESPACE), istiod.namespace(NAMESPACE))
        masters = self.kube.user("lab-istiod", ("system:masters",))
        self._start_servers(
            *_tritons(have.triton, home, ports),
            _prometheus(have.prometheus, home, ports),
            istiod.istiod_server(
                pilot,
                home / "istiod",
                masters,
                grpc=ports.xds,
                http=ports.istiod,
                monitoring=ports.istiod_metrics,
                ctrlz=ports.istiod_debug,
            ),
        )
        self.kube.apply(
            *(istiod.service_entry(slot, NAMESPACE, http=own.http, grpc=own.grpc) for slot, own in ports.slots.items()),
            istiod.service_entry(HOST, NAMESPACE, http=ports.slots[SLOTS[0]].http, grpc=ports.slots[SLOTS[0]].grpc),
        )
        self.route({SLOTS[0]: 100, SLOTS[1]: 0})
        tritons.load_version(self.info.triton[SLOTS[0]], 1)
        self._start_servers(
            sidecar_server(
                have.envoy,
                home / "envoy",
                http=ports.front,
                grpc=ports.front_grpc,
                admin=ports.envoy_admin,
                istiod=ports.xds,
                namespace=NAMESPACE,
            )
        )
        self.wait_weights({SLOTS[0]: 100})

    def _start_servers(self, *servers: Server) -> None:
        started = [processes.start(server, self.directory, tethered=True) for server in servers]
        self._running |= {running.server.name: running for running in started}
        processes.wait_ready(started, READY_TIMEOUT_S, lambda r, s: self._say(f"{r.server.name} is ready ({s:.1f} s)"))


def _tritons(binary: parts.Triton, home: Path, ports: _Ports) -> list[Server]:
    models = home / "models"
    return [
        tritons.triton_server(binary, slot, home / slot, models, port=own.http, metrics_port=own.metrics, grpc_port=own.grpc)
        for slot, own in ports.slots.items()
    ]


def _prometheus(binary: Path, home: Path, ports: _Ports) -> Server:
    targets = (
        istio_target(ports.envoy_admin),
        prometheus.controller_target(ports.controller),
    )
    return prometheus.prometheus_server(binary, home / "prometheus", port=ports.prometheus, targets=targets)


def _weights(action: dict[str, Any]) -> dict[str, int]:
    if "cluster" in action:
        return {_slot(action["cluster"]): 100}
    found = {_slot(c["name"]): int(c.get("weight", 0)) for c in action["weighted_clusters"]["clusters"]}
    return {slot: weight for slot, weight in found.items() if weight}


def _slot(cluster: str) -> str:
    """`triton-blue` of `outbound|8000||triton-blue.demo.svc.cluster.local`."""
    return cluster.rpartition("|")[2].partition(".")[0]
