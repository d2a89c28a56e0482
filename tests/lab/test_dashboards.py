"""Every query of the dashboards and of the recording rules, on a real Prometheus that scraped a real lab and its controller."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from rollout_controller.lab import parts, receiver
from tests.lab.service import Service, running
from tests.support.promql import filled
from tests.unit.tools.test_dashboards import DOCUMENTS, queries
from tools.alerts.alerts import BUDGET
from tools.alerts.files import GROUPS
from tools.alerts.model import RUNBOOKS, Recording

pytestmark = pytest.mark.lab

CHOSEN = {"$namespace": "default", "$rollout": "classifier", "$slo": ".*", "$model": ".*", "$job": ".*"}
SCRAPED_EACH_SECOND = {"$__rate_interval": "10s", "[1h]": "[1m]", "[5m]": "[1m]"}
NOTHING_FAILS = "nothing fails here, and such a series begins with the first failure"
DID_NOT_HAPPEN = "no attempt ended so here"
EMPTY = {
    "triton: GPU memory, by pod": "there is no GPU; the lab plays utilisation only",
    "controller: Turns that failed, per second": NOTHING_FAILS,
    "controller: API server: errors per second": NOTHING_FAILS,
    "rollout: annotation Retreated": "no version here is so bad at once that users are taken out of the way unjudged",
    "rollout: annotation Aborted": DID_NOT_HAPPEN,
    "rollout: annotation Failed": DID_NOT_HAPPEN,
}
"""Panels that may have nothing to show in this lab, and why. Their queries must be answered all the same."""


@dataclass(frozen=True)
class Story:
    """A lab in which a version was promoted, though Prometheus was away for a while, and another rolled back.

    `began` is seconds since 1970.
    """

    service: Service
    began: float

    def ask(self, path: str, **form: str) -> Any:
        url = f"{self.service.info.prometheus}/api/v1/{path}?{urllib.parse.urlencode(form)}"
        status, text = self.service.get(url)
        assert status == 200, text
        answer = json.loads(text)
        assert not answer.get("warnings"), answer["warnings"]
        return answer["data"]

    def series(self, expr: str) -> list[Any]:
        """Those that have a number at some moment of the story."""
        for name, value in {**SCRAPED_EACH_SECOND, **CHOSEN}.items():
            expr = expr.replace(name, value)
        found = self.ask("query_range", query=filled(expr, {}), start=f"{self.began:.0f}", end=f"{time.time():.0f}", step="1")
        return [one for one in found["result"] if any(value != "NaN" for _, value in one["values"])]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    began = time.time()
    with running(tmp_path_factory.mktemp("panels"), alerts=True) as service:
        service.ask("2")
        service.until(lambda: service.envoy_weights().get("triton-green") == 10, 120, "10 % on the canary")
        service.lab.stop_one("prometheus")
        service.until(lambda: (service.status().get("reason") or {}).get("code") == "Unknown", 120, "it says that it is blind")
        service.lab.start_one("prometheus")
        service.until_phase("Succeeded", 240)
        assert service.trigger("3").returncode == 3
        time.sleep(3.0)  # three scrapes of how it ended
        yield Story(service, began)


@pytest.mark.parametrize(("where", "expr"), list(queries()), ids=[where for where, _ in queries()])
def test_a_panel_has_series(story: Story, where: str, expr: str) -> None:
    found = story.series(expr)
    assert found or where in EMPTY, f"{where}\n{expr}"


def test_what_is_listed_as_empty_is_a_panel() -> None:
    assert set(EMPTY) <= {where for where, _ in queries()}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_variable_has_values(story: Story, name: str) -> None:
    for variable in DOCUMENTS[name]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
        assert asked is not None
        match = asked[1]
        for place, value in CHOSEN.items():
            match = match.replace(place, value)
        found = story.ask("series", **{"match[]": match, "start": f"{story.began:.0f}"})
        assert {one[asked[2]] for one in found}, variable["name"]


@pytest.mark.parametrize(
    "rule", [rule for group in GROUPS for rule in group.rules if isinstance(rule, Recording)], ids=lambda rule: rule.record
)
def test_a_recording_rule_has_series(story: Story, rule: Recording) -> None:
    assert story.series(rule.expr), rule.expr


def test_what_users_met_is_what_the_mesh_alert_sees(story: Story) -> None:
    """Version 3 fails requests. Prometheus began before the story and goes on after it: the two shares are about the same."""
    (rule,) = (
        r
        for g in GROUPS
        for r in g.rules
        if isinstance(r, Recording) and r.record.endswith("errors:ratio_rate5m") and "served" in g.name
    )
    (one,) = story.series(rule.expr)
    assert one["metric"] == {"namespace": "default", "rollout": "classifier"}
    worst = max(float(value) for _, value in one["values"] if value != "NaN")
    served = [entry for entries in story.service.served(story.began).values() for entry in entries]
    failed = [entry for entry in served if entry["code"] >= 500]
    assert failed, "the lab's version 3 fails"
    assert 0 < worst < 1
    assert worst > len(failed) / len(served) / 2, f"limit {BUDGET:g}"


def test_the_rollback_is_told_by_the_controller_and_as_an_alert(story: Story) -> None:
    """Both end in the same place: what plays Slack at the wire."""
    home = story.service.directory
    told = story.service.until(
        lambda: [text for text in receiver.alerts(home) if "was rolled back" in text] or None, 60, "the alert"
    )
    assert told[0].startswith("FIRING warning: default/classifier was rolled back")
    assert f"{RUNBOOKS}/RolloutRolledBack.md" in told[0]
    story.service.until(lambda: [text for text in receiver.messages(home) if "rolled back" in text] or None, 60, "the message")
    assert receiver.shown(home), "what `lab up --no-detach` prints"


def test_prometheus_own_linter_takes_what_the_controller_serves(story: Story) -> None:
    status, text = story.service.get(f"http://127.0.0.1:{story.service.info.controller_port}/metrics")
    assert status == 200
    done = subprocess.run(
        [parts.find_promtool(print), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
