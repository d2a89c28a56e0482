"""Answers become exact counts, or are called bad for the one identity they are about."""

from __future__ import annotations

from typing import Any

import pytest

from rollout_controller.slo.decode import ABSENT, BAD, NO_BASELINE, PodValue, Tally, counter, gauges, identities, pods, tally
from rollout_controller.slo.sources import CountSource, GaugeSource, load_sources
from rollout_controller.slo.wants import Question

SOURCES = load_sources()


def counted(source: str, question: Question, entry: Tally | None) -> tuple[int, int]:
    found = SOURCES[source]
    assert isinstance(found, CountSource)
    return counter(found, question)(entry)


@pytest.mark.parametrize(
    ("source", "codes", "grown", "expected"),
    [
        ("envoy", ("5xx",), {"2": 90.0, "5": 10.0, "4": 5.0}, (105, 10)),
        ("envoy", ("4xx", "5xx"), {"2": 90.0, "5": 10.0, "4": 5.0}, (105, 15)),
        ("envoy", ("5xx",), {"2": 0.0}, (0, 0)),
        ("istio", ("5xx",), {"200": 3.0, "503": 2.0, "0": 1.0, "5": 1.0, "5000": 1.0}, (8, 2)),
        ("istio-grpc", ("5xx",), {"0": 3.0, "": 2.0, "14": 1.0, "00": 1.0, "2": 1.0}, (8, 3)),
        ("envoy", ("5xx",), {"2": float("nan"), "5": 1.0}, (BAD, BAD)),
        ("envoy", ("5xx",), {"2": float("inf")}, (BAD, BAD)),
        ("envoy", ("5xx",), {"2": -1.0}, (BAD, BAD)),
        ("envoy", ("5xx",), {"2": 1.5, "5": 0.5}, (BAD, BAD)),
    ],
)
def test_errors(source: str, codes: tuple[str, ...], grown: dict[str, float], expected: tuple[int, int]) -> None:
    assert counted(source, Question(source, "errors", codes=codes), Tally(grown)) == expected


@pytest.mark.parametrize(
    ("grown", "expected"),
    [
        ({"100": 90.0, "+Inf": 100.0}, (100, 10)),
        ({"100.0": 90.0, "+Inf": 100.0, "50": 3.0}, (100, 10)),
        ({"50": 90.0, "+Inf": 100.0}, (BAD, BAD)),
        ({"100": 101.0, "+Inf": 100.0}, (BAD, BAD)),
        ({"100": 0.0, "+Inf": 0.0}, (0, 0)),
    ],
)
def test_slow_requests_are_those_over_the_edge(grown: dict[str, float], expected: tuple[int, int]) -> None:
    assert counted("envoy", Question("envoy", "latency", edge_ms=100.0), Tally(grown)) == expected


@pytest.mark.parametrize("question", [Question("envoy", "errors", codes=("5xx",)), Question("envoy", "latency", edge_ms=1.0)])
def test_nothing_there_and_no_baseline_are_not_zero(question: Question) -> None:
    assert counted("envoy", question, None)[0] == ABSENT
    assert counted("envoy", question, Tally())[0] == NO_BASELINE


def row(labels: dict[str, str], value: str, at: float = 10.0) -> dict[str, Any]:
    return {"metric": labels, "value": [at, value]}


def test_rows_are_summed_by_identity_and_window() -> None:
    rows = [
        row({"h": "a", "code": "2"}, "3"),
        row({"h": "a", "code": "2", "rollouts_baseline": "born"}, "4"),
        row({"h": "a", "code": "5", "rollouts_baseline": "none"}, "1000000"),
        row({"h": "b"}, "1e+06"),
        row({"h": "nobody asked"}, "1"),
        {"metric": {"h": "c", "code": "2"}, "values": [[10, "1"], [20, "2"]]},
    ]
    found = tally(rows, ("h",), "code", frozenset({("a",), ("b",), ("c",)}), lambda at: round(at / 10))
    assert found == {
        (("a",), 1): Tally({"2": 7.0}),
        (("b",), 1): Tally({"": 1e6}),
        (("c",), 1): Tally({"2": 1.0}),
        (("c",), 2): Tally({"2": 2.0}),
    }
    assert identities(rows[:1], ("h", "x")) == {("a", "")}


def test_a_gauge_is_that_of_the_busiest_fresh_pod() -> None:
    dcgm = SOURCES["dcgm"]
    assert isinstance(dcgm, GaugeSource)
    shown = {"t-0": ("95", "1000"), "t-1": ("50", "1000"), "t-2": ("99", "800"), "u-0": ("NaN", "1000"), "t-t-0": ("97", "1000")}
    rows = []
    for pod, (value, at) in shown.items():
        labels = {"exported_namespace": "n", "exported_pod": pod}
        rows += [row({**labels, "rollouts_what": "value"}, value), row({**labels, "rollouts_what": "at"}, at)]
    wanted = [("n", "t", "StatefulSet"), ("n", "u", "StatefulSet"), ("m", "t", "")]
    found = gauges(pods(rows, dcgm), dcgm, wanted, now=1001.0)
    assert list(found) == [("n", "t", "StatefulSet")]
    assert found["n", "t", "StatefulSet"] == PodValue(95 * 0.01, 1000.0)
