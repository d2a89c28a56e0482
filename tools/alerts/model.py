"""What a rule is."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

RUNBOOKS = "https://runbooks.example.com/rollout-controller"
"""In place of where docs/runbooks is published, which the chart's monitoring.rules.runbooks or `tools.alerts --runbooks` says."""

Severity = Literal["critical", "warning", "info"]


def page(alert: str, runbooks: str) -> str:
    """The URL of an alert's page: `runbooks` with {alert} filled in, or where it has no such place, ALERT.md below it."""
    return runbooks.replace("{alert}", alert) if "{alert}" in runbooks else f"{runbooks.rstrip('/')}/{alert}.md"


class Recording(NamedTuple):
    """A series that is kept: named level:metric:operation, as Prometheus' conventions say."""

    record: str
    expr: str

    def to_raw(self, _runbooks: str) -> dict[str, Any]:
        return {"record": self.record, "expr": self.expr}


class Alert(NamedTuple):
    """`severity`: critical wakes somebody, warning is for the next working hour, info is for who looks.

    `summary` and `description` are Prometheus' templates.
    """

    name: str
    severity: Severity
    expr: str
    holds: str
    summary: str
    description: str

    def to_raw(self, runbooks: str) -> dict[str, Any]:
        said = {"summary": self.summary, "description": self.description, "runbook_url": page(self.name, runbooks)}
        return {
            "alert": self.name,
            "expr": self.expr,
            "for": self.holds,
            "labels": {"severity": self.severity},
            "annotations": said,
        }


class Group(NamedTuple):
    """Rules that are evaluated one after the other."""

    name: str
    rules: tuple[Recording | Alert, ...]

    def to_raw(self, runbooks: str) -> dict[str, Any]:
        return {"name": self.name, "rules": [rule.to_raw(runbooks) for rule in self.rules]}
