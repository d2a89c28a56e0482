"""The matches of an http route in Envoy's words."""

from __future__ import annotations

import re

from rollout_controller.api.names import Raw
from rollout_controller.cluster.rds_read import Node

_MATCH_FIELDS = ("name", "uri", "method", "headers")
_WAYS = ("exact", "prefix", "regex")
_NOT_RE2 = re.compile(r"\(\?(?:[=!>(]|<[=!]|P=)|\\[1-9Z]|[*+?}]\+|\{\d{4,}|,\d{4,}\}")
"""Lookaround, back-references, atomic groups, possessive repeats, counts over 999: Python knows them, Envoy's RE2 refuses
them - and with them the whole route file, so that Envoy would silently stay with the old weights."""


def matches(node: Node) -> list[Raw]:
    """Envoy's matches, any of which is enough; without any, everything matches."""
    return [_match(entry.map(_MATCH_FIELDS)) for entry in node.list()] or [{"prefix": "/"}]


def _match(entry: Node) -> Raw:
    match: Raw = _path(entry.at("uri")) if entry.has("uri") else {"prefix": "/"}
    headers: list[Raw] = []
    if entry.has("method"):
        headers.append({"name": ":method", "string_match": _string(entry.at("method"))})
    if entry.has("headers"):
        for name, value in entry.at("headers").entries():
            present = value.value in ({}, None)  # Istio's way to ask for a header with any value
            headers.append({"name": name, "present_match": True} if present else {"name": name, "string_match": _string(value)})
    return {**match, "headers": headers} if headers else match


def _path(uri: Node) -> Raw:
    way, value = _way(uri)
    if way == "regex":
        return {"safe_regex": {"regex": value}}
    return {"path" if way == "exact" else "prefix": value}


def _string(node: Node) -> Raw:
    way, value = _way(node)
    return {"safe_regex": {"regex": value}} if way == "regex" else {way: value}


def _way(node: Node) -> tuple[str, str]:
    """`exact`, `prefix` or `regex`, and its text."""
    node = node.map(_WAYS)
    given = [way for way in _WAYS if node.has(way)]
    if len(given) != 1:
        if isinstance(node.value, dict) and set(node.value) <= set(_WAYS):
            node.fault(f"{len(given)} ways to match", "exactly one of exact, prefix, regex")
        return "exact", "/"
    text = node.at(given[0]).text()
    if given[0] == "regex":
        _check_regex(node.at("regex"), text)
    return given[0], text


def _check_regex(node: Node, text: str) -> None:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        node.fault(f"{text!r} is no regular expression: {error}", "RE2 syntax")
        return
    if _NOT_RE2.search(text):
        node.fault(
            f"{text!r} is not in RE2, which Envoy uses", "no lookaround, back-references, possessive repeats; counts up to 999"
        )
