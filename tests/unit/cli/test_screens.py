"""What people see, word for word: one golden file for each situation. ROLLOUTS_REGENERATE=1 writes them anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from rollout_controller.api.names import Key
from rollout_controller.cli import tables
from rollout_controller.cli.build import build
from rollout_controller.cli.card import card
from rollout_controller.cli.fetch import no_policy
from rollout_controller.cli.info import Info, facts
from rollout_controller.cli.layout import lines, text
from rollout_controller.cli.page import Page
from rollout_controller.cli.screen import coloured
from rollout_controller.cli.show import _rules
from tests.unit.cli.gallery import NOW, POLICY, SCENES, Scene

GOLDEN = Path(__file__).parents[2] / "golden" / "cli"
BOX = set("━─│┃┏┓┗┛╭╮╰╯·✓→…")


def golden(name: str, shown: str) -> None:
    path = GOLDEN / name
    if os.environ.get("ROLLOUTS_REGENERATE") == "1":
        path.write_text(shown)
    assert path.exists(), f"no golden file {name}: look at it, then make it with ROLLOUTS_REGENERATE=1"
    assert shown == path.read_text()


def info(scene: Scene, name: str | None = None) -> Info:
    rollout = scene.rollout
    if name:
        rollout = {**rollout, "metadata": {**rollout["metadata"], "name": name}}
    return build(rollout, scene.policy, scene.now)


def everything() -> list[Info]:
    return [info(scene, name) for name, scene in SCENES.items()]


def pages() -> dict[str, Page]:
    events = [tables.EventInfo(NOW - 190, "Drift", "Drift: the VirtualService says blue 50 %, green 50 %.", True, 3)]
    shown = {f"status-{name}": card(info(scene)) for name, scene in SCENES.items()}
    return {
        **shown,
        "list": tables.listing(everything()),
        "list-wide": tables.listing(everything(), wide=True),
        "history": tables.history(info(SCENES["succeeded-unproven"])),
        "history-empty": tables.history(info(SCENES["idle"])),
        "explain": tables.explanation(info(SCENES["progressing"]), _rules("balanced", POLICY, ""), events, "rollouts"),
        "explain-no-policy": tables.explanation(
            info(SCENES["idle"]), _rules("balanced", None, no_policy(Key("vision", "balanced"))), [], "rollouts"
        ),
    }


@pytest.mark.parametrize("name", pages())
def test_in_a_pipe(name: str) -> None:
    shown = text(pages()[name])
    assert not BOX & set(shown), "a pipe gets no bars and no signs"
    assert not [line for line in shown.splitlines() if line != line.rstrip()]
    golden(f"{name}.txt", shown)


@pytest.mark.parametrize("width", [80, 100])
@pytest.mark.parametrize("name", pages())
def test_no_line_is_longer_than_the_terminal(name: str, width: int) -> None:
    for line in lines(pages()[name], width):
        shown = "".join(span.text for span in line)
        assert len(shown) <= width or " " not in shown.strip(), shown


@pytest.mark.parametrize("width", [80, 100])
def test_on_a_terminal(width: int) -> None:
    golden(
        f"terminal-{width}.txt", text(card(info(SCENES["progressing"])), width) + "\n" + text(tables.listing(everything()), width)
    )


def test_the_sentence_of_the_controller_is_shown_as_it_is() -> None:
    for scene in SCENES.values():
        sentence = scene.rollout.get("status", {}).get("reason", {}).get("sentence", "")
        assert sentence in text(card(info(scene)))


def test_facts_have_units_in_their_names() -> None:
    golden("status-progressing.json", json.dumps(facts(info(SCENES["progressing"])), indent=2) + "\n")
    for scene in SCENES.values():
        for path, value in _numbers(facts(info(scene))):
            field = path.rpartition(".")[2]
            counted = field in {"number", "step", "requests", "bad", "stable_requests", "stable_bad", "requests_needed"}
            assert counted or field.endswith(("_s", "_share", "_percent", "_ms")), (path, value)


def _numbers(value: object, path: str = "") -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [hit for key, item in value.items() for hit in _numbers(item, f"{path}.{key}")]
    if isinstance(value, list):
        return [hit for item in value for hit in _numbers(item, path)]
    return [(path, value)] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


def test_those_that_need_a_person_come_first() -> None:
    order = [line[0].text + " ".join(span.text for span in line[:5]) for line in lines(tables.listing(everything()), None)]
    urgent = {i.name for i in everything() if i.urgency == "person"}
    first = order[1 : len(urgent) + 1]
    assert all(any(name in line for name in urgent) for line in first)


@pytest.mark.parametrize("raw", [{}, {"metadata": {"name": "x"}}, {"metadata": None, "spec": None, "status": {"attempt": {}}}])
def test_a_document_with_nothing_in_it_is_shown_all_the_same(raw: dict[str, object]) -> None:
    assert text(card(build(raw, None, NOW)))


def test_colours_do_not_change_the_text() -> None:
    for page in pages().values():
        painted = coloured(page, 100)
        assert re.sub(r"\x1b\[[\d;]*m", "", painted).split() == text(page, 100).split()
    assert "\x1b[1mresnet50\x1b[0m" in coloured(pages()["status-progressing"], 100)
