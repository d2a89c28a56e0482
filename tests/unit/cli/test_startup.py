"""`rollouts status` starts fast because it imports little."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.conftest import LocalShell

ROOT = Path(__file__).parents[3]
HEAVY = {"pydantic", "kubernetes", "requests", "structlog", "rich", "yaml", "jsonpatch", "apscheduler", "tenacity", "asyncio"}


@pytest.mark.parametrize(
    "argv", [["status"], ["status", "resnet50", "-o", "json"], ["list"], ["explain", "resnet50"], ["--help"]]
)
def test_reading_imports_nothing_heavy(shell: LocalShell, argv: list[str]) -> None:
    shell.put("progressing")
    probe = (
        "import sys; from rollout_controller.cli.main import main; code = main(sys.argv[1:]);"
        "print('\\n'.join(sorted(name.partition('.')[0] for name in sys.modules)), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-c", probe, "--local", str(shell.directory), *argv]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert not HEAVY & set(done.stderr.split())


def test_a_reader_that_goes_away_is_no_fault(shell: LocalShell) -> None:
    for number in range(60):  # more than a pipe holds
        shell.put("progressing", f"r{number}")
    command = f"{sys.executable} -m rollout_controller --local {shell.directory} list -o yaml | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("rollouts:\n", "")


def test_a_process_that_ends_at_once_loses_nothing(shell: LocalShell) -> None:
    for number in range(50):
        shell.put("rolled-back", f"r{number}")
    base = [sys.executable, "-m", "rollout_controller", "--local", str(shell.directory)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(*argv: str) -> tuple[int, str, str]:
        done = subprocess.run([*base, *argv], capture_output=True, text=True, timeout=60, check=False, env=env)
        return done.returncode, done.stdout, done.stderr

    code, out, err = run("list", "-o", "json")
    assert (code, len(json.loads(out)["rollouts"]), err) == (0, 50, "")
    assert run("status", "r7", "--exit-code")[0] == 3
    code, out, err = run("pause", "r7", "--answer-within", "100ms")
    assert (code, out, "is one running?" in err) == (4, "", True)
