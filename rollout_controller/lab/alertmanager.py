"""Alertmanager for the lab: the product's alerts, told as Slack would be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab.processes import Server

RULES = Path(__file__).parent / "rules.yaml"
"""The product's alerts, as `python -m tools.alerts --write` has made them."""
TITLE = "{{ .Status | toUpper }} {{ .CommonLabels.severity }}: {{ (index .Alerts 0).Annotations.summary }}"
TEXT = "{{ range .Alerts }}{{ .Annotations.description }}\n<{{ .Annotations.runbook_url }}|Runbook>\n{{ end }}"
GROUPED = ["alertname", "namespace", "rollout", "model", "version", "pod"]
"""One message for each thing that is wrong, not one for each series."""


def config(webhook_file: Path, *, wait: str = "30s", interval: str = "5m") -> dict[str, Any]:
    """Alertmanager's configuration. `webhook_file` holds the URL of a Slack webhook: a secret, so it is a file.

    `wait`: how long it waits for more alerts of a group; `interval`: until it says what is new in one.
    """
    slack = {"api_url_file": str(webhook_file), "send_resolved": True, "title": TITLE, "text": TEXT}
    return {
        "route": {
            "receiver": "slack",
            "group_by": list(GROUPED),
            "group_wait": wait,
            "group_interval": interval,
            "repeat_interval": "12h",
        },
        "receivers": [{"name": "slack", "slack_configs": [slack]}],
    }


def alertmanager_server(binary: Path, home: Path, *, port: int, webhook: str) -> Server:
    """One that waits for nobody: seconds where production has minutes. `webhook`: URL that is told."""
    home.mkdir(parents=True, exist_ok=True)
    secret, path = home / "slack-webhook", home / "alertmanager.yml"
    secret.write_text(webhook)
    path.write_text(yaml.safe_dump(config(secret, wait="1s", interval="2s"), sort_keys=False))
    argv = [
        str(binary),
        f"--config.file={path}",
        f"--storage.path={home / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",  # alone
        "--log.level=warn",
    ]
    return Server(name="alertmanager", argv=argv, log=home / "log", ready=f"http://127.0.0.1:{port}/-/ready", grace_s=2.0)
