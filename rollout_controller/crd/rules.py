"""CEL rules: what an API server refuses before it is stored, because it can never work.

They say what the validators of `api` say, in the same words, as far as CEL can; docs/kubernetes.md lists what is left to the
controller. Where CEL cannot compute (a duration with days), a rule lets pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from rollout_controller.api.names import LABEL_PATTERN, LABEL_WORDS, MODEL_PATTERN, MODEL_WORDS, Raw
from rollout_controller.api.policy import ErrorRate, Judge, PolicySpec, Slo, Tolerance
from rollout_controller.api.quantities import DURATION_PATTERN, PERCENT_PATTERN
from rollout_controller.api.rollout import LEAST_IDLE_S, NAME_PATTERN, Deploy, RolloutSpec, Scale
from rollout_controller.api.status import RolloutStatus

Place = tuple[type[BaseModel], str]
"""A model and one of its fields as it is written; '' is the model itself."""


@dataclass(frozen=True)
class Rule:
    """One of `x-kubernetes-validations`: `self` is the value it stands at.

    Messages are plain text: one made by CEL from a number may cost more than an API server allows.
    """

    rule: str
    message: str

    def to_raw(self) -> Raw:
        """As the schema has it."""
        return {"rule": self.rule, "message": self.message}


def _like(value: str, pattern: str) -> str:
    return f"{value}.matches(r'{pattern}')"


def _share(value: str) -> str:
    """The number before the sign of a percentage."""
    return f"double({value}.replace('%', '').trim())"


def _share_between(condition: str) -> str:
    """Holds of every text that is no percentage: another rule says so."""
    return f"!{_like('self', PERCENT_PATTERN)} || {_share('self')} > 100.0 || ({condition.format(_share('self'))})"


def _seconds(value: str) -> str:
    return f"duration({value}.replace(' ', ''))"


def _computable(value: str) -> str:
    """Whether `_seconds` can read it."""
    return f"({_like(value, DURATION_PATTERN)} && !{value}.contains('d'))"


def _subset(slot: str) -> str:
    return f"(has(self[{slot}].subset) ? self[{slot}].subset : '')"


BY_PATTERN: Mapping[str, tuple[Rule, ...]] = {
    PERCENT_PATTERN: (
        Rule(
            f"{_like('self', PERCENT_PATTERN)} && {_share('self')} <= 100.0",
            "write a percentage with its sign, from '0%' to '100%', for example '1%' or '0.5%'",
        ),
    ),
    DURATION_PATTERN: (
        Rule(
            _like("self", DURATION_PATTERN),
            "write a duration with its unit, for example '100ms', '90s', '6m' or '1h30m'",
        ),
    ),
    NAME_PATTERN: (Rule(_like("self", NAME_PATTERN), "a name is lower-case letters, digits, '-' and '.', at most 253"),),
    LABEL_PATTERN: (Rule(_like("self", LABEL_PATTERN), f"a name is {LABEL_WORDS}"),),
    MODEL_PATTERN: (Rule(_like("self", MODEL_PATTERN), f"a model is {MODEL_WORDS}"),),
}
"""Instead of the pattern itself, whose message would be the pattern. The API server shows what was read before the message."""

_MIN_HOLD = "(has(s.minHold) ? s.minHold : self.hold.min)"
_MAX_HOLD = "(has(s.maxHold) ? s.maxHold : self.undecided.after)"

POLICY_RULES: Mapping[Place, tuple[Rule, ...]] = {
    (PolicySpec, "steps"): (
        Rule("self.size() > 0", "steps is empty; at least one step, and the last must be 100"),
        Rule(
            "self.map(s, s.weight).isSorted() && self.all(s, self.exists_one(o, o.weight == s.weight))",
            "the weights do not rise; each step more than the one before, for example 10, 25, 50, 100",
        ),
        Rule(
            "self.size() == 0 || self[self.size() - 1].weight == 100",
            "the last step must be 100: all traffic on the new version",
        ),
    ),
    (PolicySpec, "slos"): (Rule("self.size() > 0", "slos is empty; at least one objective: without one nothing is judged"),),
    (PolicySpec, ""): (
        Rule(
            "!has(self.guards) || self.guards.all(g, !self.slos.exists(o, o.name == g.name))",
            "a guard and an SLO have the same name; a name of its own for each SLO and guard",
        ),
        Rule(
            f"self.steps.all(s, !{_computable(_MIN_HOLD)} || !{_computable(_MAX_HOLD)}"
            f" || {_seconds(_MIN_HOLD)} <= {_seconds(_MAX_HOLD)})",
            "a step cannot hold at least longer than at most; minHold (hold.min) no longer than maxHold (undecided.after)",
        ),
    ),
    (Slo, ""): (
        Rule(
            "has(self.errorRate) != has(self.latency)",
            "needs exactly one question: errorRate: {max: 1%} or latency: {quantile: 0.95, max: 100ms}",
        ),
        Rule(
            "!has(self.grace) || !has(self.errorRate)",
            "grace on errors; only a latency SLO may have a grace: errors count at once",
        ),
    ),
    (ErrorRate, "max"): (
        Rule(_share_between("{0} > 0.0 && {0} <= 50.0"), "more than 0% and at most 50% of the requests may be bad"),
    ),
    **{
        (Judge, name): (Rule(_share_between("{0} > 0.0 && {0} < 50.0"), "more than 0% and less than 50%"),)
        for name in ("falseRollback", "falsePromotion")
    },
    **{
        (Tolerance, name): (
            Rule(
                f"!{_computable('self')} || {_seconds('self')} >= duration('1s')",
                "at least 1s; twice the longest hiccup that must be survived",
            ),
        )
        for name in ("errors", "latency")
    },
}

_WORKLOADS = "self.slots.all(n, has(self.slots[n].workload))"

ROLLOUT_RULES: Mapping[Place, tuple[Rule, ...]] = {
    (RolloutSpec, "slots"): (
        Rule("self.size() == 2", "exactly two slots, for example blue and green"),
        Rule(
            f"self.all(name, name.size() <= 253 && {_like('name', NAME_PATTERN)})",
            "a slot's name is lower-case letters, digits, '-' and '.', at most 253",
        ),
        Rule(
            f"self.all(a, self.all(b, a == b || self[a].host != self[b].host || {_subset('a')} != {_subset('b')}))",
            "both slots have the same host; two different hosts (or subsets): traffic is shifted between them",
        ),
        Rule(
            "self.all(a, self.all(b, a == b || !has(self[a].workload) || !has(self[b].workload)"
            " || self[a].workload != self[b].workload))",
            "both slots have the same workload; a workload of its own for each slot",
        ),
    ),
    (RolloutSpec, ""): (
        Rule(
            f"!has(self.deploy) || !has(self.deploy.image) || {_WORKLOADS}",
            "deploy.image is given, and a slot has no workload; for example workload: {kind: Deployment, name: triton-blue}",
        ),
        Rule(
            f"!has(self.scale) || {_WORKLOADS}",
            "scale is given, and a slot has no workload; for example workload: {kind: Deployment, name: triton-blue}",
        ),
        Rule(
            "!has(self.deploy) || !has(self.deploy.modelRepository) || !has(self.scale) || !has(self.scale.canary)"
            " || self.scale.canary != 'weight'",
            "scale.canary is weight with deploy.modelRepository: pods that come later would not have the version;"
            " canary: full, or leave it out",
        ),
    ),
    (Scale, "idleAfter"): (
        Rule(
            f"!{_computable('self')} || {_seconds('self')} >= duration('{LEAST_IDLE_S:g}s')",
            f"at least {LEAST_IDLE_S:g}s: a route needs that long to reach every proxy",
        ),
    ),
    (Deploy, ""): (
        Rule(
            "!has(self.image) || !has(self.modelRepository)",
            "both image and modelRepository are given; give one of them, or none for external",
        ),
        Rule("!has(self.container) || has(self.image)", "container is given without image; together with image, or not at all"),
    ),
    (Deploy, "image"): (
        Rule("self.contains('{version}')", "the image does not hold {version}; for example 'registry/triton:{version}'"),
    ),
}

UNTYPED: Mapping[Place, Raw] = {
    (PolicySpec, "retreat"): {},
}
"""Fields that may be a map or a word, which no structural schema can say: the API server keeps them as they are.

(To YAML 1.1, which kubectl reads, `off` is false.)
"""

LIST_KEYS: Mapping[Place, str] = {
    (PolicySpec, "slos"): "name",
    (PolicySpec, "guards"): "name",
    (RolloutStatus, "conditions"): "type",
}
"""Lists whose items have a name: used once, and merged by it when several managers apply."""

MOST: Mapping[Place, int] = {(RolloutSpec, "slots"): 8}
"""Entries of a map: without a bound the cost of its rules has none. The rules say what is allowed."""


def rules_at(place: Place) -> tuple[Rule, ...]:
    """All rules of a place."""
    return (*POLICY_RULES.get(place, ()), *ROLLOUT_RULES.get(place, ()))
