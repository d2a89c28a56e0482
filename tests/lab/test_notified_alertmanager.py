"""What the controller tells a real Alertmanager is one alert, however often it is told, and goes on to who listens there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml

from rollout_controller.lab import parts, ports, processes
from rollout_controller.lab.processes import Server
from rollout_controller.lab.receiver import Receiver
from rollout_controller.notify.alertmanager import Alertmanager
from rollout_controller.notify.target import TROUBLE
from rollout_controller.notify.wire import Sent, Wire
from tests.unit.notify.support import news

pytestmark = pytest.mark.lab


@pytest.fixture
def listener() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def server(tmp_path: Path, listener: Receiver) -> Iterator[str]:
    """An Alertmanager that passes everything on to `listener` at once; gives its URL."""
    binary = parts.find_alertmanager(print)
    (port,) = ports.free_ports(1)
    config = {
        "route": {"receiver": "people", "group_wait": "0s", "group_interval": "1s", "group_by": ["..."]},
        "receivers": [{"name": "people", "webhook_configs": [{"url": f"{listener.url}/alerts"}]}],
    }
    (tmp_path / "alertmanager.yaml").write_text(yaml.safe_dump(config))
    url = f"http://127.0.0.1:{port}"
    arguments = [f"--config.file={tmp_path / 'alertmanager.yaml'}", f"--storage.path={tmp_path / 'data'}"]
    arguments += [f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="]
    made = Server(
        name="alertmanager",
        argv=[str(binary), *arguments],
        log=tmp_path / "alertmanager.log",
        ready=f"{url}/-/ready",
        grace_s=2.0,
    )
    running = processes.start(made, tmp_path, tethered=True)
    try:
        processes.wait_ready([running], 30.0)
        yield url
    finally:
        processes.stop([running], tmp_path)


def test_told_twice_it_is_one_alert_with_the_sentence_and_the_links(server: str, listener: Receiver) -> None:
    target = Alertmanager(server, None, Wire(timeout_s=10.0), TROUBLE, clock=time.time)
    told = news(at=round(time.time(), 3))
    assert [target.send(told, "") for _ in range(2)] == [Sent(), Sent()]
    (alert,) = requests.get(f"{server}/api/v2/alerts", timeout=10).json()
    assert (alert["labels"]["alertname"], alert["labels"]["kind"]) == ("RolloutNotice", "RolledBack")
    assert alert["status"]["state"] == "active"
    received = listener.wait(1)[0].json["alerts"]
    assert [each["labels"] for each in received] == [alert["labels"]]
    assert told.notice.sentence in received[0]["annotations"]["description"]
    assert received[0]["generatorURL"].startswith("https://grafana.example.com/d/rollout?")
