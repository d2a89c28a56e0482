"""The route of the chart of Triton: istiod makes of it what Envoy takes, and clients get only where they should."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from rollout_controller.api.names import Raw
from rollout_controller.lab import istiod
from rollout_controller.lab.mesh import Mesh
from tests.mesh.test_manifests import shares
from tests.support.triton_chart import rendered
from tests.support.world import wait_for

pytestmark = pytest.mark.mesh

NAMESPACE = "charted"
KINDS = {"Service", "VirtualService", "DestinationRule"}


def routes(mesh: Mesh, domain: str) -> list[Raw]:
    """What the sidecar has for that domain on Triton's HTTP port; empty while it has none."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{mesh.info.envoy_admin}/config_dump?resource=dynamic_route_configs", timeout=10) as answer:
        configs: Any = json.loads(answer.read()).get("configs", [])
    hosts = [host for config in configs for host in config["route_config"].get("virtual_hosts", [])]
    return next((host.get("routes", []) for host in hosts if domain in host["domains"]), [])


def test_clients_in_the_mesh_get_to_the_slot_that_has_the_traffic(mesh: Mesh) -> None:
    """By the name of a Service that selects no pods; what loads and unloads models has no route."""
    mesh.kube.apply(istiod.namespace(NAMESPACE))
    mesh.kube.apply(*(document for document in rendered(namespace=NAMESPACE) if document["kind"] in KINDS))
    domain, blue = istiod.full_name("triton", NAMESPACE), istiod.full_name("triton-blue", NAMESPACE)
    wait_for(lambda: len(routes(mesh, domain)) == 4, 30)
    found = routes(mesh, domain)
    assert [shares(route) for route in found] == [{f"outbound|8000||{blue}": 100}] * 4
    matches = [route["match"] for route in found]
    assert {m.get("path") or m.get("prefix") or m.get("path_separated_prefix") for m in matches} == {
        *("/v2/models/resnet50", "/v2/models/resnet50/", "/v2/health/", "/v2"),
    }
    assert not [route for route in found if "retry_policy" in route["route"]]
