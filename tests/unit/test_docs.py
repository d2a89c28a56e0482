"""The docs are true: named tests exist, commands parse, YAML loads, the picture of the phases is the table."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from rollout_controller.api.meta import parse
from rollout_controller.api.status import Phase
from rollout_controller.cli import arguments, build
from rollout_controller.controller.config import LocalConfig
from rollout_controller.core.conditions import ACCEPTED, ROUTE_IN_SYNC, TYPES
from rollout_controller.core.explain.codes import BLOCKS, Code
from rollout_controller.core.states import RESTING, TRANSITIONS, Event
from rollout_controller.replay.world import WorldFile

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_every_named_safety_test_exists() -> None:
    text = (ROOT / "docs" / "safety.md").read_text()
    names = re.findall(r"`(test_[a-z0-9_*]+)`", text)
    assert len(names) > 12
    for name in names:
        pattern = re.escape(name).replace(r"\*", r"\w*")
        assert re.search(rf"def {pattern}\(", TESTS), f"docs/safety.md names {name}, which is no test"
    for path in re.findall(r"`(tests/[a-z_/]+\.py)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_and_file_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_parses(page: Path) -> None:
    lines = re.findall(r"^(?: {4}|`)?(?:\.venv/bin/)?(rollouts [^`\n]+)", page.read_text(), re.MULTILINE)
    for line in lines:
        words = shlex.split(line, comments=True)[1:]
        words = words[:-1] if words and words[-1] == "&" else words
        if "..." in words or "COMMAND" in words:
            continue
        arguments.parser().parse_args(words)


def test_events_are_asked_of_the_group_that_has_the_field() -> None:
    """`kubectl get events` is of the core group, which answers 400 to `regarding.name`."""
    lines = [line for page in PAGES for line in page.read_text().splitlines() if "regarding.name" in line]
    assert lines
    assert all("kubectl get events.events.k8s.io " in line for line in lines), lines


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "runbooks").glob("*.md")), ids=lambda page: page.stem)
def test_commands_of_a_runbook_are_whole(page: Path) -> None:
    """At three in the morning: each has the namespace, names a route where it means one, and parses."""
    for line in re.findall(r"`(rollouts [^`]+)`", page.read_text()):
        assert " -n NAMESPACE " in line or line.endswith(" -A"), line
        arguments.parser().parse_args(shlex.split(line)[1:])
    for line in re.findall(r"`(kubectl [^`]+)`", page.read_text()):
        assert " -n " in line or " -A " in line or "describe" in line, line
        assert "virtualservice" not in line or " ROUTE" in line, line
        assert "logs" not in line or " -l " not in line or "--tail=-1" in line, f"with a selector kubectl shows ten lines: {line}"


def test_local_yaml_of_the_docs_is_one() -> None:
    text = (ROOT / "docs" / "local.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    assert parse(LocalConfig, yaml.safe_load(block[1])).prometheus.window == 5.0


def diagram() -> str:
    """The transition table as Mermaid, in the order of an attempt's life; what all phases at rest share is drawn once."""
    lines = ["stateDiagram-v2"]
    for event in Event:
        targets = {phase: TRANSITIONS[phase, event] for phase in Phase if (phase, event) in TRANSITIONS}
        shared = set(targets) == RESTING
        lines += [f"    {'AtRest' if shared else phase} --> {target}: {event.value}" for phase, target in targets.items()]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def test_the_picture_of_the_phases_is_the_table() -> None:
    path = ROOT / "docs" / "concepts.md"
    text = path.read_text()
    wanted = f"```mermaid\n{diagram()}```"
    if os.environ.get("ROLLOUTS_REGENERATE") == "1":
        path.write_text(re.sub(r"```mermaid\n.*?```", lambda _: wanted, text, flags=re.DOTALL))
        text = path.read_text()
    assert wanted in text, "make it anew with ROLLOUTS_REGENERATE=1"


OPERATIONS = ROOT / "docs" / "operations.md"
PACKAGE = ROOT / "rollout_controller"


def codes_of(heading: str) -> list[str]:
    """The first column of the tables under a heading of docs/operations.md."""
    section = OPERATIONS.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_every_code_is_explained_once_and_none_is_that_there_is_not() -> None:
    assert sorted(codes_of("Every code")) == sorted(code.value for code in Code)


def test_every_code_can_be_produced_and_there_is_no_other_way_to_make_a_reason() -> None:
    """`reason` takes a Code and mypy holds that; what is left is that each is used, and that nobody goes round it."""
    sources = {path: path.read_text() for path in PACKAGE.rglob("*.py") if path.name != "codes.py"}
    for code in Code:
        assert any(f"Code.{code.name}" in text for text in sources.values()), f"{code} is never produced"
    by_hand = [f"{path.name}: {text}" for path, text in sources.items() if re.search(r"Reason\(\s*code=\s*\"", text)]
    assert by_hand == []


def test_every_condition_is_explained() -> None:
    assert codes_of("Conditions") == [*TYPES, ACCEPTED, ROUTE_IN_SYNC]


def test_the_command_line_knows_which_codes_are_in_the_way() -> None:
    """It repeats them, because it must not import the core."""
    assert {code.value for code in BLOCKS} == build.BLOCKS


def test_the_world_of_the_docs_is_one() -> None:
    text = (ROOT / "docs" / "simulate.md").read_text()
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert block is not None
    made = parse(WorldFile, yaml.safe_load(block[1]))
    assert set(yaml.safe_load(block[1])) | {"aligned", "gpu"} == set(made.to_raw()), "the docs show all that can be said"
