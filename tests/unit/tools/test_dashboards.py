"""The dashboards are what their code says, Grafana's own types read them, and they ask for nothing that is not there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from rollout_controller.controller import metrics_page
from tests.support.promql import Selector, filled, selectors
from tools.dashboards.boards import BOARDS, FOLDERS, texts

DOCUMENTS: dict[str, dict[str, Any]] = {name: json.loads((FOLDERS[0] / f"{name}.json").read_text()) for name in BOARDS}
OURS = {metric.name: metric for metric in metrics_page.everything()}
FOREIGN = re.compile(
    r"(istio_requests_total|istio_request_duration_milliseconds_bucket|nv_inference_\w+|DCGM_FI_DEV_(GPU_UTIL|FB_USED)"
    r"|process_(cpu_seconds_total|resident_memory_bytes))"
)
"""Metrics of others that the dashboards may use."""
TARGET = {"job", "instance", "pod", "namespace", "container", "service", "endpoint"}
"""Labels that a scrape adds."""


def queries() -> Iterator[tuple[str, str]]:
    """(where, expression) of every panel and every annotation."""
    for name, document in DOCUMENTS.items():
        for panel in document["panels"]:
            for target in panel.get("targets", []):
                yield f"{name}: {panel['title']}", target["expr"]
        for mark in document["annotations"].get("list", []):
            if "expr" in mark:
                yield f"{name}: annotation {mark['name']}", mark["expr"]


def metric_of(selector: Selector) -> str:
    """Without what a histogram's series add to its name."""
    bare = re.sub(r"_(bucket|sum|count)$", "", selector.metric)
    return bare if bare in OURS and OURS[bare].kind == "histogram" else selector.metric


@pytest.mark.parametrize("folder", FOLDERS, ids=["for people", "for the chart"])
def test_making_them_anew_changes_nothing(folder: Any) -> None:
    assert {path.name: path.read_text() for path in folder.iterdir()} == texts(), "python -m tools.dashboards --write"


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_own_types_read_them_and_lose_nothing(name: str) -> None:
    read = Dashboard.from_json(DOCUMENTS[name])
    assert json.loads(json.dumps(read, cls=JSONEncoder)) == DOCUMENTS[name]


@pytest.mark.parametrize(("where", "expr"), list(queries()), ids=lambda value: value if ": " in value[:60] else "")
def test_every_query_parses_and_asks_for_metrics_and_labels_that_there_are(where: str, expr: str) -> None:
    found = selectors(filled(expr, {}))
    assert found, where
    for selector in found:
        if FOREIGN.fullmatch(selector.metric):
            continue
        metric = OURS.get(metric_of(selector))
        assert metric is not None, f"{where}: nobody exports {selector.metric}"
        assert selector.labels <= {*metric.labels, *TARGET}, f"{where}: {selector}"


def test_what_is_asked_for_by_value_is_a_value() -> None:
    """A phase, verdict, role or condition with a typing error would be an empty panel for ever."""
    listed = {name: set(re.findall(r"`([^`]+)`", text)) for name, text in metrics_page.LABELS.items()}
    for where, expr in queries():
        for selector in selectors(filled(expr, {})):
            if selector.metric not in OURS:
                continue
            for label, value in selector.values.items():
                if listed.get(label) and "$" not in value:
                    assert set(value.split("|")) <= listed[label], f"{where}: {label}={value}"


@pytest.mark.parametrize("name", BOARDS)
def test_panels_lie_side_by_side_and_say_what_they_show(name: str) -> None:
    document = DOCUMENTS[name]
    taken: dict[tuple[int, int], str] = {}
    for panel in document["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for place in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
            assert place not in taken, f"{panel['title']} lies on {taken[place]}"
            taken[place] = panel["title"]
        assert panel["type"] == "row" or panel["description"].endswith("."), panel["title"]
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", BOARDS)
def test_variables_are_used_and_there(name: str) -> None:
    document = DOCUMENTS[name]
    have = {variable["name"] for variable in document["templating"]["list"]}
    text = json.dumps({part: document[part] for part in ("panels", "annotations", "templating")})
    used = {a or b for a, b in re.findall(r"\$(?:\{(\w+)\}|(\w+))", text)} - {"1", "__all", "__rate_interval", "__range"}
    assert used == have
    sources = {json.dumps(target["datasource"]) for p in document["panels"] for target in p.get("targets", [])}
    assert sources == {'{"type": "prometheus", "uid": "${datasource}"}'}, "whoever chooses a Prometheus gets it everywhere"


def test_their_uids_are_their_own() -> None:
    """Links, bookmarks and messages name a dashboard by its uid."""
    assert sorted(document["uid"] for document in DOCUMENTS.values()) == [
        "rollouts-controller",
        "rollouts-fleet",
        "rollouts-rollout",
        "rollouts-triton",
    ]
