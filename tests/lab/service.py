"""A lab with a controller, used as its users use it: through the command line."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.api.names import Key
from rollout_controller.cli.place import DATABASE
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import ROLLOUT
from rollout_controller.lab.info import Info
from rollout_controller.lab.lab import Lab

ROOT = Path(__file__).parents[2]
ENDS = {"Succeeded", "RolledBack", "Aborted", "Stalled"}
DOCUMENTS = ("policies/demo.yaml", "mesh/virtualservice.yaml", "mesh/tritonrollout.yaml")


class Service:
    """A lab that is up, its documents applied, and (after `start`) a controller."""

    def __init__(self, lab: Lab, info: Info) -> None:
        self.lab, self.info, self.directory = lab, info, info.directory
        self.controller: subprocess.Popen[bytes] | None = None
        self.asked = 0
        self._store: LocalStore | None = None

    # --- the command line ----------------------------------------------------------------------------------------

    def rollouts(self, *words: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rollout_controller", "--local", str(self.directory), *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False)

    def apply(self, **changes: Any) -> None:
        """The documents of the demo; `changes` replace parts of the policy's spec. It puts the route's weights back, too."""
        done = self.rollouts("apply", "-f", str(self._policy(changes)), "-f", DOCUMENTS[1], "-f", DOCUMENTS[2])
        assert done.returncode == 0, done.stderr

    @contextmanager
    def rules(self, **changes: Any) -> Iterator[None]:
        """Meanwhile the policy's spec is another in these parts."""
        self._apply_policy(changes)
        try:
            yield
        finally:
            self._apply_policy({})

    def _apply_policy(self, changes: dict[str, Any]) -> None:
        done = self.rollouts("apply", "-f", str(self._policy(changes)))
        assert done.returncode == 0, done.stderr

    def _policy(self, changes: dict[str, Any]) -> Path:
        policy = yaml.safe_load((ROOT / DOCUMENTS[0]).read_text())
        policy["spec"].update(changes)
        path = self.directory / "policy.yaml"
        path.write_text(yaml.safe_dump(policy))
        return path

    def start(self) -> None:
        command = [sys.executable, "-m", "rollout_controller", "--local", str(self.directory), "controller"]
        with (self.directory / "controller.log").open("ab") as log:
            self.controller = subprocess.Popen([*command, "--log-format", "json"], cwd=ROOT, stderr=log, stdout=log)
        self.until(self.ready, 180, "a controller that is ready")

    def ready(self) -> bool:
        return self.get(f"http://127.0.0.1:{self.info.controller_port}/readyz")[0] == 200

    def kill(self) -> None:
        assert self.controller is not None
        self.controller.send_signal(signal.SIGKILL)
        self.controller.wait(10)

    def close(self) -> None:
        """Ends the controller if it runs, which goes as it should."""
        if self._store is not None:
            self._store.close()
        if self.controller is not None and self.controller.poll() is None:
            assert self.stop() == 0

    def stop(self) -> int:
        assert self.controller is not None
        self.controller.terminate()
        return self.controller.wait(60)

    def trigger(self, version: str, *more: str, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """CI's way: ask and wait for the end."""
        self.asked += 1
        words = ("trigger", "classifier", "--version", version, "--request", f"test-{self.asked}", "--wait", *more)
        return self.rollouts(*words, "--timeout", f"{timeout_s:g}s", timeout_s=timeout_s + 30)

    def ask(self, version: str) -> None:
        self.asked += 1
        done = self.rollouts("trigger", "classifier", "--version", version, "--request", f"test-{self.asked}", "--no-wait")
        assert done.returncode == 0, done.stderr

    def ended(self) -> bool:
        """What was asked for last has come to an end."""
        status = self.status()
        return status.get("observedRequest") == f"test-{self.asked}" and status.get("phase") in ENDS

    def status(self) -> dict[str, Any]:
        """As it is stored: waiting asks often, and a process for each look would take a core from what is waited for."""
        self._store = self._store or LocalStore(self.directory / DATABASE)
        return self._store.get(ROLLOUT, Key("default", "classifier")).get("status") or {}

    # --- what is really so ---------------------------------------------------------------------------------------

    def get(self, url: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def envoy_weights(self) -> dict[str, int]:
        """Weights in Envoy's own configuration: what it does, not what anybody wanted."""
        status, text = self.get(f"{self.info.envoy_admin}/config_dump?resource=dynamic_route_configs")
        assert status == 200, text
        routes = [
            route
            for config in json.loads(text)["configs"]
            for host in config["route_config"]["virtual_hosts"]
            for route in host["routes"]
        ]
        action = routes[0]["route"]
        if "cluster" in action:
            return {action["cluster"]: 100}
        return {c["name"]: int(c.get("weight", 0)) for c in action["weighted_clusters"]["clusters"] if c.get("weight")}

    def served(self, since: float) -> dict[str, list[dict[str, Any]]]:
        """Envoy's access log after `since`, by cluster: what users really got."""
        found: dict[str, list[dict[str, Any]]] = {}
        for line in self.info.access_log.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # the last line is being written
            if float(entry["start"]) >= since:
                found.setdefault(entry["cluster"], []).append(entry)
        return found

    def until(self, happened: Callable[[], Any], within_s: float, what: str) -> Any:
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            if (found := happened()) or (found is not None and found is not False and found != 0):
                return found
            time.sleep(0.2)
        log = (self.directory / "controller.log").read_text()[-3000:] if (self.directory / "controller.log").exists() else ""
        raise AssertionError(f"not within {within_s} s: {what}\n{self.rollouts('status', 'classifier').stdout}\n{log}")

    def until_phase(self, phase: str, within_s: float = 120) -> dict[str, Any]:
        self.until(lambda: self.status().get("phase") == phase, within_s, phase)
        return self.status()


@contextmanager
def running(directory: Path, *, rps: float = 100, alerts: bool = False, **changes: Any) -> Iterator[Service]:
    """Everything up and under load; nothing left afterwards."""
    lab = Lab(directory, with_alerts=alerts)
    with lab as info:
        service = Service(lab, info)
        try:
            service.apply(**changes)
            service.start()
            lab.load(rps=rps, out=directory / "load.jsonl", seconds=1800)
            yield service
        finally:
            service.close()
