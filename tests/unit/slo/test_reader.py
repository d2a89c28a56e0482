"""The reader against answers at the wire: sources fail alone, time is bounded, and each fault has its code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests
import responses

from rollout_controller.api.meta import Key
from rollout_controller.core.observation import Counts, GaugeReading, Slower, Unknown
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.slo.wants import Question, Want

URL = "http://prom:9090"
KEY = Key("default", "r")
SLOTS = {"green": ("g",), "blue": ("b",)}
ERRORS = Want("errors", Question("envoy", "errors", codes=("5xx",)), SLOTS)
LATENCY = Want("latency", Question("envoy", "latency", edge_ms=100.0), SLOTS)
GPU = Want("gpu", Question("dcgm", "gauge"), {slot: ("default", slot, "") for slot in SLOTS})


class Wire:
    """A Prometheus whose answers the test writes: the values of each window by metric, cluster and class."""

    def __init__(self, mock: responses.RequestsMock) -> None:
        self.now = 1000.0
        self.queries: list[dict[str, str]] = []
        self.fault: Callable[[str], tuple[int, dict[str, str], str] | Exception | None] = lambda _: None
        self.errors: dict[tuple[str, str], str] = {("g", "2"): "10", ("b", "2"): "90"}
        self.buckets = {"100": "4"}
        self.gpu: dict[str, tuple[str, float]] = {}
        mock.add_callback(responses.POST, f"{URL}/api/v1/query", callback=self._answer)
        mock.add_callback(responses.POST, f"{URL}/api/v1/query_range", callback=self._answer)
        self.reader = SliReader(Prometheus(URL), load_sources(), window_s=10, lag_s=2, clock=lambda: self.now)

    def tick(self, seconds: float = 10.0) -> None:
        """Let time pass and read once a second."""
        for _ in range(round(seconds)):
            self.now += 1
            self.reader.read(self.now)

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str] | Exception:
        form = {key: values[0] for key, values in parse_qs(str(request.body)).items()}
        self.queries.append(form)
        met = self.fault(form["query"])
        if met is not None:
            return met
        start, end, step = (float(form.get(name, form.get("time", "10"))) for name in ("start", "end", "step"))
        times = [start + i * step for i in range(round((end - start) / step) + 1)] if "start" in form else [end]
        rows = [self._row(labels, value, times, ranged="start" in form) for labels, value in self._values(form["query"])]
        kind = "matrix" if "start" in form else "vector"
        return 200, {}, json.dumps({"status": "success", "data": {"resultType": kind, "result": rows}})

    def _values(self, query: str) -> Iterator[tuple[dict[str, str], str]]:
        if "DCGM" in query:
            for pod, (value, at) in self.gpu.items():
                for what, text in (("value", value), ("at", str(at))):
                    yield {"exported_namespace": "default", "exported_pod": pod, "rollouts_what": what}, text
        elif "rq_xx" in query:
            for (cluster, code), value in self.errors.items():
                yield {"envoy_cluster_name": cluster, "envoy_response_code_class": code}, value
        else:
            for cluster in "gb":
                for edge, fast in self.buckets.items():
                    yield {"envoy_cluster_name": cluster, "le": edge}, fast
                yield {"envoy_cluster_name": cluster, "le": "+Inf"}, "5"

    @staticmethod
    def _row(labels: dict[str, str], value: str, times: list[float], *, ranged: bool) -> dict[str, Any]:
        return (
            {"metric": labels, "values": [[at, value] for at in times]}
            if ranged
            else {"metric": labels, "value": [times[0], value]}
        )

    def problem(self, name: str = "errors") -> Unknown | None:
        return self.reader.reading(KEY, name, "green").problem

    def ends(self, name: str = "errors") -> list[float]:
        return [w.end for w in self.reader.reading(KEY, name, "green").windows]


@pytest.fixture
def wire() -> Iterator[Wire]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Wire(mock)


def test_nothing_wanted_asks_nothing(wire: Wire) -> None:
    wire.tick(30)
    assert wire.queries == []


def test_each_window_is_asked_once_after_its_lag_for_all_rollouts_together(wire: Wire) -> None:
    for number in range(5):
        wire.reader.want(Key("default", f"r-{number}"), [ERRORS, LATENCY])
    wire.reader.want(KEY, [ERRORS])
    found = wire.problem()
    assert found
    assert found.code == "not-read-yet"
    wire.tick(11)
    assert wire.queries == []  # 1011: the window that ends at 1010 may still lack samples
    wire.tick(1)
    assert len(wire.queries) == 4  # errors and latency: what was there before, and the window
    wire.tick(29)
    assert [q["time"] for q in wire.queries[4:]] == ["1020.000"] * 2 + ["1030.000"] * 2
    assert wire.ends() == [1010, 1020, 1030]
    assert wire.problem() is None


@pytest.mark.parametrize(
    ("answer", "code", "sentence"),
    [
        (
            (422, {}, '{"status":"error","error":"too many samples"}'),
            "server-error",
            'answered 422: "too many samples" (source envoy, errors, 2 slots)',
        ),
        ((200, {}, '{"status":"success","warnings":["store down"],"data":{}}'), "partial", '"store down"'),
        ((200, {}, "<html>"), "server-error", "no JSON"),
        (
            (
                200,
                {},
                '{"status":"success","data":{"resultType":"vector","result":[{"metric":{"envoy_cluster_name":"g"},"histogram":[1,{}]}]}}',
            ),
            "server-error",
            "samples that cannot be read",
        ),
        (
            (200, {}, '{"status":"success","data":{"resultType":"vector","result":[{}]}}'),
            "server-error",
            "samples that cannot be read",
        ),
        (requests.ConnectTimeout(), "no-answer", "did not answer within 5 s"),
    ],
)
def test_a_question_that_fails_is_unknown_after_three_windows_and_harms_no_other(
    wire: Wire, answer: Any, code: str, sentence: str
) -> None:
    wire.reader.want(KEY, [ERRORS, LATENCY])
    wire.tick(12)
    assert wire.ends() == [1010]
    wire.fault = lambda query: answer if "rq_xx" in query else None
    wire.tick(29)
    assert wire.problem() is None
    wire.tick(1)
    found = wire.problem()
    assert found
    assert (found.code, found.since) == (code, 1010)
    assert sentence in found.sentence
    assert wire.problem("latency") is None
    assert wire.ends("latency") == [1010, 1020, 1030, 1040]
    wire.fault = lambda _: None
    wire.queries.clear()
    wire.tick(10)
    assert wire.problem() is None
    assert wire.ends() == [1010, 1020, 1030, 1040, 1050]
    assert [(q["start"], q["end"]) for q in wire.queries if "start" in q] == [("1020.000", "1040.000")]
    assert wire.reader.stats()["envoy"].failures[code] >= 3


def test_a_failing_prometheus_is_not_hammered(wire: Wire) -> None:
    wire.reader.want(KEY, [ERRORS])
    wire.fault = lambda _: requests.ConnectionError()
    wire.tick(120)
    assert len(wire.queries) < 40


def test_an_answer_that_stops_coming_is_noticed_even_when_nobody_reads(wire: Wire) -> None:
    wire.reader.want(KEY, [ERRORS])
    wire.tick(22)
    wire.now += 40
    found = wire.problem()
    assert found
    assert (found.code, found.since) == ("no-answer", 1020)
    assert "the reader is behind" in found.sentence


@pytest.mark.parametrize(("value", "code"), [("NaN", "bad-data"), ("-3", "bad-data"), ("1.5", "bad-data"), (None, "no-data")])
def test_what_is_no_count_is_unknown_for_this_identity_only(wire: Wire, value: str | None, code: str) -> None:
    wire.reader.want(KEY, [ERRORS])
    other = Key("default", "other")
    wire.reader.want(other, [Want("errors", ERRORS.question, {"green": ("b",), "blue": ("g",)})])
    wire.tick(12)
    del wire.errors["g", "2"]
    if value is not None:
        wire.errors["g", "2"] = value
    wire.tick(30)
    found = wire.problem()
    assert found
    assert (found.code, found.since) == (code, 1010)
    assert wire.reader.reading(other, "errors", "green").problem is None
    assert [w.canary.total for w in wire.reader.reading(other, "errors", "green").windows] == [90] * 4


def test_a_restart_reads_what_was_missed_in_one_query_and_not_more_than_ten_minutes(wire: Wire) -> None:
    wire.reader.want(KEY, [ERRORS], since=950.0)
    wire.tick(12)
    assert [(q.get("start"), q.get("end")) for q in wire.queries if "start" in q] == [("960.000", "990.000")]
    assert wire.ends() == [960, 970, 980, 990, 1000, 1010]
    late = Key("default", "late")
    wire.reader.want(late, [Want("errors", ERRORS.question, {"green": ("x",), "blue": ("b",)})], since=10.0)
    wire.tick(10)
    assert len(wire.reader.reading(late, "errors", "green").windows) >= 60
    assert min(float(q["start"]) for q in wire.queries if "start" in q) >= wire.now - 630


def test_with_a_clock_that_was_set_back_it_reads_on_and_says_that_nothing_new_counts(wire: Wire) -> None:
    """Before, nothing was read until the clock was as late again, and the last verdicts stood for as long."""
    wire.reader.want(KEY, [ERRORS, GPU])
    wire.tick(32)
    judged_to = wire.ends()[-1]
    wire.now -= 600
    wire.queries.clear()
    wire.tick(15)
    assert {q["time"] for q in wire.queries} == {"430.000", "440.000"}
    reading = wire.reader.reading(KEY, "errors", "green", judged_to)
    assert reading.windows == ()
    assert reading.problem is not None
    assert reading.problem.code == "no-data"
    assert "the clock was set back" in reading.problem.sentence
    wire.tick(600)
    reading = wire.reader.reading(KEY, "errors", "green", judged_to)
    assert reading.problem is None
    assert [window.end for window in reading.windows] == [1040.0]


def test_a_clock_that_was_an_hour_ahead_for_a_moment_costs_no_window(wire: Wire) -> None:
    """A machine wakes with a wrong clock, and it is mended a moment later."""
    wire.reader.want(KEY, [ERRORS])
    wire.tick(32)
    wire.now += 3600
    wire.reader.read(wire.now)
    wire.now -= 3600
    wire.tick(30)
    reading = wire.reader.reading(KEY, "errors", "green", 1020.0)
    assert reading.problem is None
    assert [window.end for window in reading.windows] == [1030.0, 1040.0, 1050.0, 1060.0]


def test_forgotten_rollouts_are_asked_no_more(wire: Wire) -> None:
    wire.reader.want(KEY, [ERRORS, GPU])
    wire.tick(12)
    wire.reader.forget(KEY)
    wire.queries.clear()
    wire.tick(30)
    assert wire.queries == []
    found = wire.problem()
    assert found
    assert found.code == "not-read-yet"


def test_a_gauge_is_read_with_its_time_and_grows_old(wire: Wire) -> None:
    wire.reader.want(KEY, [GPU])
    assert isinstance(wire.reader.gauge(KEY, "gpu", "green"), Unknown)
    wire.gpu = {"green-0": ("93", 1001.0), "blue-0": ("20", 1002.0)}
    wire.tick(12)
    assert wire.reader.gauge(KEY, "gpu", "green") == GaugeReading(canary=0.93, stable=0.2, at=1001.0)
    wire.tick(100)
    found = wire.reader.gauge(KEY, "gpu", "green")
    assert isinstance(found, Unknown)
    assert (found.code, "no sample of DCGM_FI_DEV_GPU_UTIL for the pods of 'green'" in found.sentence) == ("no-data", True)
    wire.fault = lambda _: (503, {}, "Service Unavailable")
    wire.tick(40)
    found = wire.reader.gauge(KEY, "gpu", "green")
    assert isinstance(found, Unknown)
    assert found.code == "server-error"


def test_edges_beside_the_objectives_come_with_the_same_query(wire: Wire) -> None:
    wire.buckets = {"25": "1", "50": "2", "100": "4", "250": "5"}
    beside = tuple(LATENCY.question._replace(edge_ms=edge) for edge in (25.0, 50.0, 250.0))
    wire.reader.want(KEY, [replace(LATENCY, beside=beside)])
    wire.tick(12)
    assert len(wire.queries) == 2  # what was there before, and the window
    (window,) = wire.reader.reading(KEY, "latency", "green").windows
    assert (window.canary, window.slower) == (Counts(5, 1), (Slower(25.0, 4, 4), Slower(50.0, 3, 3), Slower(250.0, 0, 0)))
    del wire.buckets["50"]
    wire.tick(10)
    assert [each.edge_ms for each in wire.reader.reading(KEY, "latency", "green").windows[-1].slower] == [25.0, 250.0]
    assert wire.problem("latency") is None
    wire.reader.forget(KEY)
    wire.queries.clear()
    wire.tick(30)
    assert wire.queries == []
