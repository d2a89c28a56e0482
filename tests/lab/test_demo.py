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

from rollout_controller.lab import golang, parts, procfs
from rollout_controller.lab.builds import PROMETHEUS
from rollout_controller.lab.lab import Lab
from tests.lab.test_parts import not_left
from tests.support.watching import soon

pytestmark = pytest.mark.lab

WHOLE_PLAY_S = 600.0
"""It takes two minutes; beside other tests it may take longer."""
CLEAN_UP_S = 60.0
ROLLOUTS = (sys.executable, "-m", "rollout_controller")


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "lab"
    Lab(tmp_path / "lab").down()


def start(directory: Path, python: str = sys.executable, **env: str) -> subprocess.Popen[str]:
    argv = [python, *ROLLOUTS[1:], "demo", "--dir", str(directory)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env})


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

    told = out.partition("Slack would have shown")[2]
    assert [word in told for word in ("version 2 is promoted", "rolled back to version 2")] == [True, True]
    assert told.count("rolled back to version 2") == 3
    assert re.search(r"Alertmanager would have told it, too \(\d+ times\)", told)
    assert "FIRING warning: default/classifier was rolled back" in told

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


def with_go(home: Path, *lines: str) -> str:
    """A Python like the running one, but for the program `go` beside it: the builds take that."""
    (home / "bin").mkdir(parents=True)
    (home / "lib").symlink_to(Path(sys.prefix) / "lib")
    (home / "pyvenv.cfg").write_bytes((Path(sys.prefix) / "pyvenv.cfg").read_bytes())
    for name in ("python", "python3"):  # Triton looks for the second
        (home / "bin" / name).symlink_to(Path(sys.executable).resolve())
    go = home / "bin" / "go"
    go.write_text("\n".join(("#!/bin/sh", *lines, "")))
    go.chmod(0o755)
    return str(home / "bin" / "python")


def said(process: subprocess.Popen[str], words: str) -> str:
    """The line with these words."""
    assert process.stdout is not None
    before = []
    for line in process.stdout:
        if words in line:
            return line
        before.append(line)
    raise AssertionError(f"it never said {words!r}: {''.join(before)}")


def ctrl_c(process: subprocess.Popen[str]) -> None:
    """And it ends as one that was interrupted."""
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=CLEAN_UP_S)
    assert process.returncode == 130, out


@pytest.fixture
def without_alertmanager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of built servers that has Prometheus only."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    built = parts.find_prometheus(print)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    home = golang.home_of(PROMETHEUS)
    home.mkdir(parents=True)
    (home / "prometheus").symlink_to(built)
    return tmp_path


def test_ctrl_c_while_alertmanager_is_built_leaves_no_compiler(without_alertmanager: Path, directory: Path) -> None:
    """Go is played by a script with a child: the compilers."""
    mark = f"MARK={without_alertmanager}"
    python = with_go(without_alertmanager / "venv", f"env {mark} sleep 300 &", f"touch {without_alertmanager}/compiling", "wait")
    process = start(directory, python)
    try:
        said(process, "building Alertmanager")
        soon((without_alertmanager / "compiling").exists)
        ctrl_c(process)
    finally:
        process.kill()
    assert not_left(mark)
    assert nothing_runs(directory)


def test_the_demo_goes_on_without_an_alertmanager_that_cannot_be_built(without_alertmanager: Path, directory: Path) -> None:
    process = start(directory, with_go(without_alertmanager / "venv", "echo 'no such host' >&2", "exit 1"))
    try:
        line = said(process, "no Alertmanager in this demo")
        assert "all else goes on: Go could not build Alertmanager (exit status 1)" in line
        said(process, "controller is ready")
        ctrl_c(process)
    finally:
        process.kill()
    assert nothing_runs(directory)


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
