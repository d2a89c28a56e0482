"""From configuration to a controller that runs: on a folder, or on a cluster."""

from __future__ import annotations

import os
import signal
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path

from rollout_controller.api.meta import Key
from rollout_controller.cluster.codec import quick
from rollout_controller.cluster.fence import Fence, FencedTransport
from rollout_controller.cluster.lease import Timing
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.rds import RdsProjection
from rollout_controller.cluster.transport import Transport
from rollout_controller.controller.config import (
    DATABASE_NAME,
    ClusterConfig,
    LeaseConfig,
    MetricsConfig,
    load_cluster,
    load_local,
)
from rollout_controller.controller.heap import share_one_heap
from rollout_controller.controller.process import Controller, Seat, Settings, Stores
from rollout_controller.controller.tritons import by_name, by_pattern
from rollout_controller.controller.workloads import NOT_MANAGED

READ_S = 10.0
"""One page of a list has this long."""
LOCAL_WORKERS = 1
"""A local store takes one write at a time, and turns are Python: a second worker only contends for both (docs/benchmarks.md)."""
CLUSTER_WORKERS = 4
"""An API server takes some milliseconds for a write, in which others can be under way."""


@dataclass(frozen=True)
class ClusterOptions:
    """What the command line says of the cluster; None and empty: what the configuration says."""

    config: Path
    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    metrics_port: int | None = None


def run_local(directory: Path, *, metrics_port: int | None) -> int:
    """Run a controller on DIR until SIGTERM or SIGINT; gives the exit code.

    Raises:
        InvalidDocument: local.yaml cannot be used.
    """
    config = load_local(directory)
    projection = RdsProjection(directory / config.envoy.rds, name=config.envoy.route_config)
    store = LocalStore(directory / DATABASE_NAME, projections=[projection], codec=quick())
    store.sync()
    settings = Settings(
        prometheus=config.prometheus,
        tritons=by_name(config.triton),
        metrics=_metrics(config.metrics, metrics_port),
        identity=f"{socket.gethostname()}-{os.getpid()}",
        workers=LOCAL_WORKERS,
        notifications=config.notifications,
    )
    try:
        return _run(Controller(Stores(store, store, store), settings, Fence(0.0), None))
    finally:
        store.close()


def run_cluster(options: ClusterOptions) -> int:
    """Run a controller on a cluster until SIGTERM or SIGINT; gives the exit code.

    Raises:
        InvalidDocument: the configuration, or the kubeconfig, cannot be used.
        Unavailable: the kubeconfig's credential plugin does not answer.
    """
    from rollout_controller.cluster.kubernetes import KubernetesStore  # noqa: PLC0415 - 0.7 s and 66 MiB that local mode
    from rollout_controller.cluster.official import OfficialTransport  # noqa: PLC0415   does not need

    config = load_cluster(options.config)
    wire = OfficialTransport(options.kubeconfig, options.context)
    lease_wire = OfficialTransport(options.kubeconfig, options.context)  # connections of its own: nothing is in their way
    seat = None if config.lease is None else _seat(config.lease, wire.namespace)
    request_s = Timing().request_s if seat is None else seat.timing.request_s
    fence = Fence(request_s)
    stores = Stores(
        reads=KubernetesStore(wire, timeout_s=READ_S),
        writes=KubernetesStore(FencedTransport(wire, fence), timeout_s=request_s),
        lease=KubernetesStore(lease_wire, timeout_s=request_s),
    )
    try:
        return _run(Controller(stores, _settings(config, options, wire), fence, seat))
    finally:
        wire.close()
        lease_wire.close()


def _settings(config: ClusterConfig, options: ClusterOptions, wire: Transport) -> Settings:
    return Settings(
        prometheus=config.prometheus,
        tritons=by_pattern(config.triton.url, config.triton.urls),
        metrics=_metrics(config.metrics, options.metrics_port),
        identity=f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}",  # a container that is started again has the pod's name
        workers=CLUSTER_WORKERS,
        namespaces=options.namespaces or config.namespaces,
        no_workloads=None if config.workloads.manage else NOT_MANAGED,
        wire=wire,
        notifications=config.notifications,
    )


def _seat(lease: LeaseConfig, own_namespace: str) -> Seat:
    return Seat(Key(lease.namespace or own_namespace, lease.name), Timing.of(int(lease.duration)))


def _metrics(config: MetricsConfig, port: int | None) -> MetricsConfig:
    return config if port is None else config.model_copy(update={"port": port})


def _run(controller: Controller) -> int:
    share_one_heap()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: controller.stop())
    return controller.run()
