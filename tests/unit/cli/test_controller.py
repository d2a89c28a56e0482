"""`rollouts controller`: nothing unclear about what it acts on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from rollout_controller.cli.main import main
from tests.support.watching import soon

CONFIG = "prometheus: {url: http://p:9090}\n"


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main([*words])
    return code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("controller",), ("--local DIR", "--config FILE")),
        (("controller", "--namespaces", "a,b"), ("--namespaces is for a cluster", "--config FILE")),
        (("--context", "staging", "controller"), ("--context is for a cluster", "--config FILE")),
        (("--local", "docs", "controller", "--namespaces", "a"), ("--namespaces is for a cluster, not for --local docs",)),
        (("--local", "docs", "--kubeconfig", "k", "controller"), ("--kubeconfig is for a cluster, not for --local docs",)),
        (("--local", "docs", "controller", "--config", "c.yaml"), ("--local docs and --config c.yaml do not go together",)),
        (("-n", "vision", "controller", "--config", "c.yaml"), ("--namespaces NS[,NS...]",)),
        (("-A", "controller", "--config", "c.yaml"), ("--namespaces NS[,NS...]",)),
        (("controller", "--config", "c.yaml", "--namespaces", "vision,"), ("'' is not a namespace", "with commas")),
        (("controller", "--config", "c.yaml", "--namespaces", "Vision"), ("'Vision' is not a namespace", "lower-case")),
        (("controller", "--config", "nowhere.yaml"), ("nowhere.yaml", "there is no such file")),
    ],
)
def test_what_does_not_go_together_is_refused(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    code, err = run(capsys, *words)
    assert code == 2
    for part in said:
        assert part in err
    assert "Traceback" not in err


def test_a_folder_of_the_environment_takes_no_cluster_options(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUTS_LOCAL", "docs")
    code, err = run(capsys, "controller", "--namespaces", "a")
    assert code == 2
    assert "not for a folder ($ROLLOUTS_LOCAL)" in err


def test_a_kubeconfig_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONFIG)
    code, err = run(capsys, "--kubeconfig", str(tmp_path / "none"), "controller", "--config", str(tmp_path / "c.yaml"))
    assert code == 2
    assert "there is no such kubeconfig" in err
    assert "Traceback" not in err


def test_who_is_asked_to_end_while_it_begins_ends(tmp_path: Path) -> None:
    """Else, as the first process of a container, it would not hear of it, lead, and be killed with the lease in its hand."""
    config = tmp_path / "local.yaml"
    os.mkfifo(config)
    command = [sys.executable, "-m", "rollout_controller", "--local", str(tmp_path), "controller"]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[3], stderr=subprocess.DEVNULL)
    writing: list[int] = []

    def reads_its_configuration() -> bool:
        with suppress(OSError):  # nobody reads yet
            writing.append(os.open(config, os.O_WRONLY | os.O_NONBLOCK))
        return bool(writing)

    try:
        soon(reads_its_configuration, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        for number in writing:
            os.close(number)
