"""The documents of the scale measurements: many rollouts, each with a route of its own, and one policy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.scale_tritons import MODEL
from benchmarks.scale_world import SLOTS, host
from rollout_controller.api.meta import ANNOTATION_VERSION, Raw
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE
from rollout_controller.controller.config import DATABASE_NAME, FILE_NAME

WINDOW_S = 10


def write_world(directory: Path, rollouts: int, *, prometheus: str, tritons: str) -> None:
    """DIR/local.yaml and the store, with version 2 asked of every rollout."""
    urls = {host(number, slot): f"{tritons}/{host(number, slot)}" for number in range(rollouts) for slot in SLOTS}
    settings = {"prometheus": {"url": prometheus, "window": f"{WINDOW_S}s", "lag": "1s"}, "triton": urls}
    (directory / FILE_NAME).write_text(yaml.safe_dump(settings))
    store = LocalStore(directory / DATABASE_NAME)
    store.create(POLICY, policy())
    for number in range(rollouts):
        store.create(VIRTUAL_SERVICE, route(number))
        store.create(ROLLOUT, rollout(number))
    store.close()


def policy() -> Raw:
    """Errors, latency and a guard, every window judged by itself; steps so long that every attempt stays in its first."""
    return {
        "apiVersion": POLICY.api_version,
        "kind": POLICY.name,
        "metadata": {"name": "scale"},
        "spec": {
            "steps": [{"weight": weight} for weight in (10, 25, 50, 100)],
            "slos": [
                {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}},
                {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}},
            ],
            "guards": [{"name": "gpu", "source": "dcgm", "above": "90%", "for": "2m", "then": "Rollback"}],
            "hold": {"min": "20m", "minRequests": 30, "timeout": "1h"},
            "undecided": {"after": "30m"},
            "judge": {"tolerance": {"errors": "20s", "latency": "20s"}},
        },
    }


def rollout(number: int) -> Raw:
    return {
        "apiVersion": ROLLOUT.api_version,
        "kind": ROLLOUT.name,
        "metadata": {"name": f"r-{number:04d}", "annotations": {ANNOTATION_VERSION: "2"}},
        "spec": {
            "policy": "scale",
            "route": {"virtualService": f"r-{number:04d}"},
            "slots": {slot: {"host": host(number, slot)} for slot in SLOTS},
            "deploy": {"modelRepository": {"model": MODEL}},
        },
    }


def route(number: int) -> Raw:
    destinations = [{"destination": {"host": host(number, slot)}, "weight": w} for slot, w in zip(SLOTS, (100, 0), strict=True)]
    match = [{"uri": {"prefix": f"/v2/models/{MODEL}/"}}]
    return {
        "apiVersion": VIRTUAL_SERVICE.api_version,
        "kind": VIRTUAL_SERVICE.name,
        "metadata": {"name": f"r-{number:04d}"},
        "spec": {"hosts": [f"r-{number:04d}.example.com"], "http": [{"name": MODEL, "match": match, "route": destinations}]},
    }


def statuses(store: LocalStore) -> Iterator[Raw]:
    """The status of every rollout as it is stored."""
    for document in store.list(ROLLOUT).items:
        yield document.get("status") or {}
