"""A fired alert reaches people: real Prometheus with the product's rules, real Alertmanager, and what plays Slack at the wire."""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from rollout_controller.lab import alertmanager, parts, ports, processes, prometheus
from tests.support.prometheus import Exporter, find_prometheus
from tests.support.watching import soon
from tools.alerts.files import PLAIN
from tools.alerts.model import RUNBOOKS

pytestmark = pytest.mark.lab

WHO = 'namespace="vision",rollout="resnet50"'
POD = 'namespace="vision",pod="triton-green-6d5f7c9b8-x2x7k",uid="3f0e",container="triton"'
RESTARTS = "kube_pod_container_status_restarts_total"


class Slack:
    """Takes what an incoming webhook takes, and answers `ok`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        slack = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                slack.messages.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/T0/B0/xyz"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def until(self, what: str, found: Callable[[str], bool], within_s: float = 60.0) -> str:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            for message in list(self.messages):
                if found(text := json.dumps(message, ensure_ascii=False)):
                    return text
            time.sleep(0.1)
        raise AssertionError(f"not within {within_s:g} s: {what}; there came {self.messages}")


class World:
    """A rollout that a test moves from phase to phase, and a Triton whose container restarts."""

    def __init__(self) -> None:
        self.phase = "Progressing"
        self.restarts = 4
        self.prometheus = ""

    def asked(self, query: str) -> list[float]:
        """What Prometheus answers just now, each series' value."""
        return [float(series["value"][1]) for series in self._get("query", query=query)["result"]]

    def judged(self, alert: str) -> tuple[datetime, str]:
        """When Prometheus last evaluated that alert, and how it found it."""
        groups = self._get("rules", **{"rule_name[]": alert})["groups"]
        (rule,) = (rule for group in groups for rule in group["rules"] if rule["name"] == alert)
        return datetime.fromisoformat(rule["lastEvaluation"]), rule["state"]

    def _get(self, what: str, **words: str) -> Any:
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/{what}?{urlencode(words)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def cluster(self) -> str:
        """As kube-state-metrics says it, which cannot be had without a kubelet."""
        return f"kube_pod_container_status_restarts_total{{{POD}}} {self.restarts}\n"

    def text(self) -> str:
        phases = {phase: int(phase == self.phase) for phase in ("Progressing", "RolledBack", "Succeeded")}
        lines = [f'rollout_phase{{{WHO},phase="{phase}"}} {value}' for phase, value in phases.items()]
        return "\n".join([*lines, "rollout_controller_leader 1", ""])


@pytest.fixture
def slack() -> Iterator[Slack]:
    server = Slack()
    yield server
    server.close()


@pytest.fixture
def world(slack: Slack, tmp_path: Path) -> Iterator[World]:
    """Prometheus and Alertmanager, up, under a rollout."""
    it = World()
    exporter, cluster = Exporter(it.text), Exporter(it.cluster)
    theirs, ours = ports.free_ports(2)
    it.prometheus = f"http://127.0.0.1:{ours}"
    alerting = prometheus.Alerting(PLAIN, theirs)
    targets = (
        prometheus.controller_target(exporter.port, "rollout-system"),
        # as its ServiceMonitor in kube-prometheus-stack has it: honorLabels
        prometheus.Target(
            "kube-state-metrics", cluster.port, labels=prometheus.pod_labels("ksm-0", "ksm", "monitoring"), honor=True
        ),
    )
    servers = [
        alertmanager.alertmanager_server(
            parts.find_alertmanager(print), tmp_path / "alertmanager", port=theirs, webhook=slack.url
        ),
        prometheus.prometheus_server(find_prometheus(), tmp_path / "prometheus", port=ours, targets=targets, alerting=alerting),
    ]
    up = [processes.start(server, tmp_path, tethered=True) for server in servers]
    try:
        processes.wait_ready(up, 30.0)
        yield it
    finally:
        assert processes.stop(up, tmp_path) == ()
        exporter.close()
        cluster.close()


def test_a_rollback_is_told_with_its_runbook_and_taken_back_when_it_is_over(slack: Slack, world: World) -> None:
    time.sleep(3.0)
    assert slack.messages == [], "nothing is wrong yet"
    world.phase = "RolledBack"
    told = slack.until("the alert", lambda text: "FIRING" in text and "resnet50" in text)
    assert "FIRING warning: vision/resnet50 was rolled back" in told
    assert "rollouts -n vision explain resnet50" in told
    assert f"{RUNBOOKS}/RolloutRolledBack.md" in told
    world.phase = "Succeeded"
    slack.until("the end of it", lambda text: "RESOLVED warning: vision/resnet50 was rolled back" in text)
    assert len(slack.messages) == 2, "one message each"


def test_the_third_restart_within_the_hour_is_told(slack: Slack, world: World) -> None:
    """Restarts of before are not counted; two are a hiccup."""
    soon(lambda: world.asked(RESTARTS) == [4])
    world.restarts += 2
    soon(lambda: world.asked(f"{RESTARTS} - min_over_time({RESTARTS}[1h])") == [2])
    seen = datetime.now(UTC)
    soon(lambda: world.judged("TritonPodRestarts")[0] > seen)
    assert world.judged("TritonPodRestarts")[1] == "inactive", "two"
    world.restarts += 1
    told = slack.until("the alert", lambda text: "TritonPodRestarts" in text)
    assert "FIRING warning: Triton in vision/triton-green-6d5f7c9b8-x2x7k restarts again and again" in told
    assert "Container triton of pod triton-green-6d5f7c9b8-x2x7k in vision restarted 3 times in the last hour." in told
    assert f"{RUNBOOKS}/TritonPodRestarts.md" in told
    assert len(slack.messages) == 1
