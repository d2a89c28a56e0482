"""PromQL of dashboards and alerts, taken apart."""

from __future__ import annotations

from typing import Any, NamedTuple

import promql_parser

VARIABLES = {
    "$__rate_interval": "1m",
    "$__range": "1h",
    "$__interval": "15s",
}
"""Those of Grafana that are durations; the parser has to be told."""


class Selector(NamedTuple):
    """One selector of series."""

    metric: str
    labels: frozenset[str]
    values: dict[str, str]


def filled(expr: str, values: dict[str, str]) -> str:
    """A panel's query as Grafana sends it. Longer names first: `$slot` is not `$slo` with a t."""
    for name, value in sorted({**VARIABLES, **values}.items(), key=lambda item: -len(item[0])):
        expr = expr.replace(name, value)
    return expr


def selectors(expr: str) -> list[Selector]:
    """Every selector in an expression. Raises ValueError where it does not parse."""
    found: list[Selector] = []

    def look(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = node.matchers.matchers
            found.append(Selector(node.name or "", frozenset(m.name for m in matchers), {m.name: m.value for m in matchers}))
        return True

    promql_parser.walk(promql_parser.parse(expr), look)
    return found
