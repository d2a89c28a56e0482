"""The log of decisions: one line each, and by it one finds status, event, message and annotation."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from rollout_controller.api.status import Phase
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import EVENT
from rollout_controller.controller.logs import Secrets, set_up
from rollout_controller.controller.tell import LABEL_ATTEMPT, EventTeller
from tests.play import FAILS, GOOD, KEY, Play
from tests.unit.controller.test_news import Desk
from tests.world import World


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    set_up("json", "INFO", stream, Secrets())
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def decisions(out: io.StringIO) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, out.getvalue().splitlines()) if line["logger"] == "rollouts"]


def played(tmp_path: Path) -> tuple[Play, EventTeller]:
    store = LocalStore(tmp_path / "a.db")
    teller = EventTeller(store, instance="test", clock=lambda: 0.0, on_death=lambda _name, error: pytest.fail(repr(error)))
    teller.start()
    world = World(behaviours={"1": GOOD, "2": GOOD, "3": FAILS}, window_s=10.0)
    play = Play(store, world, teller=teller, carrier=Desk())
    play.settle()
    return play, teller


def test_an_attempt_reads_as_one_line_a_decision(tmp_path: Path, out: io.StringIO) -> None:
    play, teller = played(tmp_path)
    play.ask("2", "run-1")
    play.run_until_rest()
    teller.stop()
    lines = [line for line in decisions(out) if line.get("attempt")]
    said = [(line["code"], line["phase"], line["weight"]) for line in lines if line["code"] not in {"Waiting", "Preparing"}]
    assert said == [
        ("StepBegun", "Progressing", 10),
        ("StepBegun", "Progressing", 25),
        ("StepBegun", "Progressing", 50),
        ("StepBegun", "Progressing", 100),
        ("Promoting", "Promoting", 100),
        ("Promoted", "Succeeded", 100),
    ]
    past = play.status.attempts[0]
    assert {(line["rollout"], line["namespace"], line["attempt"], line["version"]) for line in lines} == {
        (str(KEY), KEY.namespace, past.id, "2")
    }
    assert lines[-1]["event"] == past.reason.sentence


def test_no_decision_is_said_twice_and_a_quiet_turn_says_nothing(tmp_path: Path, out: io.StringIO) -> None:
    play, teller = played(tmp_path)
    play.ask("3", "run-1")
    play.run_until_rest()
    play.run(300)
    teller.stop()
    lines = [(line["event"], line["phase"], line["attempt"]) for line in decisions(out) if line.get("attempt")]
    assert len(lines) == len(set(lines))
    assert play.status.phase is Phase.ROLLED_BACK
    assert [phase for _, phase, _ in lines if phase != "Progressing"] == ["Preparing", "RollingBack", "RolledBack"]


def test_line_event_and_notice_are_linked_by_the_attempt_and_the_events_name(tmp_path: Path, out: io.StringIO) -> None:
    play, teller = played(tmp_path)
    play.ask("3", "run-1")
    play.run_until_rest()
    teller.stop()
    line = next(line for line in decisions(out) if line["code"] == "ErrorsViolated")
    event = next(event for event in play.store.list(EVENT).items if event["metadata"]["name"] == line["event_name"])
    assert (event["note"], event["metadata"]["labels"]) == (line["event"], {LABEL_ATTEMPT: line["attempt"]})
    assert isinstance(play.carrier, Desk)
    assert [notice.attempt for notice in play.carrier.offered.values() if notice.code == "ErrorsViolated"] == [line["attempt"]]
