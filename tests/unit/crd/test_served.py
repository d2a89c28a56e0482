"""Definitions that are older than the controller are noticed, field by field."""

from __future__ import annotations

import copy

from rollout_controller.api.names import Raw
from rollout_controller.crd.definitions import definitions
from rollout_controller.crd.served import missing_fields


def openapi() -> Raw:
    """As an API server that has just these definitions answers."""
    schemas = {
        f"dev.triton.rollouts.v1alpha1.{definition['spec']['names']['kind']}": definition["spec"]["versions"][0]["schema"][
            "openAPIV3Schema"
        ]
        for definition in copy.deepcopy(definitions()).values()
    }
    return {"components": {"schemas": schemas}}


def test_nothing_is_missing_from_our_own() -> None:
    assert missing_fields(openapi()) == []


def test_each_missing_field_is_named() -> None:
    older = openapi()
    rollout, policy = (
        older["components"]["schemas"][f"dev.triton.rollouts.v1alpha1.{k}"] for k in ("TritonRollout", "RolloutPolicy")
    )
    status = rollout["properties"]["status"]["properties"]
    del status["attempt"]["properties"]["pauseEndsAt"]
    del status["slots"]["additionalProperties"]["properties"]["message"]
    del policy["properties"]["spec"]["properties"]["steps"]["items"]["properties"]["pause"]
    del policy["properties"]["spec"]["properties"]["judge"]
    assert missing_fields(older) == [
        "RolloutPolicy.spec.judge",
        "RolloutPolicy.spec.steps[].pause",
        "TritonRollout.status.attempt.pauseEndsAt",
        "TritonRollout.status.slots{}.message",
    ]


def test_a_newer_definition_lacks_nothing() -> None:
    newer = openapi()
    newer["components"]["schemas"]["dev.triton.rollouts.v1alpha1.RolloutPolicy"]["properties"]["spec"]["properties"]["new"] = {}
    assert missing_fields(newer) == []


def test_no_definition_at_all() -> None:
    assert missing_fields({}) == ["RolloutPolicy", "TritonRollout"]
