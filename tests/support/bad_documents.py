"""Documents that can never work, each with the field and the words of the API server. The types refuse all of them, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout_controller.api.names import Raw
from tests.contract import documents

ABSENT = object()
PERCENT = "write a percentage with its sign, from '0%' to '100%', for example '1%' or '0.5%'"
DURATION = "write a duration with its unit, for example '100ms', '90s', '6m' or '1h30m'"
NAME = "a name is lower-case letters, digits, '-' and '.', at most 253"
NOT_RISING = "the weights do not rise; each step more than the one before, for example 10, 25, 50, 100"
ONE_QUESTION = "needs exactly one question: errorRate: {max: 1%} or latency: {quantile: 0.95, max: 100ms}"
TOO_LONG = "a step cannot hold at least longer than at most; minHold (hold.min) no longer than maxHold (undecided.after)"
TWO_SLOTS = "exactly two slots, for example blue and green"
GUARD: Raw = {"name": "gpu", "source": "dcgm", "above": "90%"}
LATENCY: Raw = {"name": "latency", "source": "envoy", "latency": {"max": "100ms"}}
WORKLOADS: Raw = {slot: {"host": slot, "workload": {"name": f"triton-{slot}"}} for slot in ("blue", "green")}
ERRORS: Raw = {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}}


@dataclass(frozen=True)
class Bad:
    """`spec` changes the fields of a good document's spec; `field` and `words`: what the API server says."""

    kind: str
    field: str
    words: str
    spec: Raw

    def document(self, namespace: str) -> Raw:
        good = documents.policy(namespace) if self.kind == "RolloutPolicy" else documents.rollout(namespace)
        spec = {**good["spec"], **self.spec}
        return {**good, "spec": {name: value for name, value in spec.items() if value is not ABSENT}}

    def __str__(self) -> str:
        return f"{self.kind}-{self.field}-{self.words[:20]}".replace(" ", "_")


def _policy(field: str, words: str, **spec: Any) -> Bad:
    return Bad("RolloutPolicy", field, words, spec)


def _rollout(field: str, words: str, **spec: Any) -> Bad:
    return Bad("TritonRollout", field, words, spec)


def _weights(*weights: object) -> list[Raw]:
    return [{"weight": weight} for weight in weights]


BAD = (
    _policy("spec.steps", NOT_RISING, steps=_weights(50, 25, 100)),
    _policy("spec.steps", NOT_RISING, steps=_weights(50, 50, 100)),
    _policy("spec.steps", "the last step must be 100: all traffic on the new version", steps=_weights(10, 50)),
    _policy("spec.steps", "steps is empty; at least one step, and the last must be 100", steps=[]),
    _policy("spec.steps", "Required value", steps=ABSENT),
    _policy("spec.steps", "Too many: 101: must have at most 100 items", steps=_weights(*range(1, 101), 100)),
    _policy("spec.steps[0].weight", "should be less than or equal to 100", steps=_weights(101)),
    _policy("spec.steps[0].weight", "should be greater than or equal to 1", steps=_weights(0, 100)),
    _policy("spec.steps[0].weight", 'must be of type integer: "string"', steps=_weights("10", 100)),
    _policy("spec.steps[0].weight", 'must be of type integer: "number"', steps=_weights(10.5, 100)),
    _policy("spec.steps[0].minHold", DURATION, steps=[{"weight": 100, "minHold": "5"}]),
    _policy("spec.steps[0].pause.duration", DURATION, steps=[{"weight": 100, "pause": {"duration": "soon"}}]),
    _policy("spec", TOO_LONG, hold={"min": "1h"}),
    _policy("spec", TOO_LONG, hold={"min": "1 h 1ms"}, undecided={"after": "1h"}),
    _policy("spec", TOO_LONG, steps=[{"weight": 100, "minHold": "5m", "maxHold": "4m59s"}]),
    _policy("spec.slos", "slos is empty; at least one objective: without one nothing is judged", slos=[]),
    _policy("spec.slos[1]", 'Duplicate value: {"name":"errors"}', slos=[ERRORS, {**LATENCY, "name": "errors"}]),
    _policy("spec.slos[0]", ONE_QUESTION, slos=[{"name": "errors", "source": "envoy"}]),
    _policy("spec.slos[0]", ONE_QUESTION, slos=[{**LATENCY, **ERRORS}]),
    _policy(
        "spec.slos[0]",
        "grace on errors; only a latency SLO may have a grace: errors count at once",
        slos=[{**ERRORS, "grace": "5s"}],
    ),
    _policy("spec.slos[0].name", "a name is lower-case letters, digits and '-', at most 63", slos=[{**ERRORS, "name": "Errors"}]),
    _policy("spec.slos[0].errorRate.max", PERCENT, slos=[{**ERRORS, "errorRate": {"max": "5"}}]),
    _policy("spec.slos[0].errorRate.max", PERCENT, slos=[{**ERRORS, "errorRate": {"max": "101%"}}]),
    _policy("spec.slos[0].errorRate.max", 'must be of type string: "integer"', slos=[{**ERRORS, "errorRate": {"max": 5}}]),
    _policy(
        "spec.slos[0].errorRate.max",
        "more than 0% and at most 50% of the requests may be bad",
        slos=[{**ERRORS, "errorRate": {"max": "0%"}}],
    ),
    _policy(
        "spec.slos[0].errorRate.max",
        "more than 0% and at most 50% of the requests may be bad",
        slos=[{**ERRORS, "errorRate": {"max": "50.1%"}}],
    ),
    _policy(
        "spec.slos[0].errorRate.codes[0]",
        'supported values: "4xx", "5xx"',
        slos=[{**ERRORS, "errorRate": {"max": "1%", "codes": ["3xx"]}}],
    ),
    _policy("spec.slos[0].latency.max", DURATION, slos=[{**LATENCY, "latency": {"max": "100"}}]),
    _policy("spec.slos[0].latency.max", 'must be of type string: "integer"', slos=[{**LATENCY, "latency": {"max": 100}}]),
    _policy(
        "spec.slos[0].latency.quantile", "should be less than 1", slos=[{**LATENCY, "latency": {"max": "1s", "quantile": 1}}]
    ),
    _policy(
        "spec",
        "a guard and an SLO have the same name; a name of its own for each SLO and guard",
        guards=[{**GUARD, "name": "errors"}],
    ),
    _policy("spec.guards[1]", 'Duplicate value: {"name":"gpu"}', guards=[GUARD, GUARD]),
    _policy("spec.guards[0].above", PERCENT, guards=[{**GUARD, "above": "0.9"}]),
    _policy("spec.judge.falseRollback", "more than 0% and less than 50%", judge={"falseRollback": "50%"}),
    _policy("spec.judge.falsePromotion", "more than 0% and less than 50%", judge={"falsePromotion": "0%"}),
    _policy(
        "spec.judge.tolerance.errors",
        "at least 1s; twice the longest hiccup that must be survived",
        judge={"tolerance": {"errors": "500ms"}},
    ),
    _policy("spec.drift.then", 'supported values: "Restore", "Pause", "Abort"', drift={"then": "Ignore"}),
    _policy("spec.compareToStable.tolerance", PERCENT, compareToStable={"tolerance": "0.1"}),
    _rollout("spec.slots", TWO_SLOTS, slots={"blue": {"host": "a"}}),
    _rollout("spec.slots", TWO_SLOTS, slots={"blue": {"host": "a"}, "green": {"host": "b"}, "red": {"host": "c"}}),
    _rollout(
        "spec.slots",
        "both slots have the same host; two different hosts (or subsets): traffic is shifted between them",
        slots={"blue": {"host": "a"}, "green": {"host": "a"}},
    ),
    _rollout(
        "spec.slots",
        "a slot's name is lower-case letters, digits, '-' and '.', at most 253",
        slots={"Blue": {"host": "a"}, "green": {"host": "b"}},
    ),
    _rollout("spec.slots[green].host", NAME, slots={"blue": {"host": "a"}, "green": {"host": "B_2"}}),
    _rollout(
        "spec.slots.blue.workload.kind",
        'supported values: "Deployment", "StatefulSet"',
        slots={"blue": {"host": "a", "workload": {"kind": "Pod", "name": "a"}}, "green": {"host": "b"}},
    ),
    _rollout("spec.route", "Required value", route=ABSENT),
    _rollout("spec.route.virtualService", NAME, route={"virtualService": "Triton"}),
    _rollout("spec.policy", "Too long: may not be more than 253 bytes", policy="p" * 254),
    _rollout(
        "spec.deploy",
        "both image and modelRepository are given; give one of them, or none for external",
        deploy={"image": "triton:{version}", "modelRepository": {"model": "resnet50"}},
    ),
    _rollout(
        "spec.deploy.modelRepository.model",
        "a model is a folder's name: no '/', and no '.' or blank at its beginning",
        deploy={"modelRepository": {"model": "../resnet50"}},
    ),
    _rollout("spec.route.http", "should be at least 1 chars long", route={"virtualService": "triton", "http": ""}),
    _rollout(
        "spec.deploy.image",
        "the image does not hold {version}; for example 'registry/triton:{version}'",
        deploy={"image": "triton:1"},
    ),
    _rollout("spec.deploy.timeout", DURATION, deploy={"timeout": "10"}),
    _rollout(
        "spec.deploy",
        "container is given without image; together with image, or not at all",
        deploy={"container": "triton"},
    ),
    _rollout(
        "spec",
        "deploy.image is given, and a slot has no workload; for example workload: {kind: Deployment, name: triton-blue}",
        deploy={"image": "triton:{version}"},
    ),
    _rollout(
        "spec",
        "scale is given, and a slot has no workload; for example workload: {kind: Deployment, name: triton-blue}",
        scale={"idle": 0},
    ),
    _rollout(
        "spec.slots",
        "both slots have the same workload; a workload of its own for each slot",
        slots={slot: {"host": slot, "workload": {"name": "triton"}} for slot in ("blue", "green")},
    ),
    _rollout(
        "spec",
        "scale.canary is weight with deploy.modelRepository: pods that come later would not have the version;"
        " canary: full, or leave it out",
        deploy={"modelRepository": {"model": "resnet50"}},
        slots=WORKLOADS,
        scale={"canary": "weight"},
    ),
    _rollout(
        "spec.scale.idleAfter",
        "at least 10s: a route needs that long to reach every proxy",
        slots=WORKLOADS,
        scale={"idleAfter": "9s"},
    ),
    _rollout("spec.scale.idleAfter", DURATION, slots=WORKLOADS, scale={"idleAfter": "10"}),
)
