"""The controller at work in a mesh as its chart would run it: the service account with its rights, the configuration."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.api.meta import ANNOTATION_REQUEST, ANNOTATION_VERSION
from rollout_controller.api.names import Raw
from rollout_controller.lab import prometheus
from rollout_controller.lab.mesh import HOST, NAMESPACE, Mesh
from tests.support.chart import install_chart

ROOT = Path(__file__).parents[2]
START_S = 60.0
ENDS = ("Succeeded", "RolledBack", "Aborted", "Stalled")


class Service:
    """The documents of `mesh/` and a policy on Istio's figures; `user` is the controller's name in the audit log."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self.kube, self.info = mesh, mesh.kube, mesh.info
        installed = install_chart(mesh.kube, {"namespaces": [NAMESPACE]}, name="controller", namespace="rollout-system")
        here = {
            "prometheus": {"url": self.info.prometheus, "window": prometheus.SCRAPE_EVERY, "lag": prometheus.LAG},
            "triton": {"urls": dict(self.info.triton)},
            "metrics": {"host": "127.0.0.1", "port": self.info.metrics_port},
        }
        self._config = installed.config_with(mesh.directory / "config.yaml", here)
        self._kubeconfig = installed.kubeconfig
        account = next(d for d in installed.documents if d["kind"] == "ServiceAccount")["metadata"]["name"]
        self.user = f"system:serviceaccount:rollout-system:{account}"
        self._log = mesh.directory / "controller.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.rollout: Raw = _load("mesh/tritonrollout.yaml")

    def apply(self) -> None:
        route, policy = _load("mesh/virtualservice.yaml"), _load("policies/demo.yaml")
        route["spec"]["hosts"] = [HOST]
        for slo in policy["spec"]["slos"]:
            slo["source"] = "istio"
        policy["spec"]["guards"] = []  # nobody here shows GPUs
        self.kube.apply(policy, route, self.rollout, namespace=NAMESPACE)

    def start(self) -> None:
        command = [sys.executable, "-m", "rollout_controller", "--kubeconfig", str(self._kubeconfig), "controller"]
        command += ["--config", str(self._config), "--log-format", "json"]
        environment = {name: value for name, value in os.environ.items() if name != "ROLLOUTS_LOCAL"}
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, env=environment)
        self.until(self.ready, START_S, "a controller that is ready")

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.info.metrics_port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def trigger(self, version: str, within_s: float = 120.0) -> dict[str, Any]:
        """CI's way: the annotations, and wait for the end of just this request. The status at that end."""
        request = secrets.token_hex(4)
        patch = {"metadata": {"annotations": {ANNOTATION_VERSION: version, ANNOTATION_REQUEST: request}}}
        path = self.kube.api.path_of(self.rollout, NAMESPACE)
        self.kube.api.call("PATCH", path, patch, content_type="application/merge-patch+json")
        self.until(lambda: self.ended(request), within_s, f"version {version} at its end")
        return self.status()

    def ended(self, request: str) -> bool:
        status = self.status()
        return status.get("observedRequest") == request and status.get("phase") in ENDS

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.api.read(self.rollout, namespace=NAMESPACE).get("status") or {}
        return found

    def until(self, happened: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not happened():
            assert time.monotonic() < deadline, (
                f"not within {within_s} s: {what}\n{self.status()}\n{self._log.read_text()[-3000:]}"
            )
            time.sleep(0.2)


def _load(path: str) -> Raw:
    document: Raw = yaml.safe_load((ROOT / path).read_text())
    return document


@contextmanager
def at_work(mesh: Mesh, rps: float) -> Iterator[Service]:
    """Documents applied, the controller up, users at the front door."""
    service = Service(mesh)
    service.apply()
    running = mesh.load(rps=rps, out=mesh.directory / "load.jsonl")
    try:
        service.start()
        yield service
    finally:
        service.close()
        mesh.stop_one(f"load-{running.pid}")
