"""Controllers as processes of their own, on a real API server: each as a user with just the rights that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.api.names import Raw
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.lab.kube import Kube
from tests.contract.documents import policy, rollout, virtual_service
from tests.support.chart import install_chart
from tests.support.controller_process import START_S, ControllerProcess
from tests.support.watching import soon

RBAC = "rbac.authorization.k8s.io"


def binding(user: str, role: Raw) -> Raw:
    """The role's rights for one more user."""
    name, namespace = role["metadata"]["name"], role["metadata"]["namespace"]
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {"name": f"{name}-{user}", "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user}],
    }


class Replica(ControllerProcess):
    """One controller of a stage, as its own user `NAMESPACE-NAME`."""

    def __init__(self, stage: Stage, name: str) -> None:
        user = f"{stage.namespace}-{name}"
        kubeconfig = stage.kube.user(user, namespace=stage.namespace)
        stage.kube.apply(*(binding(user, role) for role in stage.roles))
        super().__init__(stage.kube, user, kubeconfig, stage.config, stage.folder / f"{user}.log")
        stage.replicas.append(self)


class Stage:
    """A namespace with the chart in it, a rollout at rest, its policy and its route; controllers come when they are asked for."""

    def __init__(self, kube: Kube, namespace: str, folder: Path, values: Raw | None = None, **config: Any) -> None:
        self.kube, self.namespace, self.folder = kube, namespace, folder
        self.replicas: list[Replica] = []
        installed = install_chart(kube, {"namespaces": [namespace], **(values or {})}, name="controller", namespace=namespace)
        self.roles = [document for document in installed.documents if document["kind"] == "Role"]
        here = {
            "prometheus": {"url": "http://127.0.0.1:9", "window": "2s", "lag": "1s"},
            "triton": {"url": "http://127.0.0.1:9/{host}"},
            "metrics": {"host": "127.0.0.1", "port": 0},
            **config,
        }
        self.config = installed.config_with(folder / "config.yaml", here)
        self.lease_name = str(yaml.safe_load(self.config.read_text())["lease"]["name"])
        self._transport = OfficialTransport(kube.admin)
        self.store = KubernetesStore(self._transport)
        kube.apply(self.free_lease())

    def free_lease(self) -> Raw:
        """A Lease that nobody holds: where there is none, the first controller waits for as long as one may have been held."""
        metadata = {"name": self.lease_name, "namespace": self.namespace}
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": {}}

    def apply(self) -> None:
        """The documents: version 1 runs in blue and has all traffic; nothing is asked for."""
        resting = rollout(self.namespace)
        del resting["metadata"]["annotations"]
        self.kube.apply(policy(self.namespace), virtual_service(self.namespace), resting, namespace=self.namespace)

    def replica(self, name: str) -> Replica:
        return Replica(self, name)

    def two(self) -> tuple[Replica, Replica]:
        """The one that leads, acts, and has found which slot is stable, and the one that waits, and is ready."""
        first, second = self.replica("a"), self.replica("b")
        first.wait_ready()
        second.wait_ready()
        soon(lambda: first.acts() or second.acts(), START_S)
        self.wait_known()
        soon(lambda: self.status().get("stableSlot") is not None, START_S, self.logs)
        return (first, second) if first.acts() else (second, first)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.api.read(rollout(self.namespace), namespace=self.namespace).get("status") or {}
        return found

    def weights(self) -> tuple[int, int]:
        document = self.kube.api.read(virtual_service(self.namespace), namespace=self.namespace)
        blue, green = document["spec"]["http"][0]["route"]
        return blue.get("weight", 0), green.get("weight", 0)

    def drift(self, blue: int = 50, green: int = 50) -> None:
        """Somebody else moves the weights."""
        path = self.kube.api.path_of(virtual_service(self.namespace), self.namespace)
        patch = [
            {"op": "add", "path": f"/spec/http/0/route/{n}/weight", "value": weight} for n, weight in enumerate((blue, green))
        ]
        self.kube.api.call("PATCH", path, patch, content_type="application/json-patch+json")

    def wait_known(self) -> None:
        """Until a controller knows which slot is stable: before, nobody could put the weights right."""
        soon(lambda: bool(self.status().get("stableSlot")), 180, self.logs)

    def mended(self) -> bool:
        return self.weights() == (100, 0)

    def wait_mended(self, within_s: float = 180.0) -> None:
        soon(self.mended, within_s, self.logs)

    def lease(self) -> dict[str, Any]:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{self.lease_name}"
        found: dict[str, Any] = self.kube.api.get(path)["spec"]
        return found

    def logs(self) -> str:
        return "\n".join(f"{r.user}:\n{r.log_file.read_text()[-3000:]}" for r in self.replicas)

    def close(self) -> None:
        for replica in self.replicas:
            replica.close()
        self._transport.close()


@contextmanager
def stage(kube: Kube, namespace: str, folder: Path, values: Raw | None = None, **config: Any) -> Iterator[Stage]:
    """With its documents; no process is left at the end. `values`: of the chart; `config`: over what it makes of them."""
    made = Stage(kube, namespace, folder, values, **config)
    made.apply()
    try:
        yield made
    finally:
        made.close()
