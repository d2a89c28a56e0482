"""`notifications` of the configuration makes the targets that it names, and their secrets are hidden before they are used."""

from __future__ import annotations

from pathlib import Path

import responses

from rollout_controller.api.meta import parse
from rollout_controller.controller.notifications import NotificationsConfig
from rollout_controller.notify.target import ALL, NEWS, TROUBLE
from tests.unit.notify.support import news


def test_each_target_is_told_what_its_kind_is_for(tmp_path: Path) -> None:
    raw = {
        "slack": {"webhookFile": "/a"},
        "webhook": {"url": "http://hooks", "kinds": ["Step"]},
        "alertmanager": {"url": "http://am:9093"},
        "grafana": {"url": "http://g", "tokenFile": "/b"},
    }
    targets = parse(NotificationsConfig, raw).targets(lambda _value: None)
    kinds = {target.name: target.kinds for target in targets}
    assert kinds == {"slack": NEWS, "webhook": frozenset({"Step"}), "alertmanager": TROUBLE, "grafana": ALL}
    assert parse(NotificationsConfig, {}).targets(lambda _value: None) == []


@responses.activate
def test_every_secret_that_is_read_is_hidden(tmp_path: Path) -> None:
    secrets = {"slack": "https://hooks.slack.com/A", "url": "https://hooks/x", "key": "signing-key", "token": "grafana-t"}
    for name, value in secrets.items():
        (tmp_path / name).write_text(value)
    raw = {
        "slack": {"webhookFile": str(tmp_path / "slack")},
        "webhook": {"urlFile": str(tmp_path / "url"), "keyFile": str(tmp_path / "key")},
        "alertmanager": {"url": "http://am", "tokenFile": str(tmp_path / "token")},
        "grafana": {"url": "http://g", "tokenFile": str(tmp_path / "token")},
    }
    hidden: set[str] = set()
    for target in parse(NotificationsConfig, raw).targets(hidden.add):
        target.send(news(), "")
    assert hidden == set(secrets.values())
