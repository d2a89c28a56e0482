"""What a rule is."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

RUNBOOKS = "https://runbooks.example.com/rollout-controller"
"""Where docs/runbooks is published; everybody has another place. The chart's monitoring.rules.runbooks goes in its stead."""

Severity = Literal["critical", "warning", "info"]


class Recording(NamedTuple):
    """A series that is kept: named level:metric:operation, as Prometheus' conventions say."""

    record: str
    expr: str

    def to_raw(self) -> dict[str, Any]:
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

    def to_raw(self) -> dict[str, Any]:
        said = {"summary": self.summary, "description": self.description, "runbook_url": f"{RUNBOOKS}/{self.name}.md"}
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

    def to_raw(self) -> dict[str, Any]:
        return {"name": self.name, "rules": [rule.to_raw() for rule in self.rules]}
