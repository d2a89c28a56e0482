"""A mesh with a controller, used as its users use it: documents applied, and an annotation patched by CI."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import yaml

from rollout_controller.api.meta import ANNOTATION_REQUEST, ANNOTATION_VERSION
from rollout_controller.api.names import Raw
from rollout_controller.lab import istiod, prometheus
from rollout_controller.lab.mesh import HOST, NAMESPACE, PREFIX, ROUTE, Mesh
from tests.support.chart import install_chart
from tests.support.controller_process import ROOT, ControllerProcess
from tests.support.rights import Right, without

RELEASE_NAMESPACE = "rollout-system"
NAME = "classifier"
MERGE = "application/merge-patch+json"
ENDS = frozenset({"Succeeded", "RolledBack", "Aborted", "Stalled"})
SAMPLE_S = 0.1
STEPS = (10, 25, 50, 100)


def policy() -> Raw:
    """The demo's policy on Istio's metrics, with steps of a few seconds."""
    document: Raw = yaml.safe_load((ROOT / "policies" / "demo.yaml").read_text())
    document["metadata"]["namespace"] = NAMESPACE
    spec = document["spec"]
    assert [step["weight"] for step in spec["steps"]] == list(STEPS)
    spec["slos"] = [{**slo, "source": "istio"} for slo in spec["slos"]]
    del spec["guards"]  # no GPU here
    spec["hold"] = {"min": "3s", "minRequests": 20, "timeout": "2m"}
    spec["undecided"] = {"after": "5s", "then": "Advance"}
    return document


def rollout() -> Raw:
    document: Raw = yaml.safe_load((ROOT / "mesh" / "tritonrollout.yaml").read_text())
    document["metadata"]["namespace"] = NAMESPACE
    assert document["metadata"]["name"] == NAME
    return document


class Weights:
    """The weights that Envoy had, in its own configuration dump, whenever they were another."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._seen: list[dict[str, int]] = []
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="weights", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.wait(SAMPLE_S):
                found = self._mesh.weights()
                if not self._seen or self._seen[-1] != found:
                    self._seen.append(found)
        except BaseException as error:  # noqa: BLE001 - told by the one who asks
            self._error = error

    def of(self, host: str) -> list[int]:
        """What that slot had, one after the other."""
        self._stop.set()
        self._thread.join(10)
        assert self._error is None, self._error
        return [weights.get(host, 0) for weights in self._seen]


class Service:
    """A mesh that is up, its documents applied, and (after `start`) a controller with the chart's rights."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.kube = mesh, mesh.kube
        self.installed = install_chart(self.kube, {"namespaces": [NAMESPACE]}, namespace=RELEASE_NAMESPACE)
        here = {
            "prometheus": {"url": mesh.info.prometheus, "window": prometheus.SCRAPE_EVERY, "lag": prometheus.LAG},
            "triton": {"urls": dict(mesh.info.triton)},
            "metrics": {"host": "127.0.0.1", "port": 0},
        }
        self._config = self.installed.config_with(mesh.directory / "config.yaml", here)
        self._log = mesh.directory / "controller.log"
        self.kube.apply(policy(), rollout(), self._free_lease())
        self.controller: ControllerProcess
        self.asked = 0

    # --- the controller ------------------------------------------------------------------------------------------

    @property
    def user(self) -> str:
        """As RBAC and the audit log call the controller."""
        account = next(d for d in self.installed.documents if d["kind"] == "ServiceAccount")
        return f"system:serviceaccount:{RELEASE_NAMESPACE}:{account['metadata']['name']}"

    def start(self) -> None:
        self.controller = ControllerProcess(self.kube, self.user, self.installed.kubeconfig, self._config, self._log)
        self.controller.wait_acting()

    def kill(self) -> None:
        """As a node's death would."""
        assert self.controller.end(Signals.SIGKILL) == -Signals.SIGKILL
        self.kube.api.call(
            "PATCH", self.kube.api.path_of(self._free_lease()), {"spec": {"holderIdentity": ""}}, content_type=MERGE
        )

    def _free_lease(self) -> Raw:
        """A Lease that nobody holds: how long a dead one's is waited for is what tests/cluster/test_replicas.py tests."""
        metadata = {"name": yaml.safe_load(self._config.read_text())["lease"]["name"], "namespace": RELEASE_NAMESPACE}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}

    def without(self, verb: str, group: str, resource: str) -> AbstractContextManager[None]:
        """The controller may not do that meanwhile."""
        roles = [d for d in self.installed.documents if d["kind"] == "Role" and d["metadata"]["namespace"] == NAMESPACE]
        return without(self.kube, self.user, Right(verb, group, resource, NAMESPACE), roles)

    # --- what CI and people do -----------------------------------------------------------------------------------

    def ask(self, version: str) -> str:
        """CI's way: one patch of two annotations. Gives the request id."""
        self.asked += 1
        request = f"run-{self.asked}"
        annotations = {ANNOTATION_VERSION: version, ANNOTATION_REQUEST: request}
        self.kube.api.call("PATCH", self._path(), {"metadata": {"annotations": annotations}}, content_type=MERGE)
        return request

    def wait(self, request: str, within_s: float = 240) -> dict[str, Any]:
        """As `kubectl wait` would: the status, when what was asked for has come to an end."""
        return self.until(
            lambda s: s.get("observedRequest") == request and s.get("phase") in ENDS, f"an end of {request}", within_s
        )

    def until(self, so: Callable[[dict[str, Any]], bool], what: str, within_s: float = 120) -> dict[str, Any]:
        """The status, when it is so."""
        end = time.monotonic() + within_s
        while not so(status := self.status()):
            assert time.monotonic() < end, f"not within {within_s} s: {what}\n{json.dumps(status)[:2000]}\n{self.log_end()}"
            time.sleep(0.1)
        return status

    def until_weight(self, host: str, weight: int, within_s: float = 120) -> None:
        """Until Envoy has as much."""
        end = time.monotonic() + within_s
        while self.mesh.weights().get(host, 0) < weight:
            assert time.monotonic() < end, f"{host} never had {weight} %: {json.dumps(self.status())[:2000]}\n{self.log_end()}"
            time.sleep(SAMPLE_S)

    # --- what is really so ---------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.api.get(self._path()).get("status") or {}
        return found

    def conditions(self) -> dict[str, tuple[str, str]]:
        """Status and message by type."""
        return {c["type"]: (c["status"], c["message"]) for c in self.status()["conditions"]}

    def events(self) -> list[dict[str, Any]]:
        """Those of the rollout."""
        found = self.kube.api.get(f"/apis/events.k8s.io/v1/namespaces/{NAMESPACE}/events")["items"]
        return [event for event in found if event["regarding"]["name"] == NAME]

    def route(self) -> dict[str, Any]:
        """The VirtualService."""
        document = istiod.virtual_service(HOST, NAMESPACE, host=HOST, route=ROUTE, prefix=PREFIX, weights={})
        return self.kube.api.read(document)

    def served(self, since: float, until: float = float("inf")) -> dict[str, list[dict[str, Any]]]:
        """The sidecar's access log of that time, by slot: what users really got."""
        found: dict[str, list[dict[str, Any]]] = {}
        for entry in self.mesh.served(since):
            if float(entry["start"]) < until:
                slot = str(entry["cluster"]).rpartition("|")[2].partition(".")[0]
                found.setdefault(slot, []).append(entry)
        return found

    def inferences(self) -> Mapping[tuple[str, str], int]:
        """Requests that each slot's Triton counted, by slot and version; what is not loaded is not known there."""
        found: Counter[tuple[str, str]] = Counter()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for slot, url in self.mesh.info.triton.items():
            with opener.open(f"{url}/v2/models/stats", timeout=5) as answer:
                for model in json.loads(answer.read())["model_stats"]:
                    stats = model["inference_stats"]
                    found[slot, model["version"]] += int(stats["success"]["count"]) + int(stats["fail"]["count"])
        return found

    def log_end(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def _path(self) -> str:
        return self.kube.api.path_of(rollout(), NAMESPACE)


@contextmanager
def running(mesh: Mesh, *, rps: float) -> Iterator[Service]:
    """Everything up and under load; the controller ends as it should, or was ended before."""
    service = Service(mesh)
    try:
        service.start()
        mesh.load(rps=rps, out=Path(mesh.directory / "load.jsonl"), seconds=1800)
        service.until(lambda status: status.get("phase") == "Idle", "a controller that has looked")
        yield service
        assert service.controller.end() == 0
    finally:
        service.controller.close()
