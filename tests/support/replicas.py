"""Controllers as processes of their own, on a real API server: each as a user with just the rights that it needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import yaml
from prometheus_client.parser import text_string_to_metric_families

from rollout_controller.api.names import Raw
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.lab.kube import Kube
from tests.contract.documents import policy, rollout, virtual_service
from tests.support.chart import install_chart
from tests.support.watching import soon

ROOT = Path(__file__).parents[2]
RBAC = "rbac.authorization.k8s.io"
READS = frozenset({"get", "list", "watch"})
START_S = 60.0
"""A machine that tests and builds beside it needs this long for a second of imports."""


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


class Replica:
    """One `rollouts controller --config FILE`, as its own user `NAMESPACE-NAME`."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage, self.user = stage, f"{stage.namespace}-{name}"
        self.kubeconfig = stage.kube.user(self.user, namespace=stage.namespace)
        stage.kube.apply(*(binding(self.user, role) for role in stage.roles))
        self.log_file = stage.folder / f"{self.user}.log"
        command = [sys.executable, "-m", "rollout_controller", "--kubeconfig", str(self.kubeconfig), "controller"]
        command += ["--config", str(stage.config), "--log-format", "json"]
        environment = {name: value for name, value in os.environ.items() if name != "ROLLOUTS_LOCAL"}
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, env=environment)
        stage.replicas.append(self)

    # --- what it says --------------------------------------------------------------------------------------------

    def log(self) -> list[dict[str, Any]]:
        lines = []
        for line in self.log_file.read_text(errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                lines.append({"event": line})
        return lines

    def said(self, event: str) -> dict[str, Any] | None:
        """The last log line with this text."""
        return next((line for line in reversed(self.log()) if line["event"].startswith(event)), None)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body; 0: no answer."""
        started = self.said("started")
        if started is None:
            return 0, "not started"
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{started['metrics_port']}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def leads(self) -> bool:
        """As its metric has it."""
        status, text = self.get("/metrics")
        families = text_string_to_metric_families(text) if status == 200 else ()
        return any(s.name == "rollout_controller_leader" and s.value == 1 for f in families for s in f.samples)

    def acts(self) -> bool:
        return self.said("acting") is not None

    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200

    def wait_ready(self) -> None:
        soon(self.ready, START_S, lambda: f"{self.get('/readyz')}\n{self.log_file.read_text()[-3000:]}")

    def wait_acting(self) -> None:
        soon(self.acts, START_S, lambda: self.log_file.read_text()[-3000:])

    def writes(self) -> Counter[tuple[str, str]]:
        """What it asked the API server to change so far, but for the Lease."""
        calls = self.stage.kube.calls(self.user)
        return Counter({c: n for c, n in calls.items() if c[0] not in READS and c[1] != "leases"})

    # --- what is done to it --------------------------------------------------------------------------------------

    def send(self, number: Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: Signals = Signals.SIGTERM, within_s: float = 40.0) -> int:
        """Its exit code."""
        self.send(number)
        return self.process.wait(within_s)


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

    def apply(self) -> None:
        """The documents: version 1 runs in blue and has all traffic; nothing is asked for."""
        resting = rollout(self.namespace)
        del resting["metadata"]["annotations"]
        self.kube.apply(policy(self.namespace), virtual_service(self.namespace), resting, namespace=self.namespace)

    def replica(self, name: str) -> Replica:
        return Replica(self, name)

    def two(self) -> tuple[Replica, Replica]:
        """The one that leads, and acts, and the one that waits, and is ready."""
        first, second = self.replica("a"), self.replica("b")
        first.wait_ready()
        second.wait_ready()
        soon(lambda: first.acts() or second.acts(), START_S)
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

    def mended(self) -> bool:
        return self.weights() == (100, 0)

    def wait_mended(self, within_s: float = 60.0) -> None:
        soon(self.mended, within_s, self.logs)

    def lease(self) -> dict[str, Any]:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases/{self.lease_name}"
        found: dict[str, Any] = self.kube.api.get(path)["spec"]
        return found

    def logs(self) -> str:
        return "\n".join(f"{r.user}:\n{r.log_file.read_text()[-3000:]}" for r in self.replicas)

    def close(self) -> None:
        for replica in self.replicas:
            if replica.process.poll() is None:
                replica.send(Signals.SIGCONT)
                replica.process.kill()
                replica.process.wait(10)
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
