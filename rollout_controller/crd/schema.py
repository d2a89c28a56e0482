"""pydantic type -> structural schema: what an API server takes as the schema of a custom resource.

pydantic's own JSON schema says what may be written; here its references are written out, its unions are resolved, and
docstrings, defaults as people write them, and CEL rules are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import PydanticUndefined, core_schema

from rollout_controller.api.names import Raw
from rollout_controller.crd.docstrings import class_docstring, field_docstrings
from rollout_controller.crd.rules import BY_PATTERN, LIST_KEYS, MOST, UNTYPED, Rule, rules_at

_CLASS = "x-class"
_PLAIN = ("type", "format")
_CHECKS = ("minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "enum")


def structural(model: type[BaseModel], *, ours: bool) -> Raw:
    """The structural schema of a model, with everything below it.

    `ours`: only the controller writes it, so it has types and descriptions, but neither checks nor defaults nor required fields.
    A check there could only keep the controller from saying what happened, for example one that knows a phase more.
    """
    raw = model.model_json_schema(by_alias=True, schema_generator=_Generator)
    return _Writer(raw.get("$defs", {}), ours=ours).model(raw)


class _Generator(GenerateJsonSchema):
    """Marks every model's schema with its class, and writes defaults as people do (`2m`, not 120.0)."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        raw = super().model_schema(schema)
        model: type[BaseModel] = schema["cls"]
        raw[_CLASS] = model
        for name, field in model.model_fields.items():
            below = raw["properties"][field.alias or name]
            below.pop("default", None)
            if (default := _default(field)) is not None:
                below["default"] = default
        return raw


def _default(field: FieldInfo) -> Any:
    """What stands there when nothing is written, as JSON; None for nothing, and for an empty list or map."""
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None or value in ((), {}):
        return None
    if isinstance(value, BaseModel):  # its fields have defaults of their own
        return {}
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(kind).dump_python(value, mode="json", by_alias=True)


class _Writer:
    """Writes structural schemas out of the definitions of one JSON schema."""

    def __init__(self, definitions: Mapping[str, Raw], *, ours: bool) -> None:
        self._definitions = definitions
        self._ours = ours

    def model(self, raw: Raw) -> Raw:
        """A model with its fields."""
        model: type[BaseModel] = raw[_CLASS]
        texts = field_docstrings(model)
        names = {field.alias or name: name for name, field in model.model_fields.items()}
        written: Raw = {"description": class_docstring(model), "type": "object"}
        if raw.get("required") and not self._ours:
            written["required"] = raw["required"]
        written["properties"] = {
            alias: self._field(below, (model, alias), texts.get(names[alias], "")) for alias, below in raw["properties"].items()
        }
        return self._ruled(written, rules_at((model, "")))

    def _field(self, raw: Raw, place: tuple[type[BaseModel], str], text: str) -> Raw:
        if place in UNTYPED:
            return {"description": text, "x-kubernetes-preserve-unknown-fields": True, **UNTYPED[place]}
        written = {"description": "", **self._value(raw)}
        choices = _choices(self._resolved(raw)) if self._ours else ""
        written["description"] = " ".join(filter(None, (text or written["description"], choices)))
        if (key := LIST_KEYS.get(place)) is not None:
            written |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
            written["items"]["required"] = sorted({*written["items"].get("required", ()), key})
        if place in MOST:
            written["maxProperties"] = MOST[place]
        if "default" in raw and not self._ours:
            written["default"] = raw["default"]
        return self._ruled(written, rules_at(place))

    def _value(self, raw: Raw) -> Raw:
        """Anything: a model, a list, a map, a scalar."""
        raw = self._resolved(raw)
        if _CLASS in raw:
            return self.model(raw)
        written: Raw = {name: raw[name] for name in (*_PLAIN, *(() if self._ours else _CHECKS)) if name in raw}
        for name, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
            if name in raw and not self._ours:
                written |= {bound: raw[name], name: True}
        if raw.get("type") == "array":
            written["items"] = self._value(raw.get("items") or raw["prefixItems"][0])
        if isinstance(raw.get("additionalProperties"), dict):
            written["additionalProperties"] = self._value(raw["additionalProperties"])
        if "pattern" not in raw or self._ours:
            return written
        if raw["pattern"] in BY_PATTERN:
            return self._ruled(written, BY_PATTERN[raw["pattern"]])
        return {**written, "pattern": raw["pattern"]}

    def _resolved(self, raw: Raw) -> Raw:
        """Without references, and without the `null` of what may be absent: an API server takes nulls as absent."""
        if "anyOf" in raw:
            kinds = [below for below in raw["anyOf"] if below.get("type") != "null"]
            if len(kinds) != 1:
                raise ValueError(f"a union of {len(kinds)} kinds has no structural schema; name its place in UNTYPED: {raw}")
            raw = {**kinds[0], **{name: value for name, value in raw.items() if name != "anyOf"}}
        if "$ref" in raw:
            raw = {**self._definitions[raw["$ref"].removeprefix("#/$defs/")], **raw}
        return {**raw, "enum": [raw["const"]]} if "const" in raw else raw

    def _ruled(self, written: Raw, rules: tuple[Rule, ...]) -> Raw:
        if self._ours or not rules:
            return written
        before = written.get("x-kubernetes-validations", [])
        return {**written, "x-kubernetes-validations": [*before, *(rule.to_raw() for rule in rules)]}


def _choices(raw: Raw) -> str:
    """In words what an enum would say."""
    return f"One of {', '.join(map(str, raw['enum']))}." if "enum" in raw else ""
