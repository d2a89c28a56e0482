"""How long a weight takes from the API server to the traffic: patched in the VirtualService, live in Envoy.

python -m benchmarks.mesh_latency [--patches 50]

A real API server, istiod and a sidecar that istiod drives. "Live" is `last_updated` of the route configuration in Envoy's own
dump. istiod waits 100 ms for a change to be followed by others before it sends it on: its default, and not shortened here.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from rollout_controller.api.quantities import parse_instant
from rollout_controller.lab.lab import SLOTS
from rollout_controller.lab.mesh import HOST, Mesh
from rollout_controller.lab.mesh_envoy import HTTP_PORT

BLUE, GREEN = SLOTS
JSON_PATCH = "application/json-patch+json"


def patch(mesh: Mesh, before: int, canary: int) -> tuple[float, float]:
    """One patch as the controller writes it. Seconds it took to be answered, and from its start until Envoy had it."""
    path = f"/apis/networking.istio.io/v1/namespaces/{mesh.info.namespace}/virtualservices/{HOST}"
    operations = [
        {"op": "test", "path": "/spec/http/0/route/1/weight", "value": before},
        {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": 100 - canary},
        {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": canary},
    ]
    began = time.time()
    mesh.kube.api.call("PATCH", path, operations, content_type=JSON_PATCH)
    answered = time.time()
    mesh.wait_weights({BLUE: 100 - canary, GREEN: canary})
    return answered - began, parse_instant(mesh.routes_updated(port=HTTP_PORT)) - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=50)
    patches: int = parser.parse_args().patches
    answered, live = [], []
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(prefix="rollouts-bench-") as folder, Mesh(Path(folder), say=print) as mesh:
        before = 1
        mesh.route({BLUE: 99, GREEN: before})
        mesh.wait_weights({BLUE: 99, GREEN: before})
        for number in range(patches):
            time.sleep(chance.uniform(0.5, 1.5))  # not in step with anything
            canary = 10 + (number % 80)
            one, both = patch(mesh, before, canary)
            answered.append(1000 * one)
            live.append(1000 * both)
            before = canary
    for name, values in (("patch answered", answered), ("live in Envoy", live)):
        ordered = sorted(values)
        p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        print(f"{name:<16} {len(values)} patches: p50 {statistics.median(values):.0f} ms, p99 {p99:.0f} ms")


if __name__ == "__main__":
    main()
