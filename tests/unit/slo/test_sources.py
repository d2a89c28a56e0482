"""Sources as data: what ships is right, what is wrong is said with its place, and impossible policies are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import Slot, TritonRollout, Workload
from rollout_controller.slo.sources import CountSource, GaugeSource, check_policy, load_sources, parse_source
from rollout_controller.slo.wants import Question, edges_beside, wants_of

SOURCES = load_sources()


def policy(slos: list[dict[str, Any]], guards: list[dict[str, Any]] | None = None) -> RolloutPolicy:
    spec = {"steps": [{"weight": 100}], "slos": slos, "guards": guards or []}
    raw = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "p"}, "spec": spec}
    return parse(RolloutPolicy, raw)


def errors(source: str, **rate: Any) -> dict[str, Any]:
    return {"name": "errors", "source": source, "errorRate": {"max": "1%", **rate}}


def latency(source: str, limit: str) -> dict[str, Any]:
    return {"name": "latency", "source": source, "latency": {"max": limit}}


GUARD = {"name": "gpu", "source": "dcgm", "above": "90%"}


def test_the_shipped_sources_load() -> None:
    assert set(SOURCES) == {"envoy", "istio", "istio-grpc", "dcgm"}


@pytest.mark.parametrize("source", ["envoy", "istio", "istio-grpc"])
@pytest.mark.parametrize("limit", ["500ms", "0.5ms", "1ms", "1m", "1h"])
def test_a_policy_that_can_work_has_no_fault(source: str, limit: str) -> None:
    assert check_policy(policy([errors(source), latency(source, limit)], [GUARD]), SOURCES) == []


@pytest.mark.parametrize(
    ("slo", "path", "read", "allowed"),
    [
        (errors("isto"), "source", "'isto' is not a source", "did you mean 'istio'?"),
        (errors("dcgm"), "source", "'dcgm' is a gauge", "envoy, istio, istio-grpc"),
        (
            latency("istio", "120ms"),
            "latency.max",
            "120ms is not a bucket edge of source 'istio'",
            "edges near it: 100ms, 250ms.",
        ),
        (latency("istio", "0.2ms"), "latency.max", "0.2ms is not", "edges near it: 0.5ms."),
        (latency("envoy", "20h"), "latency.max", "72000000ms is not", "edges near it: 3600000ms."),
        (errors("istio-grpc", codes=["4xx"]), "errorRate.codes", "has no classes of status", "leave codes out"),
        (latency("nothing", "1s"), "source", "'nothing' is not a source", "known: dcgm, envoy"),
        (errors("nothing"), "source", "'nothing' is not a source", "known: dcgm, envoy"),
        (latency("only-errors", "1s"), "latency", "has no latency histogram", "another source"),
        (errors("only-latency"), "errorRate", "counts no errors", "another source"),
        (errors("only-errors", codes=["4xx"]), "errorRate.codes", "has no class 4xx", "of 5xx"),
    ],
)
def test_a_policy_that_can_never_work_is_refused_with_its_place(slo: dict[str, Any], path: str, read: str, allowed: str) -> None:
    counter = {"metric": "m", "label": "code", "classes": {"5xx": "5.."}}
    base = {"kind": "counts", "identity": {"host": "{host}"}}
    more = {
        "only-errors": parse_source({"name": "only-errors", "errors": counter, **base}, "x"),
        "only-latency": parse_source({"name": "only-latency", "latency": {"metric": "m", "edgesMs": [1]}, **base}, "x"),
    }
    (fault,) = check_policy(policy([{"name": "a", "source": "envoy", "errorRate": {"max": "1%"}}, slo]), {**SOURCES, **more})
    assert fault.path == f"spec.slos[1].{path}"
    assert read in fault.read
    assert allowed in fault.allowed


@pytest.mark.parametrize(("source", "read"), [("gpu", "'gpu' is not a source"), ("istio", "'istio' counts requests")])
def test_a_guard_needs_a_gauge(source: str, read: str) -> None:
    (fault,) = check_policy(policy([errors("istio")], [{**GUARD, "source": source}]), SOURCES)
    assert (fault.path, read in fault.read) == ("spec.guards[0].source", True)


@pytest.mark.parametrize(
    ("change", "path", "read"),
    [
        ({"kind": "counter"}, "kind", "'counter' was read"),
        ({"identity": {"x": "{pod}"}}, "identity", "{pod} in x means nothing"),
        ({"identity": {"a b": "{host}"}}, "identity", "'a b' is not a label name"),
        ({"metrics": 1}, "metrics", "unknown field"),
        ({"latency": {"metric": "m", "edgesMs": [5, 5]}}, "latency.edgesMs", "edgesMs do not rise"),
        ({"errors": {"metric": "m", "label": "c"}}, "errors", "needs classes or good"),
        ({"errors": {"metric": "m", "label": "c", "good": "("}}, "errors", "'(' is not a regular expression"),
    ],
)
def test_a_bad_source_file_is_refused_with_file_and_place(change: dict[str, Any], path: str, read: str, tmp_path: Path) -> None:
    raw = {"name": "mine", "kind": "counts", "identity": {"x": "{host}"}, **change}
    (tmp_path / "mine.yaml").write_text(str(raw))
    with pytest.raises(InvalidDocument) as caught:
        load_sources(tmp_path)
    (fault,) = [f for f in caught.value.errors if f.path == path]
    assert read in fault.read
    assert str(tmp_path / "mine.yaml") in str(fault)


def test_a_file_of_ones_own_replaces_a_shipped_source(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "{name: envoy, kind: counts, identity: {envoy_cluster_name: 'outbound|8000|{subset}|{host}'}}"
    )
    source = load_sources(tmp_path)["envoy"]
    assert isinstance(source, CountSource)
    assert source.identify(Slot(host="triton", subset="v2"), "ns") == ("outbound|8000|v2|triton",)


def test_identities_of_slots_with_and_without_workload() -> None:
    istio, dcgm = SOURCES["istio"], SOURCES["dcgm"]
    slot = Slot(host="triton-blue", workload=Workload(name="triton-b"))
    assert istio.identify(slot, "vision") == ("triton-b", "vision")
    assert istio.identify(Slot(host="triton-blue"), "vision") == ("triton-blue", "vision")
    assert dcgm.identify(slot, "vision") == ("vision", "triton-b", "Deployment")


@pytest.mark.parametrize(
    ("kind", "pod", "mine"),
    [
        ("Deployment", "triton-7d9f8c6b5-x2x4z", True),
        ("Deployment", "triton-green-7d9f8c6b5-x2x4z", False),
        ("StatefulSet", "triton-11", True),
        ("StatefulSet", "triton-green-11", False),
        ("", "triton", True),
        ("", "triton-0", True),
        ("", "tritons-0", False),
    ],
)
def test_pods_are_found_by_the_name_of_their_workload(kind: str, pod: str, mine: bool) -> None:
    dcgm = SOURCES["dcgm"]
    assert isinstance(dcgm, GaugeSource)
    assert dcgm.is_pod(pod, "triton", kind) is mine


def test_a_rollout_wants_each_slo_and_guard_of_both_slots() -> None:
    raw = {
        "apiVersion": "rollouts.triton.dev/v1alpha1",
        "kind": "TritonRollout",
        "metadata": {"name": "r", "namespace": "vision"},
        "spec": {"policy": "p", "route": {"virtualService": "t"}, "slots": {"blue": {"host": "b"}, "green": {"host": "g"}}},
    }
    wants = wants_of(parse(TritonRollout, raw), policy([errors("envoy"), latency("istio", "100ms")], [GUARD]), SOURCES)
    assert [w.question for w in wants] == [
        Question("envoy", "errors", codes=("5xx",)),
        Question("istio", "latency", edge_ms=100.0),
        Question("dcgm", "gauge"),
    ]
    assert not any(want.beside for want in wants)
    assert [w.identities["green"] for w in wants] == [("g",), ("g", "vision"), ("vision", "g", "")]


@pytest.mark.parametrize(("limit", "edges"), [(100.0, (25, 50, 250)), (0.5, (1,)), (5.0, (0.5, 1, 10))])
def test_latency_is_compared_with_stable_at_the_edges_beside_the_objectives(limit: float, edges: tuple[float, ...]) -> None:
    assert edges_beside(SOURCES["envoy"], limit) == edges
