"""pydantic's errors in words that say what was read and what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel

from rollout_controller.api.errors import FieldError, meant, near
from rollout_controller.api.names import LABEL_PATTERN, LABEL_WORDS, MODEL_PATTERN, MODEL_WORDS

_UNION_BRANCH = re.compile(r"literal\[.*|[A-Z]\w*|function-.*|constrained-.*")
"""Parts of pydantic's places that name a branch of a union, no field."""

_EXAMPLES = {
    "metadata": "{name: resnet50}",
    "metadata.name": "resnet50",
    "spec.policy": "balanced",
    "route": "{virtualService: triton, http: resnet50}",
    "virtualService": "triton",
    "slots": "{blue: {host: triton-blue}, green: {host: triton-green}}",
    "host": "triton-blue",
    "model": "resnet50",
    "steps": "[{weight: 10}, {weight: 50}, {weight: 100}]",
    "weight": "10",
    "slos": "[{name: errors, source: envoy, errorRate: {max: 1%}}]",
    "name": "errors",
    "source": "envoy",
    "latency.max": "100ms",
    "errorRate.max": "1%",
    "above": "90%",
}
"""By the end of a field's path; the longest that fits is shown."""

_PATTERNS = {
    LABEL_PATTERN: LABEL_WORDS,
    MODEL_PATTERN: MODEL_WORDS,
}
"""Patterns in words."""
_BY_CONTEXT = {
    "string_pattern_mismatch": "text like {pattern}",
    "string_too_long": "at most {max_length} characters",
    "too_long": "at most {max_length} of them",
    "string_too_short": "at least {min_length} character",
}
_WHOLE = ("int_type", "int_parsing", "int_from_float", "int_parsing_size")
_NUMBER = ("float_type", "float_parsing", "finite_number")
_BOUNDS = ("greater_than", "greater_than_equal", "less_than", "less_than_equal")
_MAP = ("model_type", "model_attributes_type", "dict_type")
_LIST = ("tuple_type", "list_type")
_BOOL = ("bool_type", "bool_parsing")


def field_errors(errors: Sequence[Any], kind: type[BaseModel]) -> list[FieldError]:
    """All of pydantic's errors on a document of `kind`, one for each mistake.

    Left out: that a field is missing which was misspelt beside it, and what the other branches of a union say of a value
    whose faulty field is known.
    """
    locs = [_loc(error) for error in errors]
    above = {loc[:length] for loc in locs for length in range(len(loc))}
    unknown = [loc for loc, error in zip(locs, errors, strict=True) if error["type"] == "extra_forbidden"]
    misspelt = {(*loc[:-1], near(str(loc[-1]), _fields(_model_at(kind, loc[:-1])))) for loc in unknown}
    found: dict[tuple[str | int, ...], FieldError] = {}
    for loc, error in zip(locs, errors, strict=True):
        if loc in above or (error["type"] == "missing" and loc in misspelt):
            continue
        fault = field_error(error, kind)
        if (first := found.get(loc)) is not None and first.allowed != fault.allowed:
            fault = FieldError(first.path, first.read, f"{first.allowed}; or {fault.allowed}")
        found[loc] = fault
    return list(found.values())


def _loc(error: Any) -> tuple[str | int, ...]:
    """Where it is, without pydantic's names for the branches of a union."""
    return tuple(part for index, part in enumerate(error["loc"]) if not _is_branch(error["loc"], index))


def field_error(error: Any, kind: type[BaseModel]) -> FieldError:
    """One of pydantic's errors on a document of `kind`."""
    loc = _loc(error)
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    if error["type"] == "extra_forbidden":
        fields = _fields(_model_at(kind, loc[:-1]))
        return FieldError(path, "unknown field", f"allowed here: {', '.join(fields)}{meant(loc[-1], fields)}")
    if error["type"] == "missing":
        example = _example(path)
        return FieldError(path, "is missing", f"for example {loc[-1]}: {example}" if example else "it must be given")
    message = str(error["msg"]).removeprefix("Value error, ")
    read, _, allowed = message.partition("|")
    if allowed:
        return FieldError(path, read, allowed)
    return FieldError(path, f"{shown(error['input'])} was read", _allowed(error, kind, loc) or message[:1].lower() + message[1:])


def shown(value: Any) -> str:
    """A value as it stands in YAML, cut where it is long."""
    try:
        text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _allowed(error: Any, kind: type[BaseModel], loc: tuple[str | int, ...]) -> str | None:
    """What may stand there instead; None where pydantic's own words must do."""
    match error["type"]:
        case "literal_error" | "enum":
            expected = str(error["ctx"]["expected"])
            allowed = f"one of {expected.replace(' or ', ', ')}" if " or " in expected else expected
            return allowed + meant(error["input"], re.findall("'([^']*)'", expected))
        case "string_type":
            return _text(error["input"])
    if error["type"] in _BY_CONTEXT:
        words = _BY_CONTEXT[error["type"]].format(**error["ctx"])
        return _PATTERNS.get(error["ctx"].get("pattern"), words)
    if error["type"] in (*_WHOLE, *_NUMBER, *_BOUNDS):
        return _range(kind, loc, whole=error["type"] not in _NUMBER)
    if error["type"] in _MAP:
        fields = _fields(_model_at(kind, loc))
        return f"a map of fields: {', '.join(fields)}" if fields and error["type"] != "dict_type" else "a map"
    if error["type"] in _LIST:
        example = _example("".join(f".{part}" for part in loc))
        return f"a list, for example {example}" if example else "a list"
    return "true or false" if error["type"] in _BOOL else None


def _text(read: object) -> str:
    if isinstance(read, bool):  # yes, no, on and off are such, too, and what was written is not known any more
        return "text: write it in quotes"
    return f'text: write it in quotes: "{read}"' if isinstance(read, (int, float)) else "text"


def _range(kind: type[BaseModel], loc: tuple[str | int, ...], *, whole: bool) -> str:
    """`a whole number from 1 to 100`, from the field's own constraints."""
    field = next((f for name, f in _members(_model_at(kind, loc[:-1])) if name == loc[-1]), None)
    annotation = getattr(field, "annotation", None)
    limits = [*getattr(field, "metadata", ()), *_metadata(annotation)]
    whole = whole and not _mentions(annotation, float)
    words = "a whole number" if whole else "a number"
    low = next((f"from {x.ge}" for x in limits if isinstance(x, Ge)), None)
    low = low or next((f"over {x.gt}" for x in limits if isinstance(x, Gt)), None)
    high = next((f"to {x.le}" for x in limits if isinstance(x, Le)), None)
    high = high or next((f"and under {x.lt}" for x in limits if isinstance(x, Lt)), None)
    return " ".join(part for part in (words, low, high) if part)


def _metadata(annotation: Any) -> Iterator[Any]:
    """The constraints inside an annotation, however deep (`Annotated[int, Field(ge=0)] | None`)."""
    for item in getattr(annotation, "__metadata__", ()):
        yield item
        yield from getattr(item, "metadata", ())
    for argument in getattr(annotation, "__args__", ()):
        yield from _metadata(argument)


def _mentions(annotation: Any, kind: type) -> bool:
    inside = (*getattr(annotation, "__args__", ()), getattr(annotation, "__origin__", None))
    return annotation is kind or any(_mentions(part, kind) for part in inside if part is not None)


def _is_branch(loc: tuple[str | int, ...], index: int) -> bool:
    part = loc[index]
    below_free_names = index > 0 and loc[index - 1] in ("annotations", "labels")
    return isinstance(part, str) and index > 0 and not below_free_names and _UNION_BRANCH.fullmatch(part) is not None


def _example(path: str) -> str | None:
    """The example whose key is the longest end of the path."""
    names = re.sub(r"\[\d+\]", "", path).lstrip(".").split(".")
    ends = (".".join(names[start:]) for start in range(len(names)))
    return next((_EXAMPLES[end] for end in ends if end in _EXAMPLES), None)


def _members(model: Any) -> list[tuple[str, Any]]:
    return [(f.alias or n, f) for n, f in model.model_fields.items()] if hasattr(model, "model_fields") else []


def _fields(model: Any) -> list[str]:
    return sorted(name for name, _ in _members(model))


def _model_at(kind: type[BaseModel], loc: tuple[str | int, ...]) -> Any:
    """The model that stands at a place; follows the annotations down as far as they lead."""
    here: Any = kind
    for part in loc:
        fields = dict(_members(here))
        if part in fields:
            here = _model_in(fields[part].annotation)
    return here


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if (found := _model_in(argument)) is not None:
            return found
    return None
