"""The manifests in mesh/ fit together and say what the docs say; istiod and a real API server take them in other tiers."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rollout_controller.api.meta import parse
from rollout_controller.api.names import Raw
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.mesh import patch_weights, read_weights

MESH = Path(__file__).parents[2] / "mesh"
DOCUMENTS = [document for path in sorted(MESH.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]


def of(kind: str) -> list[Raw]:
    return [document for document in DOCUMENTS if document["kind"] == kind]


def named(kind: str, name: str) -> Raw:
    (found,) = (document for document in of(kind) if document["metadata"]["name"] == name)
    return found


@pytest.mark.parametrize("document", of("TritonRollout"), ids=lambda d: d["metadata"]["name"])
def test_a_rollout_finds_its_route_and_can_shift_it(document: Raw) -> None:
    spec = parse(TritonRollout, document).spec
    route = named("VirtualService", spec.route.virtual_service)
    assert read_weights(spec, route) == {"blue": 100, "green": 0}
    assert len(patch_weights(spec, route, {"blue": 90, "green": 10}, "rollouts.triton.dev/mark.x", {})) >= 4


def test_a_rollout_can_shift_the_grpc_route_in_place_of_the_other() -> None:
    document = named("TritonRollout", "classifier")
    document = {**document, "spec": {**document["spec"], "route": {"virtualService": "triton-grpc", "http": "classifier"}}}
    assert read_weights(parse(TritonRollout, document).spec, named("VirtualService", "triton-grpc")) == {"blue": 100, "green": 0}


@pytest.mark.parametrize("document", of("VirtualService"), ids=lambda d: d["metadata"]["name"])
def test_routes_do_not_hide_failures_and_end_what_hangs(document: Raw) -> None:
    for route in document["spec"]["http"]:
        assert route["retries"] == {"attempts": 0}
        assert route["timeout"] == "2s"
    gateways = document["spec"].get("gateways", ["mesh"])
    assert "*" not in document["spec"]["hosts"] or "mesh" not in gateways, "Istio refuses that"
    for gateway in set(gateways) - {"mesh"}:
        assert set(document["spec"]["hosts"]) <= {"*"} | {
            host for server in named("Gateway", gateway)["spec"]["servers"] for host in server["hosts"]
        }


def test_slots_are_treated_alike() -> None:
    first, *others = (document["spec"]["trafficPolicy"] for document in of("DestinationRule"))
    assert len(others) == 2
    assert all(other == first for other in others)
    assert not {"http1MaxPendingRequests", "http2MaxRequests", "maxConnections"} & set(str(first).split("'"))
