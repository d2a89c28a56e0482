"""One `rollouts controller --config FILE` on a cluster, as a process of its own: what it says, and what is done to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from signal import Signals
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from rollout_controller.lab.kube import Kube
from tests.support.watching import soon

ROOT = Path(__file__).parents[2]
READS = frozenset({"get", "list", "watch"})
START_S = 180.0
"""A machine that tests and builds beside it needs this long for a second of imports."""


class ControllerProcess:
    """It runs until it is ended. `user` is whom `kubeconfig` is of, as the audit log calls them."""

    def __init__(self, kube: Kube, user: str, kubeconfig: Path, config: Path, log_file: Path) -> None:
        self.kube, self.user, self.log_file = kube, user, log_file
        self._begin = log_file.stat().st_size if log_file.exists() else 0
        command = [sys.executable, "-m", "rollout_controller", "--kubeconfig", str(kubeconfig), "controller"]
        command += ["--config", str(config), "--log-format", "json"]
        environment = {name: value for name, value in os.environ.items() if name != "ROLLOUTS_LOCAL"}
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log, env=environment)

    # --- what it says --------------------------------------------------------------------------------------------

    def log_text(self) -> str:
        """Its own lines; those of processes before it are left out."""
        return self.log_file.read_bytes()[self._begin :].decode(errors="replace")

    def log(self) -> list[dict[str, Any]]:
        lines = []
        for line in self.log_text().splitlines():
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
        soon(self.ready, START_S, lambda: f"{self.get('/readyz')}\n{self.log_text()[-3000:]}")

    def wait_acting(self) -> None:
        soon(self.acts, START_S, lambda: self.log_text()[-3000:])

    def writes(self) -> Counter[tuple[str, str]]:
        """What its user asked the API server to change so far, but for the Lease."""
        calls = self.kube.calls(self.user)
        return Counter({c: n for c, n in calls.items() if c[0] not in READS and c[1] != "leases"})

    # --- what is done to it --------------------------------------------------------------------------------------

    def send(self, number: Signals) -> None:
        self.process.send_signal(number)

    def end(self, number: Signals = Signals.SIGTERM, within_s: float = 120.0) -> int:
        """Its exit code."""
        self.send(number)
        return self.process.wait(within_s)

    def close(self) -> None:
        """Whatever state it is in."""
        if self.process.poll() is None:
            self.send(Signals.SIGCONT)
            self.process.kill()
            self.process.wait(10)
