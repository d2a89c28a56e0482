"""What is wrong with a document is said as a person would say it."""

from __future__ import annotations

from typing import Any

import pytest

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.meta import parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cluster.patch import apply_patch
from tests.contract.documents import policy, rollout


def faults(kind: Any, document: Any, path: str, value: Any) -> list[FieldError]:
    """The faults of a good document with `value` put at a JSON pointer; `...` removes."""
    change = {"op": "remove", "path": path} if value is ... else {"op": "add", "path": path, "value": value}
    with pytest.raises(InvalidDocument) as caught:
        parse(kind, apply_patch(document, [change], "it"))
    return list(caught.value.errors)


@pytest.mark.parametrize(
    ("pointer", "value", "expected"),
    [
        ("/spec/steps/0/weight", 0, ("spec.steps[0].weight", "0 was read", "a whole number from 1 to 100")),
        ("/spec/steps/0/weight", 101, ("spec.steps[0].weight", "101 was read", "a whole number from 1 to 100")),
        ("/spec/steps/0/weight", "10%", ("spec.steps[0].weight", "'10%' was read", "a whole number from 1 to 100")),
        ("/spec/steps/0/weight", 2.5, ("spec.steps[0].weight", "2.5 was read", "a whole number from 1 to 100")),
        ("/spec/steps/0/weight", True, ("spec.steps[0].weight", "true was read", "a whole number from 1 to 100")),
        ("/spec/steps/0/weight", ..., ("spec.steps[0].weight", "is missing", "for example weight: 10")),
        ("/spec/steps/0/minRequests", -1, ("spec.steps[0].minRequests", "-1 was read", "a whole number from 0")),
        ("/spec/steps", 5, ("spec.steps", "5 was read", "a list, for example [{weight: 10}, {weight: 50}, {weight: 100}]")),
        (
            "/spec/steps/0",
            10,
            ("spec.steps[0]", "10 was read", "a map of fields: maxHold, minHold, minRequests, pause, probe, weight"),
        ),
        (
            "/spec/slos/0/errorRate/max",
            5,
            ("spec.slos[0].errorRate.max", "5 is not a percentage", "write it with its sign, for example '1%' or '0.5%'"),
        ),
        ("/spec/slos/0/errorRate/max", ..., ("spec.slos[0].errorRate.max", "is missing", "for example max: 1%")),
        ("/spec/slos/0/errorRate/codes", ["3xx"], ("spec.slos[0].errorRate.codes[0]", "'3xx' was read", "one of '4xx', '5xx'")),
        (
            "/spec/slos/0/latency",
            {"quantile": 1, "max": "1s"},
            ("spec.slos[0].latency.quantile", "1 was read", "a number from 0.5 and under 1"),
        ),
        (
            "/spec/slos/0/latency",
            {"quantile": "p95", "max": "1s"},
            ("spec.slos[0].latency.quantile", "'p95' was read", "a number from 0.5 and under 1"),
        ),
        ("/spec/slos/0/source", ..., ("spec.slos[0].source", "is missing", "for example source: envoy")),
        (
            "/spec/slos",
            ...,
            ("spec.slos", "is missing", "for example slos: [{name: errors, source: envoy, errorRate: {max: 1%}}]"),
        ),
        ("/spec/drift", {"then": "Nothing"}, ("spec.drift.then", "'Nothing' was read", "one of 'Restore', 'Pause', 'Abort'")),
        (
            "/spec/hold",
            {"minn": "1s"},
            ("spec.hold.minn", "unknown field", "allowed here: min, minRequests, timeout; did you mean 'min'?"),
        ),
        (
            "/spec/slos/0",
            {"name": "e", "source": "envoy", "error_rate": {"max": "1%"}},
            (
                "spec.slos[0].error_rate",
                "unknown field",
                "allowed here: errorRate, grace, latency, name, source; did you mean 'errorRate'?",
            ),
        ),
        (
            "/spec/slos/0/name",
            "Errors!",
            ("spec.slos[0].name", "'Errors!' was read", "lower-case letters, digits and '-', at most 63"),
        ),
        (
            "/spec/drift",
            {"then": "restore"},
            ("spec.drift.then", "'restore' was read", "one of 'Restore', 'Pause', 'Abort'; did you mean 'Restore'?"),
        ),
        ("/spec/steps", [], ("spec.steps", "steps is empty", "at least one step, and the last must be 100")),
        (
            "/spec/hold",
            {"min": "1h"},
            ("spec", "steps[0] holds at least 1h but at most 6m", "minHold (hold.min) no longer than maxHold (undecided.after)"),
        ),
        ("/kind", "Policy", ("kind", "'Policy' was read", "'RolloutPolicy'")),
        ("/metadata", {}, ("metadata.name", "is missing", "for example name: resnet50")),
    ],
)
def test_a_policy(pointer: str, value: Any, expected: tuple[str, str, str]) -> None:
    found = faults(RolloutPolicy, policy("vision"), pointer, value)
    assert FieldError(*expected) in found


@pytest.mark.parametrize(
    ("pointer", "value", "expected"),
    [
        ("/spec/policy", ..., ("spec.policy", "is missing", "for example policy: balanced")),
        ("/spec/policy", 5, ("spec.policy", "5 was read", 'text: write it in quotes: "5"')),
        ("/spec/route/http", True, ("spec.route.http", "true was read", "text: write it in quotes")),
        ("/spec/slots/blue", "triton", ("spec.slots.blue", "'triton' was read", "a map of fields: host, subset, workload")),
        (
            "/spec/slots/blue/hots",
            "x",
            ("spec.slots.blue.hots", "unknown field", "allowed here: host, subset, workload; did you mean 'host'?"),
        ),
        ("/spec/slots", ["a"], ("spec.slots", '["a"] was read', "a map")),
        (
            "/spec/slots/blue/workload",
            {"kind": "Pod", "name": "x"},
            ("spec.slots.blue.workload.kind", "'Pod' was read", "one of 'Deployment', 'StatefulSet'"),
        ),
        ("/metadata/annotations/App", 2, ("metadata.annotations.App", "2 was read", 'text: write it in quotes: "2"')),
    ],
)
def test_a_rollout(pointer: str, value: Any, expected: tuple[str, str, str]) -> None:
    assert FieldError(*expected) in faults(TritonRollout, rollout("vision"), pointer, value)


def test_a_union_is_no_part_of_the_path() -> None:
    found = faults(RolloutPolicy, policy("vision"), "/spec/retreat", {"coolDown": 5})
    assert {error.path for error in found} <= {"spec.retreat", "spec.retreat.coolDown"}


@pytest.mark.parametrize(
    ("pointer", "value", "path", "allowed"),
    [
        ("/spec/retreat", True, "spec.retreat", "a map of fields: coolDown, strikes; or 'off'"),
        ("/spec/retreat", {"strikes": 0}, "spec.retreat.strikes", "a whole number from 1 to 10"),
        (
            "/spec/steps/0",
            {"wieght": 10},
            "spec.steps[0].wieght",
            "allowed here: maxHold, minHold, minRequests, pause, probe, weight; did you mean 'weight'?",
        ),
    ],
)
def test_one_mistake_is_one_fault(pointer: str, value: Any, path: str, allowed: str) -> None:
    (found,) = faults(RolloutPolicy, policy("vision"), pointer, value)
    assert (found.path, found.allowed) == (path, allowed)


def test_a_long_value_is_cut() -> None:
    (found,) = faults(TritonRollout, rollout("vision"), "/spec/slots/blue", ["x" * 1000])
    assert len(found.read) < 100
