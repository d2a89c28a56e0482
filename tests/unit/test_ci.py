"""The pipelines that users copy: they parse, their commands are commands, and times and rights fit together."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.api.meta import parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.cli import arguments

ROOT = Path(__file__).parents[2]
CI = ROOT / "docs" / "ci"
OWN = ROOT / ".github" / "workflows" / "ci.yaml"
WORKFLOWS = [CI / "github.yaml", OWN]
SCRIPT = CI / "ask-with-kubectl.sh"


def load(path: Path) -> dict[Any, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict)
    return found


def commands(text: str) -> list[list[str]]:
    """Every `rollouts ...` in it, with a word in place of each variable."""
    lines = re.findall(r"(?:^|: |- )\s*(rollouts [^\n>|]+)", text, re.MULTILINE)
    return [[re.sub(r"\$\w+", "x", word) for word in shlex.split(line, comments=True)][1:] for line in lines]


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([hm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"h": 3600, "m": 60}[unit]


@pytest.mark.parametrize("name", ["github.yaml", "gitlab.yaml"])
def test_every_command_is_one(name: str) -> None:
    found = commands((CI / name).read_text())
    assert len(found) >= 4
    parsed = [arguments.parser().parse_args(words) for words in found]
    (ask,) = (args for args in parsed if args.command == "trigger")
    assert ask.wait
    assert ask.request
    assert not ask.through_pause


@pytest.mark.parametrize("name", ["github.yaml", "gitlab.yaml"])
def test_the_command_ends_before_the_job_and_after_the_longest_attempt(name: str) -> None:
    text = (CI / name).read_text()
    (ask,) = (args for args in map(arguments.parser().parse_args, commands(text)) if args.command == "trigger")
    job = (
        load(CI / name)["jobs"]["rollout"]["timeout-minutes"] * 60
        if "github" in name
        else seconds(load(CI / name)["rollout"]["timeout"])
    )
    policy = parse(RolloutPolicy, load(ROOT / "policies" / "balanced.yaml")).spec
    attempt = 600 + len(policy.steps) * policy.hold.timeout
    assert attempt < ask.timeout < job
    assert ask.timeout == seconds(re.search(r"TIMEOUT:-(\w+)", SCRIPT.read_text())[1])  # type: ignore[index]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_of_one_version_and_have_only_the_rights_that_they_need(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] in ({}, {"contents": "read"})
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 170
        assert "write-all" not in str(job)
        for step in job["steps"]:
            assert "uses" not in step or re.fullmatch(r"[\w-]+/[\w/-]+@v\d+\.\d+\.\d+", step["uses"]), step
            assert "${{ github.event" not in str(step.get("run")), "others write that: it would run as a command"


def test_our_own_workflow_runs_what_the_makefile_has() -> None:
    targets = set(re.findall(r"^([a-z -]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    names = {name for target in targets for name in target.split()}
    text = OWN.read_text()
    assert set(re.findall(r"run: make (\w+)", text)) == {"check", "test", "install"} <= names
    for path in re.findall(r"'(rollout_controller/[^'*]+)", text):
        assert (ROOT / path).exists(), path


def test_the_script_is_a_shell_script_and_needs_its_words() -> None:
    assert subprocess.run(["/bin/sh", "-n", SCRIPT], timeout=10, check=False).returncode == 0
    for words in ([], ["vision", "resnet50", "2"], ["vision", "resnet50", "2", "a b"], ["vision", "resnet50", "2", ""]):
        done = subprocess.run([SCRIPT, *words], capture_output=True, text=True, timeout=10, check=False, env={"PATH": "/nowhere"})
        assert (done.returncode, done.stderr.startswith("usage: ")) == (2, True)


def test_kubectls_rights_are_the_others_and_two_verbs() -> None:
    ours, theirs = (list(yaml.safe_load_all((CI / name).read_text())) for name in ("rights.yaml", "rights-kubectl.yaml"))
    assert ours[1]["rules"][0].pop("verbs") == ["get", "patch"]
    assert theirs[1]["rules"][0].pop("verbs") == ["get", "list", "watch", "patch"]
    assert ours == theirs
