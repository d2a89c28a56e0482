"""What the demo says about a play is what the store and the access log held."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from rollout_controller.api.meta import ANNOTATION_REQUEST, ANNOTATION_VERSION, Key, Raw
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import EVENT, POLICY, ROLLOUT, VIRTUAL_SERVICE
from rollout_controller.controller.config import DATABASE_NAME
from rollout_controller.lab.demo import pages, stage, summary
from rollout_controller.lab.demo.lines import Lines
from rollout_controller.lab.demo.record import Record
from rollout_controller.lab.demo.scene import limits, scene
from rollout_controller.lab.demo.script import ACTS, Ending, differences, serving_after
from rollout_controller.lab.demo.view import view
from rollout_controller.lab.traffic import Log, Traffic
from rollout_controller.report.page import html

KEY = Key("default", "classifier")
T0 = 1_800_000_000.0
SENTENCE = "Canary error rate 5.2 % [3.1, 8.0] (18 of 346), stable 0.4 %: false alarm at most 0.2 %."


def instant(at: float) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415

    return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")


class World:
    """A store with the demo's documents, an access log, and a clock."""

    def __init__(self, directory: Path) -> None:
        self.now = T0
        self.store = LocalStore(directory / DATABASE_NAME)
        for kind, name in ((POLICY, stage.DOCUMENTS[0]), (VIRTUAL_SERVICE, stage.DOCUMENTS[1]), (ROLLOUT, stage.DOCUMENTS[2])):
            document = yaml.safe_load((stage.ROOT / name).read_text())
            document["metadata"]["namespace"] = "default"
            self.store.create(kind, document)
        self.path = directory / "access.jsonl"
        self.traffic = Traffic(100.0)
        self.record = Record(self.store, KEY, Log(self.path, self.traffic), self.traffic, lambda: self.now)
        self.log: list[str] = []

    def status(self, **status: Any) -> None:
        document = self.store.get(ROLLOUT, KEY)
        self.store.replace_status(ROLLOUT, KEY, {**document.get("status", {}), **status}, document["metadata"]["resourceVersion"])

    def ask(self, version: str, request: str) -> None:
        document = self.store.get(ROLLOUT, KEY)
        document["metadata"]["annotations"] = {ANNOTATION_VERSION: version, ANNOTATION_REQUEST: request}
        self.store.replace(ROLLOUT, document)

    def weights(self, blue: int, green: int) -> None:
        key = Key("default", "triton")
        document = self.store.get(VIRTUAL_SERVICE, key)
        for destination, weight in zip(document["spec"]["http"][0]["route"], (blue, green), strict=True):
            destination["weight"] = weight
        self.store.replace(VIRTUAL_SERVICE, document)

    def told(self, code: str, note: str, *, warning: bool = False, about: str = "classifier") -> None:
        event = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"name": f"e{self.now:.0f}-{code.lower()}-{about}", "namespace": "default"},
            "eventTime": instant(self.now),
            "reason": code,
            "note": note,
            "type": "Warning" if warning else "Normal",
            "regarding": {"name": about},
        }
        self.store.create(EVENT, event)

    def served(self, at: float, cluster: str, *, code: int = 200, ms: int = 9) -> None:
        line = {"start": f"{at:.3f}", "code": code, "cluster": cluster, "duration_ms": ms}
        with self.path.open("a") as out:
            out.write(json.dumps(line) + "\n")

    def look(self, at: float) -> None:
        self.now = at
        self.record.look()


def slots(blue: str | None, green: str | None, stable: str) -> Raw:
    versions = {"blue": blue, "green": green}
    return {
        name: {"version": version, "role": "stable" if name == stable else "canary", "weight": {}}
        for name, version in versions.items()
    }


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def rolled_back(world: World) -> World:
    """Version 3 was asked for at T0+10, had 10 % from +12 to +20, and was rolled back."""
    act = ACTS[1]
    world.status(phase="Idle", stableSlot="blue", slots=slots("2", None, "blue"), reason={"code": "Idle", "sentence": "Idle."})
    world.look(T0 + 9)
    world.now = T0 + 10
    played = world.record.begin(act)
    world.ask(act.version, act.request)
    attempt = {"id": "1-a", "number": 1, "version": "3", "request": act.request, "slot": "green", "startedAt": instant(T0 + 10)}
    world.status(phase="Progressing", attempt={**attempt, "step": 0, "weight": 10}, slots=slots("2", "3", "blue"))
    world.weights(90, 10)
    world.now = T0 + 12
    world.told("StepBegun", "Version 3 on green gets 10 % of the traffic: step 1 of 4.")
    world.told("Other", "about somebody else", about="other")
    world.look(T0 + 12)
    for n in range(10, 24):
        world.served(T0 + n + 0.1, "triton-blue")
    for n, code in enumerate((200, 500, 200, 503, 200)):
        world.served(T0 + 13.5 + n, "triton-green", code=code)
    world.weights(100, 0)
    record = {
        **{name: attempt[name] for name in ("id", "number", "version", "request", "slot", "startedAt")},
        "endedAt": instant(T0 + 20),
        "outcome": "RolledBack",
        "reason": {"code": "ErrorsViolated", "sentence": SENTENCE},
        "weight": 10,
    }
    document = world.store.get(ROLLOUT, KEY)
    status = {
        **{name: value for name, value in document["status"].items() if name != "attempt"},
        "phase": "RolledBack",
        "observedRequest": act.request,
        "observedVersion": "3",
        "attempts": [record],
    }
    world.store.replace_status(ROLLOUT, KEY, status, document["metadata"]["resourceVersion"])
    world.now = T0 + 20
    world.told("ErrorsViolated", SENTENCE, warning=True)
    world.look(T0 + 20.2)
    world.look(T0 + 24)
    played.differences = tuple(differences(played.ending, "2"))
    return world


def test_an_act_is_over_when_the_status_echoes_its_request(rolled_back: World) -> None:
    played = rolled_back.record.played[0]
    assert played.record is not None
    assert (played.slot, played.ended_at, played.weights_after, played.differences) == ("green", T0 + 20, {"2": 100}, ())
    assert rolled_back.record.shares == {
        "2": [(T0 + 9, 100), (T0 + 12, 90), (T0 + 20.2, 100)],
        "3": [(T0 + 12, 10), (T0 + 20.2, 0)],
    }
    assert [told.code for told in rolled_back.record.told] == ["StepBegun", "ErrorsViolated"]


def test_the_table_counts_what_users_saw(rolled_back: World) -> None:
    (row,) = summary.rows(rolled_back.record)
    assert row.cells == ("3", "rolled back", "Canary error rate 5.2 % [3.1, 8.0] (18 of 346)", "3.0 s", "2", "10 s")
    lines = summary.text_table([row])
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split("   ")[0].strip() == "version"
    assert summary.headline([row], 4) == "1 of 4 versions ended as they should."


def test_an_act_that_ended_by_itself_long_ago_is_not_taken_for_this_one(world: World) -> None:
    old = {
        "id": "0",
        "number": 0,
        "version": "3",
        "request": "other",
        "slot": "green",
        "startedAt": instant(T0),
        "endedAt": instant(T0),
    }
    world.status(
        phase="RolledBack",
        stableSlot="blue",
        slots=slots("2", None, "blue"),
        attempts=[{**old, "outcome": "RolledBack", "reason": {"code": "x", "sentence": "y"}}],
    )
    world.look(T0 + 1)
    played = world.record.begin(ACTS[1])
    world.look(T0 + 2)
    assert played.record is None


def test_a_store_that_is_gone_changes_nothing(rolled_back: World) -> None:
    before = rolled_back.record.status
    rolled_back.store.delete(ROLLOUT, KEY)
    rolled_back.look(T0 + 30)
    assert rolled_back.record.status == before


def test_differences_are_said_one_by_one(rolled_back: World) -> None:
    record = rolled_back.record.played[0].record
    assert record is not None
    act = ACTS[1]
    assert differences(Ending(act, record, {"2": 100}), "2") == ()
    assert "ended by ErrorsViolated" in differences(Ending(ACTS[2], record, {"2": 100}), "2")[0]
    assert "should end Promoted, ended RolledBack" in differences(Ending(ACTS[0], record, {"2": 100}), "2")[0]
    assert "the route says version 2 90 %, version 3 10 %" in differences(Ending(act, record, {"2": 90, "3": 10}), "2")[0]
    assert "did not end in time" in differences(Ending(act, None, {}), "2")[0]
    assert serving_after(ACTS, "1") == ["2", "2", "2", "2"]


def test_the_lines_say_each_thing_once_and_plainly(rolled_back: World) -> None:
    said: list[str] = []
    lines = Lines(said.append)
    for at in (T0 + 20.5, T0 + 21, T0 + 24):
        lines.show(scene(rolled_back.record, 4, at))
    assert [line[10:].strip() for line in said] == [
        "1 of 4  version 3: fails 5 % of its requests",
        "Version 3 on green gets 10 % of the traffic: step 1 of 4.",
        SENTENCE,
        "version 3 rolled back, 3.0 s after the first bad request, 2 bad requests in all",
    ]
    assert all(line.isprintable() for line in said)


@pytest.mark.parametrize("width", [40, 80, 140, 200])
def test_the_view_fits_every_terminal(rolled_back: World, width: int) -> None:
    console = Console(file=StringIO(), width=width, force_terminal=False)
    for moment in (scene(rolled_back.record, 4, T0 + 18), replace(scene(rolled_back.record, 4, T0 + 24), act=None)):
        console.print(view(moment, limits(rolled_back.record.policy), width))
    out = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line) for line in out.splitlines()) <= width
    if width >= 80:
        assert "version 3: fails 5 % of its requests" in out
        assert "at most 100 ms" in out


def test_the_page_holds_every_decision_and_the_harm(rolled_back: World) -> None:
    report = pages.report(rolled_back.record, T0 + 24, made={"servers": "none"}, documents={"policy": "<spec>"})
    assert [mark.sentence for mark in report.timeline.marks] == [told.sentence for told in rolled_back.record.told]
    (harm,) = report.timeline.harms
    assert (harm.start, harm.end) == pytest.approx((T0 + 14.5, T0 + 17.5))
    stable, canary = report.timeline.panels[0].lines
    assert max(value for _, value in canary.points if value is not None) > 0.3
    assert all(not value for _, value in stable.points)
    assert all(value is None or T0 + 9 < at <= T0 + 20.2 for at, value in canary.points)
    page = html(report)
    assert "&lt;spec&gt;" in page
    assert report.headline_tone == "good"


def test_the_stage_knows_the_database_by_its_name() -> None:
    assert stage.DATABASE_NAME == DATABASE_NAME
    assert set(stage.documents()) == set(stage.DOCUMENTS)
