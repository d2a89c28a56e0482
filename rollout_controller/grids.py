"""PURE: tables of a report about what a status holds."""

from __future__ import annotations

from collections.abc import Sequence

from rollout_controller.api.status import Verdict
from rollout_controller.core.explain.numbers import digits, milliseconds, percent, percent_at_most, percent_exact
from rollout_controller.report.model import Cell, Grid, Tone

_HEADS = ("objective", "verdict", "canary", "limit", "bad of all", "stable", "false alarm at most")


def verdicts(found: Sequence[Verdict]) -> Grid:
    """What was known about each SLO."""
    heads = tuple(Cell(text, right=number >= 4) for number, text in enumerate(_HEADS))
    return Grid(heads, tuple(_verdict(one) for one in found))


def _verdict(one: Verdict) -> tuple[Cell, ...]:
    tones: dict[str, Tone] = {"Violated": "bad", "Satisfied": "good"}
    value = "-"
    if one.value is not None and one.interval is not None:
        value = f"{percent(one.value)} [{digits(one.interval[0])}, {digits(one.interval[1])}]"
    slower = f" slower than {milliseconds(one.limit_ms)}" if one.limit_ms is not None else ""
    return (
        Cell(one.slo),
        Cell(one.verdict.lower(), tones.get(one.verdict, "plain")),
        Cell(value),
        Cell(f"at most {percent_exact(one.objective)}{slower}"),
        Cell(f"{one.bad:,} of {one.requests:,}", right=True),
        Cell("-" if one.stable_value is None else percent(one.stable_value), right=True),
        Cell(percent_at_most(one.false_alarm) if one.false_alarm < 1 else "-", right=True),
    )
