"""The whole demo as a user runs it: it ends well within its time, leaves no process behind, and can be ended at any time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_controller.lab import procfs
from rollout_controller.lab.lab import Lab

pytestmark = pytest.mark.lab

WHOLE_PLAY_S = 600.0
"""It takes two minutes; beside other tests it may take longer."""
CLEAN_UP_S = 60.0
ROLLOUTS = (sys.executable, "-m", "rollout_controller")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lab"
    Lab(tmp_path / "lab").down()


def start(directory: Path) -> subprocess.Popen[str]:
    argv = [*ROLLOUTS, "demo", "--dir", str(directory)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def nothing_runs(directory: Path) -> bool:
    """No process carries the lab's mark, whoever its parent is."""
    return procfs.marked(str(directory.resolve())) == ()


def test_the_whole_play_in_a_pipe(directory: Path) -> None:
    out, _ = start_and_wait(directory)
    assert nothing_runs(directory)
    assert all(line.isprintable() for line in out.splitlines())

    rows = [line.split("   ") for line in out.splitlines() if re.match(r"  [2-5]   ", line)]
    assert [row[0].strip() for row in rows] == ["2", "3", "4", "5"]
    assert [re.search("promoted|rolled back", "   ".join(row)) is not None for row in rows] == [True] * 4
    assert "there is no GPU here" in out

    said = out.partition("Slack would have shown")[2]
    assert [word in said for word in ("version 2 is promoted", "rolled back to version 2")] == [True, True]
    assert said.count("rolled back to version 2") == 3

    page = (directory / "report.html").read_text()
    assert page.count("<article>") == 4
    assert "All 4 versions ended as they should" in page
    assert "<script" not in page

    answer = subprocess.run(
        [*ROLLOUTS, "--local", str(directory), "status", "-o", "json"], capture_output=True, text=True, check=True
    )
    assert json.loads(answer.stdout)
    history = subprocess.run(
        [*ROLLOUTS, "--local", str(directory), "history", "classifier", "-o", "json"], capture_output=True, text=True, check=True
    )
    assert [past["outcome"] for past in json.loads(history.stdout)["attempts"]] == [
        "RolledBack",
        "RolledBack",
        "RolledBack",
        "Promoted",
    ]


def start_and_wait(directory: Path) -> tuple[str, int]:
    process = start(directory)
    try:
        out, _ = process.communicate(timeout=WHOLE_PLAY_S)
    finally:
        process.kill()
    assert process.returncode == 0, out
    return out, process.returncode


@pytest.mark.parametrize(
    ("after", "number"),
    [
        ("servers, one", signal.SIGINT),
        ("envoy is ready", signal.SIGTERM),
        ("rollouts apply", signal.SIGINT),
        ("gets 10 %", signal.SIGINT),
    ],
)
def test_an_end_in_the_middle_leaves_nothing(directory: Path, after: str, number: signal.Signals) -> None:
    """Asked twice, as impatient people do."""
    process = start(directory)
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if after in line:
                break
        process.send_signal(number)
        time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(number)
        out, _ = process.communicate(timeout=CLEAN_UP_S)
    finally:
        process.kill()
    assert process.returncode == 130, out
    assert "interrupted; everything is stopped" in out
    assert nothing_runs(directory)


def test_it_refuses_a_directory_that_is_not_its_own(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "precious.txt").write_text("keep me")
    done = subprocess.run([*ROLLOUTS, "demo", "--dir", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "neither empty nor a lab's directory" in done.stderr
    assert (tmp_path / "logs" / "precious.txt").read_text() == "keep me"
    assert os.listdir(tmp_path) == ["logs"]  # noqa: PTH208 - names only
