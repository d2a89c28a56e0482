"""Calm: which news of an attempt decides nothing, so that it can wait for the next turn.

Most windows of most attempts only join what is pending, or speak for the version. Nothing follows from such a window now:
taken in later, with the ones behind it, it leaves the same evidence and the same verdicts, bit for bit (docs/adr/0016). So a
plan says which windows and gauges may wait, and who keeps them fresh asks that before a turn is made of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rollout_controller.core.observation import GaugeReading, SliReading, Unknown, Window


class Quiet(NamedTuple):
    """Which windows of one SLO decide nothing, as long as all of them after `judged_to` (seconds since 1970) are of that kind."""

    judged_to: float
    whole_at: float
    """A window that ends before this joins what is pending, and no question is asked about it yet ..."""
    alarming: float
    """... unless more than this share of the canary's requests is bad: only then can the lane's evidence grow."""
    harmless: float
    """While no window has a larger bad share than this, no evidence of harm grows, whole or not. Less than 0: none is so good."""
    least: float
    """The canary's share of the completed requests: less may be a canary that hangs."""

    def covers(self, windows: Sequence[Window]) -> bool:
        """Whether nothing follows from these windows now."""
        joins = harmless = True
        for _, end, (total, bad), (stable, _), _ in windows:
            if total < self.least * (total + stable):
                return False
            joins = joins and end < self.whole_at and bad <= self.alarming * total
            harmless = harmless and bad <= self.harmless * total
        return joins or harmless


@dataclass(frozen=True)
class Calm:
    """What may wait. Time, documents and slots are not in it: they make turns of their own."""

    canary: str
    """The slot."""
    slos: Mapping[str, Quiet]
    """By name of the SLO."""
    guards: Mapping[str, float]
    """The limit of each guard."""

    def covers(self, windows: Mapping[str, SliReading], gauges: Mapping[str, GaugeReading | Unknown]) -> bool:
        """Whether what is there now, by SLO and guard, can wait. What cannot be seen never can."""
        for name, limit in self.guards.items():
            gauge = gauges[name]
            if isinstance(gauge, Unknown) or gauge.canary > limit:
                return False
        return all(windows[name].problem is None and quiet.covers(windows[name].windows) for name, quiet in self.slos.items())
