"""The docs show the configuration that the lab's test sends a real alert through."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from rollout_controller.lab.alertmanager import config

PAGE = Path(__file__).parents[3] / "docs" / "observability.md"


def test_the_docs_have_the_labs_configuration() -> None:
    section = PAGE.read_text().partition("## From an alert to Slack")[2]
    block = re.search(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[1]) == config(Path("/etc/alertmanager/secrets/slack/webhook"))
