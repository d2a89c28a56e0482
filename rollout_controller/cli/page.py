"""What a screen is made of: spans with a tone, in headlines, tables and labelled paragraphs. Laid out by layout.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "strong", "dim", "good", "bad", "warn", "busy"]


@dataclass(frozen=True)
class Span:
    """A piece of text. `piped` stands in for it where signs and bars are not wanted; `bar` is a percentage drawn as a bar."""

    text: str = ""
    tone: Tone = "plain"
    right: bool = False
    bar: int | None = None
    piped: str | None = None


Row = tuple[Span, ...]
Line = tuple[Span, ...]


@dataclass(frozen=True)
class Head:
    """The first line: the state on the left, where and when on the right."""

    left: Row
    aside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Aligned columns. On a narrow terminal the columns in `drop` go, first one first; then the last one is cut.

    `least`: cut the last one down to so many characters before any other goes; 0: not before.
    """

    rows: tuple[Row, ...]
    indent: int = 0
    drop: tuple[int, ...] = ()
    label: str = ""
    least: int = 0


@dataclass(frozen=True)
class Flow:
    """Spans side by side, going on below where the line is full."""

    spans: Row
    indent: int = 0


@dataclass(frozen=True)
class Para:
    """A label and a text that wraps beside it."""

    label: str
    text: str
    tone: Tone = "plain"
    size: int = 6
    """Characters kept for the label."""


@dataclass(frozen=True)
class Blank:
    """An empty line; never two in a row, never the first or the last."""


Block = Head | Table | Flow | Para | Blank
Page = tuple[Block, ...]
