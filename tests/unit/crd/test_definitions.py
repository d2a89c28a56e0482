"""The CustomResourceDefinitions are made from the types, and are what an API server can take."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.api.meta import parse
from rollout_controller.api.names import Raw
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cluster.store import POLICY, ROLLOUT
from rollout_controller.crd import definitions as making
from rollout_controller.crd import rules
from rollout_controller.crd.definitions import text
from tests.contract import documents

FOLDER = Path(__file__).parents[3] / "helm" / "rollout-controller" / "crds"
PLURALS = ("tritonrollouts", "rolloutpolicies")
definitions = functools.cache(making.definitions)


def nodes(schema: Raw, path: str = "") -> Iterator[tuple[str, Raw]]:
    """Every schema below, with the path that errors would show."""
    yield path, schema
    for name, below in schema.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}".lstrip("."))
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in schema:
            yield from nodes(schema[word], path + mark)


def schema(plural: str) -> Raw:
    found: Raw = definitions()[plural]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


@pytest.mark.parametrize("plural", PLURALS)
def test_the_charts_files_are_what_the_types_say(plural: str) -> None:
    wanted = text(definitions()[plural])
    assert (FOLDER / f"{plural}.yaml").read_text() == wanted, "make them anew: python -m rollout_controller.crd --write"
    assert yaml.safe_load(wanted) == definitions()[plural]
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(f"{name}.yaml" for name in PLURALS)


@pytest.mark.parametrize("plural", PLURALS)
def test_schemas_are_structural(plural: str) -> None:
    for path, node in nodes(schema(plural)):
        assert not {"$ref", "$defs", "anyOf", "oneOf", "allOf", "not", "title", "const", "x-class"} & set(node), path
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields") is True, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert node.get("type") != "array" or isinstance(node["items"], dict), path


@pytest.mark.parametrize("plural", PLURALS)
def test_every_field_is_described(plural: str) -> None:
    bare = [path for path, node in nodes(schema(plural)) if not node.get("description") and path != "metadata"]
    assert [path for path in bare if not path.endswith(("[]", "{}"))] == []


@pytest.mark.parametrize("plural", PLURALS)
def test_client_side_apply_has_room(plural: str) -> None:
    """kubectl apply without --server-side keeps a copy in an annotation of at most 256 KiB."""
    assert len(text(definitions()[plural])) < 128 * 1024


def test_names_are_those_of_the_store() -> None:
    for kind in (ROLLOUT, POLICY):
        definition = definitions()[kind.plural]
        version = definition["spec"]["versions"][0]
        assert f"{definition['spec']['group']}/{version['name']}" == kind.api_version
        assert definition["spec"]["names"]["kind"] == kind.name
        assert ("subresources" in version) is kind.status


def test_nothing_keeps_the_controller_from_writing_its_status() -> None:
    status = schema("tritonrollouts")["properties"]["status"]
    for path, node in nodes(status):
        checks = set(node) - {"description", "type", "format", "properties", "items", "additionalProperties"}
        if path == "conditions":
            assert checks == {"x-kubernetes-list-type", "x-kubernetes-list-map-keys"}
        elif path == "conditions[]":
            assert node["required"] == ["type"]
        else:
            assert checks == set(), path


def test_every_rule_stands_where_it_was_meant_to() -> None:
    """A field that was renamed would lose its rules without a word."""
    places = {*rules.POLICY_RULES, *rules.ROLLOUT_RULES, *rules.UNTYPED, *rules.LIST_KEYS, *rules.MOST}
    for model, alias in places:
        assert alias in {"", *(field.alias for field in model.model_fields.values())}, (model, alias)
    written = [rule["rule"] for plural in PLURALS for _, node in nodes(schema(plural)) for rule in _rules(node)]
    wanted = [rule.rule for place in {*rules.POLICY_RULES, *rules.ROLLOUT_RULES} for rule in rules.rules_at(place)]
    assert set(wanted) <= set(written)
    assert all({rule.rule for rule in found} <= set(written) for found in rules.BY_PATTERN.values())


@pytest.mark.parametrize("plural", PLURALS)
def test_no_pattern_is_left_without_a_sentence(plural: str) -> None:
    assert [path for path, node in nodes(schema(plural)) if "pattern" in node] == []


@pytest.mark.parametrize("plural", PLURALS)
def test_whatever_a_rule_looks_at_is_bounded(plural: str) -> None:
    """An API server refuses a definition whose rules might cost too much."""
    for path, node in nodes(schema(plural)["properties"]["spec"], "spec"):
        bounds = {"string": ("maxLength", "enum", "format"), "array": ("maxItems",)}.get(node.get("type", ""), ())
        assert not bounds or set(bounds) & set(node), path
        assert "additionalProperties" not in node or "maxProperties" in node, path


def test_defaults_are_those_of_the_types() -> None:
    """What an API server fills in means what leaving it out means."""
    policy, rollout = documents.policy("n"), documents.rollout("n")
    filled = _filled(schema("rolloutpolicies")["properties"]["spec"], policy["spec"])
    assert filled["hold"]["min"] == "3m"
    assert parse(RolloutPolicy, {**policy, "spec": filled}) == parse(RolloutPolicy, policy)
    filled = _filled(schema("tritonrollouts")["properties"]["spec"], rollout["spec"])
    assert filled["deploy"] == {"timeout": "10m"}
    assert parse(TritonRollout, {**rollout, "spec": filled}) == parse(TritonRollout, rollout)


def _filled(node: Raw, value: Any) -> Any:
    if isinstance(value, dict) and "properties" in node:
        defaults = {name: below["default"] for name, below in node["properties"].items() if "default" in below}
        value = {**defaults, **value}
        return {name: _filled(node["properties"][name], below) for name, below in value.items()}
    if isinstance(value, dict) and "additionalProperties" in node:
        return {name: _filled(node["additionalProperties"], below) for name, below in value.items()}
    if isinstance(value, list):
        return [_filled(node["items"], below) for below in value]
    return value


def _rules(node: Raw) -> list[Raw]:
    found: list[Raw] = node.get("x-kubernetes-validations", [])
    return found
