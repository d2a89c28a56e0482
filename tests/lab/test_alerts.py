"""Every alert fires, does not fire just below, and resolves: promtool runs Prometheus' own rule engine on alerts/tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rollout_controller.lab import parts
from tools.alerts.files import PLAIN

pytestmark = pytest.mark.lab

TESTS = sorted((PLAIN.parent / "tests").glob("*.yaml"))


@pytest.fixture(scope="module")
def promtool() -> Path:
    return parts.find_promtool(print)


def run(promtool: Path, *words: str) -> None:
    done = subprocess.run([promtool, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules(promtool: Path) -> None:
    run(promtool, "check", "rules", "--lint=all", "--lint-fatal", str(PLAIN))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_alert(promtool: Path, path: Path) -> None:
    run(promtool, "test", "rules", str(path))
