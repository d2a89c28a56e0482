"""What a report shows, as plain values. Times are seconds since 1970, shares from 0 to 1, weights percent, latencies ms.

All texts are plain text: whoever turns them into HTML or SVG escapes them, so they may come from anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "good", "bad", "warn"]
Role = Literal["canary", "stable"]


@dataclass(frozen=True)
class Told:
    """Something the controller told people: an Event."""

    at: float
    code: str
    sentence: str
    warning: bool


@dataclass(frozen=True)
class Weights:
    """A version's share of the traffic, as steps: each value holds until the next."""

    version: str
    steps: tuple[tuple[float, int], ...]
    """(time, percent), oldest first."""


@dataclass(frozen=True)
class Line:
    """A series of points; None is a gap."""

    role: Role
    name: str
    points: tuple[tuple[float, float | None], ...]


@dataclass(frozen=True)
class Panel:
    """One SLI over time, with the limit that the policy sets."""

    title: str
    unit: Literal["percent", "ms"]
    """percent: the values are shares from 0 to 1."""
    lines: tuple[Line, ...]
    limit: float | None
    limit_name: str


@dataclass(frozen=True)
class Mark:
    """A decision: what was decided when, by its code and in its sentence."""

    at: float
    code: str
    sentence: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Band:
    """An attempt, from the ask to its end."""

    start: float
    end: float
    name: str
    short: str
    """Where there is no room for the name."""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Harm:
    """From the first bad request on the canary to the last request that reached it."""

    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """The picture: everything over one time axis."""

    title: str
    start: float
    end: float
    weights: tuple[Weights, ...]
    panels: tuple[Panel, ...]
    marks: tuple[Mark, ...]
    bands: tuple[Band, ...]
    harms: tuple[Harm, ...] = ()


@dataclass(frozen=True)
class Cell:
    """A table's cell."""

    text: str
    tone: Tone = "plain"
    right: bool = False


@dataclass(frozen=True)
class Grid:
    """A table with its headings; a heading is aligned as the cells below it."""

    headings: tuple[Cell, ...]
    rows: tuple[tuple[Cell, ...], ...]
    narrow: bool = False
    """As wide as its cells need, not as wide as the page."""


@dataclass(frozen=True)
class Section:
    """One attempt in detail."""

    title: str
    badge: str
    tone: Tone
    sentence: str
    facts: tuple[tuple[str, str], ...]
    grids: tuple[Grid, ...]


@dataclass(frozen=True)
class Report:
    """The whole page."""

    title: str
    headline: str
    headline_tone: Tone
    intro: str
    timeline: Timeline
    summary: Grid
    sections: tuple[Section, ...]
    made: tuple[tuple[str, str], ...]
    """How it was made: name and text."""
    documents: tuple[tuple[str, str], ...] = ()
    """Files as they are: name and content."""
    summary_title: str = "What became of each"
