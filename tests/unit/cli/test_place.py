"""Where the documents are, from options and environment alone; and what the program calls itself."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

import pytest

from rollout_controller.cli import arguments
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.help import help_text
from rollout_controller.cli.place import Cluster, Folder, place, prefix, program
from rollout_controller.cli.screen import Screen


def parsed(*argv: str) -> Namespace:
    return arguments.parser().parse_args([*argv, "status"])


def found(*argv: str) -> Folder | Cluster:
    return place(parsed(*argv), Screen())


@pytest.mark.parametrize(
    ("argv", "around", "where"),
    [
        ("", "", Cluster(None, None)),
        ("", ".lab", Folder(Path(".lab"))),
        ("", "$ROLLOUTS_LOCAL .lab", Folder(Path("docs"))),
        ("--local mine", "$ROLLOUTS_LOCAL .lab", Folder(Path("mine"))),
        ("--context prod", "$ROLLOUTS_LOCAL .lab", Cluster(None, "prod")),
        ("--kubeconfig file", ".lab", Cluster(Path("file"), None)),
        ("--kubeconfig file --context prod -n vision", "", Cluster(Path("file"), "prod")),
        ("-A", ".lab", Folder(Path(".lab"))),
    ],
)
def test_where(monkeypatch: pytest.MonkeyPatch, argv: str, around: str, where: Folder | Cluster) -> None:
    if "$ROLLOUTS_LOCAL" in around:
        monkeypatch.setenv("ROLLOUTS_LOCAL", "docs")
    if ".lab" in around:
        Path(".lab").mkdir()
        Path(".lab/rollouts.db").touch()
    assert found(*argv.split()) == where


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--local", "x", "--context", "y"], "leave out --local or --context"),
        (["--local", "x", "--kubeconfig", "y"], "leave out --local or --kubeconfig"),
        (["-A", "-n", "vision"], "leave one of them out"),
        (["--context", ""], "--context is empty"),
        (["--local", ""], "--local is empty"),
    ],
)
def test_what_excludes_each_other(argv: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said) as caught:
        found(*argv)
    assert caught.value.code is Exit.USAGE


def test_proposed_commands_have_the_options_that_lead_back() -> None:
    assert prefix(parsed()) == "rollouts"
    assert prefix(parsed("--local", "my docs")) == "rollouts --local 'my docs'"
    argv = ["--kubeconfig", "/k", "--context", "a b", "-n", "vision", "-A"]
    assert prefix(parsed(*argv)) == "rollouts --kubeconfig /k --context 'a b'"


@pytest.mark.parametrize(
    ("argv0", "name"),
    [
        ("/usr/bin/kubectl-rollouts", "kubectl rollouts"),
        ("kubectl-rollouts.exe", "kubectl rollouts"),
        ("/x/rollouts", "rollouts"),
    ],
)
def test_the_name_is_the_files(monkeypatch: pytest.MonkeyPatch, argv0: str, name: str) -> None:
    monkeypatch.setattr(sys, "argv", [argv0])
    assert program() == name
    text = help_text()
    assert text.startswith(f"{name}: bring new Triton")
    assert f"  {name} trigger resnet50 --version 2 --wait" in text
    assert max(map(len, text.splitlines())) <= 120
