"""Slack and the controller's death, on real servers: traffic first, and one message, whoever is killed in between."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rollout_controller.lab.receiver import Receiver, wire_up
from tests.lab.service import Service, running

pytestmark = pytest.mark.lab


def told_to(service: Service, url: str) -> None:
    """Write `notifications` into local.yaml; a controller reads it when it starts."""
    settings = yaml.safe_load(service.info.local_yaml.read_text())
    settings["notifications"] = wire_up(service.directory, url)
    service.info.local_yaml.write_text(yaml.safe_dump(settings))


def test_killed_between_traffic_moved_and_slack_sent_one_message_arrives(tmp_path: Path) -> None:
    slack = Receiver()
    url = slack.url
    slack.close()  # nobody answers there
    with running(tmp_path) as service:
        assert service.stop() == 0
        told_to(service, url)
        service.start()
        service.ask("3")
        stable = f"triton-{service.until(lambda: service.status().get('stableSlot'), 120, 'a stable slot')}"
        status = service.until_phase("RolledBack", 240)
        assert service.envoy_weights() == {stable: 100}
        assert [notice["kind"] for notice in status["outbox"]["owed"]] == ["RolledBack"]
        page = service.rollouts("history", "classifier", "-o", "html").stdout
        assert "counted by the Prometheus at" in page
        assert 'class="line canary"' in page, "the canary's errors and latency are drawn"
        service.kill()
        slack = Receiver(int(url.rpartition(":")[2]))
        service.start()
        assert len(slack.wait(1, within_s=120)) == 1
        service.until(lambda: not service.status()["outbox"].get("owed"), 120, "what was told is owed no more")
        assert service.stop() == 0
        service.start()
        service.until(lambda: "acting" in (service.directory / "controller.log").read_text(), 90, "the third one")
        assert service.stop() == 0
        (message,) = slack.received
        assert "rolled back to version 1" in message.json["text"]
        assert status["reason"]["sentence"] in message.json["text"]
        assert "of-the-lab" not in (service.directory / "controller.log").read_text()
        slack.close()
