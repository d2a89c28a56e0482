"""The manifests in mesh/, as they are: istiod makes routes and clusters of them that Envoy takes, and that do what they say."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from rollout_controller import mesh as route
from rollout_controller.api.meta import parse
from rollout_controller.api.names import Raw, mark_of
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.lab import istiod, processes
from rollout_controller.lab.kube_api import documents
from rollout_controller.lab.load import bodies
from rollout_controller.lab.mesh import Mesh
from rollout_controller.lab.mesh_envoy import GRPC_PORT, HTTP_PORT
from rollout_controller.lab.parts import find_envoy
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.processes import Server
from tests.support.chart import apply_crds
from tests.support.world import wait_for

pytestmark = pytest.mark.mesh

MANIFESTS = Path(__file__).parents[2] / "mesh"
NAMESPACE = "manifests"
BLUE, GREEN = "triton-blue", "triton-green"
TLS_ROUTES, PLAIN_ROUTES = f"https.443.https.inference.{NAMESPACE}", "http.80"
"""istiod's names for the routes of mesh/gateway.yaml's two servers. TLS is the listener's affair, and those here are fixed."""
NO_LIMIT = 2**32 - 1


class Proxy:
    """An Envoy that istiod drives: what it was given, and whether it took it. `fronts` are the ports that clients come to."""

    def __init__(self, admin: str, fronts: Mapping[str, int]) -> None:
        self._admin, self._fronts = admin, fronts
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _get(self, path: str) -> Any:
        with self._opener.open(self._admin + path, timeout=10) as answer:
            return json.loads(answer.read())

    def routes(self, name: str) -> dict[str, list[Raw]]:
        """By domain, the routes of a route configuration."""
        configs = self._get("/config_dump?resource=dynamic_route_configs").get("configs", [])
        hosts = [h for c in configs if c["route_config"]["name"] == name for h in c["route_config"].get("virtual_hosts", [])]
        return {domain: host.get("routes", []) for host in hosts for domain in host["domains"]}

    def clusters(self) -> dict[str, Raw]:
        configs = self._get("/config_dump?resource=dynamic_active_clusters").get("configs", [])
        return {config["cluster"]["name"]: config["cluster"] for config in configs}

    def took_everything(self) -> bool:
        """Of clusters and routes there was at least one update, and none was refused."""
        stats = {stat["name"]: stat["value"] for stat in self._get("/stats?format=json")["stats"] if "name" in stat}
        refused = {name: value for name, value in stats.items() if name.endswith(".update_rejected") and value}
        taken = {name.rpartition(".")[0] for name, value in stats.items() if name.endswith(".update_success") and value}
        return not refused and "cluster_manager.cds" in taken and any(".rds." in name for name in taken)

    def ask(self, routes: str, host: str) -> tuple[int, str]:
        """One inference: its code, and where it is sent on to."""
        head, images = bodies(7)
        connection = http.client.HTTPConnection("127.0.0.1", self._fronts[routes], timeout=10)
        try:
            headers = {"Host": host, "Inference-Header-Content-Length": str(len(head))}
            connection.request("POST", "/v2/models/classifier/infer", images[0], headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("location", "")
        finally:
            connection.close()


def shares(found: Raw) -> dict[str, int]:
    """Of a route, by cluster; a lone one has all."""
    action = found["route"]
    if "cluster" in action:
        return {action["cluster"]: 100}
    return {c["name"]: int(c["weight"]) for c in action["weighted_clusters"]["clusters"] if c.get("weight")}


def cluster(host: str, port: int = HTTP_PORT, subset: str = "") -> str:
    return f"outbound|{port}|{subset}|{istiod.full_name(host, NAMESPACE)}"


def service(host: str, *endpoints: tuple[str, Mapping[str, str]]) -> Raw:
    """What stands for a Service and its pods, by URL and labels; see `istiod.service_entry`."""
    made = istiod.service_entry(host, NAMESPACE, http=1, grpc=1)
    ports = [(urlsplit(url).port, labels) for url, labels in endpoints]
    made["spec"]["endpoints"] = [
        {"address": "127.0.0.1", "ports": {"http": port, "grpc": port}, "labels": dict(labels)} for port, labels in ports
    ]
    return made


@pytest.fixture(scope="module")
def applied(mesh: Mesh) -> Mesh:
    """What a user applies, but for Services and pods: those are the lab's two Tritons."""
    apply_crds(mesh.kube)
    urls = mesh.info.triton
    mesh.kube.apply(
        istiod.namespace(NAMESPACE),
        *(service(slot, (urls[slot], {})) for slot in (BLUE, GREEN)),
        service("triton", (urls[BLUE], {"slot": "blue"}), (urls[GREEN], {"slot": "green"})),
    )
    wanted = [document for document in documents([MANIFESTS]) if document["apiVersion"] != "apps/v1"]
    mesh.kube.apply(*(d for d in wanted if d["kind"] != "Service"), namespace=NAMESPACE)
    return mesh


@pytest.fixture(scope="module")
def sidecar(applied: Mesh) -> Proxy:
    """A client in the mesh."""
    front = urlsplit(applied.info.front).port
    assert front is not None
    return Proxy(applied.info.envoy_admin, {str(HTTP_PORT): front})


@pytest.fixture(scope="module")
def door(applied: Mesh) -> Iterator[Proxy]:
    """The sidecar's Envoy once more, as an ingress gateway in a namespace of its own."""
    home = applied.directory / "door"
    home.mkdir()
    tls, plain, admin = free_ports(3)
    document = yaml.safe_load((applied.directory / "envoy" / "bootstrap.yaml").read_text())
    document["node"] |= {"id": "router~127.0.0.1~door-1.istio-system~istio-system.svc.cluster.local", "cluster": "door"}
    document["node"]["metadata"] |= {"NAMESPACE": "istio-system", "LABELS": {"istio": "ingressgateway"}}
    document["admin"]["address"]["socket_address"]["port_value"] = admin
    listeners = document["static_resources"]["listeners"]
    for listener, name, port in zip(listeners, (TLS_ROUTES, PLAIN_ROUTES), (tls, plain), strict=True):
        listener["address"]["socket_address"]["port_value"] = port
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        manager["rds"]["route_config_name"] = name
        manager["access_log"] = []
    (home / "bootstrap.yaml").write_text(yaml.safe_dump(document))
    binary = str(find_envoy())
    argv = [binary, "-c", str(home / "bootstrap.yaml"), "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]
    server = Server(name="door", argv=argv, log=home / "log", ready=f"http://127.0.0.1:{admin}/ready", grace_s=0)
    running = processes.start(server, applied.directory, tethered=True)
    try:
        processes.wait_ready([running], 60, lambda *_: None)
        yield Proxy(f"http://127.0.0.1:{admin}", {TLS_ROUTES: tls, PLAIN_ROUTES: plain})
    finally:
        processes.stop([running], applied.directory)


def test_the_gateway_leads_to_the_slot_that_has_the_traffic(door: Proxy) -> None:
    wait_for(lambda: "inference.example.com" in door.routes(TLS_ROUTES), 20)
    (found,) = door.routes(TLS_ROUTES)["inference.example.com"]
    assert shares(found) == {cluster(BLUE): 100}
    assert found["match"]["prefix"] == "/v2/models/classifier/"
    wait_for(lambda: door.ask(TLS_ROUTES, "inference.example.com") == (200, ""), 20)
    assert door.ask(TLS_ROUTES, "elsewhere.example.com")[0] == 404
    assert door.took_everything()


def test_who_comes_in_the_clear_is_sent_to_tls(door: Proxy) -> None:
    wait_for(lambda: door.ask(PLAIN_ROUTES, "inference.example.com")[0] == 301, 20)
    assert door.ask(PLAIN_ROUTES, "inference.example.com")[1] == "https://inference.example.com/v2/models/classifier/infer"
    assert door.ask(PLAIN_ROUTES, "inference-grpc.example.com")[0] == 404


def test_the_route_of_grpc_is_on_its_own_host_and_port(door: Proxy) -> None:
    wait_for(lambda: len(door.routes(TLS_ROUTES).get("inference-grpc.example.com", [])) > 0, 20)
    found = next(
        each
        for each in door.routes(TLS_ROUTES)["inference-grpc.example.com"]
        if each["match"]["prefix"] == "/inference.GRPCInferenceService/"
    )
    assert shares(found) == {cluster(BLUE, GRPC_PORT): 100}
    clusters = door.clusters()
    options = clusters[cluster(BLUE, GRPC_PORT)]["typed_extension_protocol_options"]
    assert "http2_protocol_options" in str(options), "gRPC has HTTP/2"
    assert "http2_protocol_options" not in str(clusters[cluster(BLUE)]), "Triton's HTTP port has not"


def test_a_failure_is_not_tried_again_and_a_hanging_request_ends(door: Proxy, sidecar: Proxy) -> None:
    """Istio's own default, on the lab's route of the sidecar, is two retries: were it another, ours would need no words."""
    (ours,) = door.routes(TLS_ROUTES)["inference.example.com"]
    assert "retry_policy" not in ours["route"]
    assert ours["route"]["timeout"] == "2s"
    usual = sidecar.routes(str(HTTP_PORT))[f"{istiod.full_name('triton', 'demo')}"][0]["route"]
    assert usual["retry_policy"]["num_retries"] == 2


@pytest.mark.parametrize("name", [cluster(BLUE), cluster(GREEN), cluster("triton", subset="blue")])
def test_the_mesh_judges_no_answers_and_makes_none_of_its_own(sidecar: Proxy, name: str) -> None:
    """No pod is ejected for what it answered, and nothing is refused for being slow: that is the controller's decision."""
    wait_for(lambda: sidecar.clusters().get(name, {}).get("connect_timeout") == "1s", 20)
    found = sidecar.clusters()[name]
    ejects = found["outlier_detection"]
    for kind in ("consecutive_5xx", "consecutive_gateway_failure", "success_rate"):
        assert ejects[f"enforcing_{kind}"] == 0, ejects
    assert (ejects["split_external_local_origin_errors"], ejects["consecutive_local_origin_failure"]) == (True, 5)
    assert ejects["max_ejection_percent"] == 25
    assert not ejects.get("always_eject_one_host")
    (limits,) = found["circuit_breakers"]["thresholds"]
    assert limits["max_connections"] == limits["max_pending_requests"] == limits["max_requests"] == NO_LIMIT


def test_subsets_are_shifted_as_hosts_are(applied: Mesh, sidecar: Proxy) -> None:
    """By the patch that the controller writes; Envoy then has the subsets' clusters with these weights, and they answer."""
    host = istiod.full_name("triton", NAMESPACE)
    made = list(documents([MANIFESTS / "subsets.yaml"]))
    spec = parse(TritonRollout, next(d for d in made if d["kind"] == "TritonRollout")).spec
    service = next(d for d in made if d["kind"] == "VirtualService")

    def seen() -> dict[str, int]:
        return shares(sidecar.routes(str(HTTP_PORT))[host][0])

    wait_for(lambda: host in sidecar.routes(str(HTTP_PORT)), 20)
    wait_for(lambda: seen() == {cluster("triton", subset="blue"): 100}, 20)
    path = applied.kube.api.path_of(service, NAMESPACE)
    stored = applied.kube.api.get(path)
    assert route.read_weights(spec, stored) == {"blue": 100, "green": 0}
    patch = route.patch_weights(spec, stored, {"blue": 75, "green": 25}, mark_of("classifier-subsets"), {"weight": 25})
    applied.kube.api.call("PATCH", path, patch, content_type="application/json-patch+json")
    wait_for(lambda: seen() == {cluster("triton", subset="blue"): 75, cluster("triton", subset="green"): 25}, 20)
    codes = Counter(sidecar.ask(str(HTTP_PORT), f"{host}:{HTTP_PORT}")[0] for _ in range(40))
    assert codes[200] > 10, "blue has the model"
    assert codes[400] + codes[404] > 0, "green was asked, too, and has none"
    assert sidecar.took_everything()
