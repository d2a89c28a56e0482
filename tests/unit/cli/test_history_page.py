"""`history NAME -o html`: one attempt as a page, from what the status, the events and Prometheus know."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import responses

from rollout_controller.api.names import Key
from rollout_controller.cli import past as pasts
from rollout_controller.cli.words import seconds_since_1970
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import EVENT, ObjectStore
from rollout_controller.controller.tell import EventTeller
from rollout_controller.report.model import Told
from tests.play import Play, playing
from tests.support.shell import Shell
from tests.unit.cli.conftest import LocalShell


def tried(shell: LocalShell, *versions: str, **rules: Any) -> Play:
    """A rollout that has tried these versions."""
    store = shell.store
    assert isinstance(store, LocalStore)
    plays: list[Play] = []
    teller = EventTeller(
        store,
        instance="test",
        clock=lambda: plays[0].world.now if plays else 0.0,
        on_death=lambda _name, error: pytest.fail(repr(error)),
    )
    teller.start()
    plays.append(playing(store, "vision", teller=teller, **rules))
    for number, version in enumerate(versions, start=1):
        plays[0].ask(version, f"run-{number}")
        plays[0].run_until_rest()
    teller.stop()
    return plays[0]


def page(shell: Shell, *more: str) -> str:
    code, out, err = shell.run("history", "resnet50", "-o", "html", *more)
    assert (code, err) == (0, "")
    return out


class Text(HTMLParser):
    """What a reader sees, and what the page would load."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self.loads: list[str | None] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [value for name, value in attrs if name in {"src", "href"}] + (["script"] if tag == "script" else [])

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_newest_attempt_with_its_sentence_its_steps_and_its_decisions(shell: LocalShell) -> None:
    play = tried(shell, "2", "3")
    newest = play.status.attempts[0]
    shown = Text(page(shell))
    assert "resnet50: attempt 2, version 3" in shown.text
    assert newest.reason.sentence in shown.text
    assert "left here" in shown.text
    assert "asked for by run-2" in shown.text
    assert shown.loads == []


def test_an_older_attempt_by_its_number_and_one_that_is_not_known(shell: LocalShell) -> None:
    tried(shell, "2", "3")
    assert "resnet50: attempt 1, version 2" in page(shell, "--attempt", "1")
    code, _, err = shell.run("history", "resnet50", "-o", "html", "--attempt", "7")
    assert (code, err) == (1, "error: nothing is known of attempt 7 of resnet50; there are 2, 1\n")


def test_an_attempt_under_way(shell: LocalShell) -> None:
    play = tried(shell, steps=[{"weight": 10, "pause": {}}, {"weight": 100}])
    play.ask("2")
    play.run(600)
    shown = Text(page(shell))
    assert "under way" in shown.text
    assert play.status.reason is not None
    assert play.status.reason.sentence in shown.text


def test_without_attempts_there_is_no_page(shell: LocalShell) -> None:
    tried(shell)
    code, out, err = shell.run("history", "resnet50", "-o", "html")
    assert (code, out, err) == (1, "", "error: resnet50 has had no attempt yet\n")


def test_a_page_in_a_file(shell: LocalShell, tmp_path: Path) -> None:
    tried(shell, "2")
    path = tmp_path / "attempt.html"
    code, out, err = shell.run("history", "resnet50", "-o", "html", "--to", str(path))
    assert (code, out, err) == (0, "", f"attempt 1 of resnet50 is in {path}\n")
    assert path.read_text().startswith("<!DOCTYPE html>")
    code, _, err = shell.run("history", "resnet50", "-o", "html", "--to", str(tmp_path))
    assert (code, err) == (1, f"error: {tmp_path} cannot be written: is a directory\n")


def test_decisions_come_from_the_events_and_else_from_the_record(shell: LocalShell) -> None:
    tried(shell, "2")
    assert "from the events of the attempt" in page(shell)
    store: ObjectStore = shell.store
    for event in store.list(EVENT).items:
        store.delete(EVENT, Key("vision", event["metadata"]["name"]))
    shown = Text(page(shell)).text
    assert "its events are not kept any more" in shown
    assert "Version 2 was asked for." in shown


def test_the_shares_are_those_that_were_on_the_route(shell: LocalShell) -> None:
    """The picture puts them together from the steps' times; the world has written down what the route said."""
    play = tried(shell, "2")
    past = pasts.find(play.rollout(), None, play.world.now)
    steps = pasts.shares(past, [])
    assert [weight for _, weight in steps] == [0, 10, 25, 50, 100, 100]
    assert [at for at, _ in steps] == sorted(at for at, _ in steps)
    assert steps[1][0] == past.record.first_traffic_at


def test_in_a_retreat_the_share_is_0_and_the_step_goes_on_afterwards(shell: LocalShell) -> None:
    play = tried(shell, "5", retreat={"coolDown": "60s", "strikes": 3})
    past = pasts.find(play.rollout(), None, play.world.now)
    events = sorted(play.store.list(EVENT).items, key=lambda event: str(event["eventTime"]))
    told = [Told(seconds_since_1970(e["eventTime"]) or 0.0, e["reason"], e["note"], warning=True) for e in events]
    weights = [weight for _, weight in pasts.shares(past, told)]
    assert weights == [0, 10, 0, 10, 0, 10, 0]


@responses.activate
def test_a_prometheus_that_fails_leaves_the_page_without_graphs_and_says_why(shell: LocalShell) -> None:
    responses.post("http://prom:9090/api/v1/query_range", status=503, json={"status": "error", "error": "loading"})
    tried(shell, "2")
    shown = Text(page(shell, "--prometheus", "http://prom:9090")).text
    assert 'Prometheus at http://prom:9090 answered 503: "loading"' in shown
