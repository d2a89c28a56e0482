"""Page -> lines, for a terminal of some width or for a pipe. Pure; the colours come later, from the tones."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import replace

from rollout_controller.cli.page import Blank, Block, Flow, Head, Line, Page, Para, Span, Table

ROOMY = 100
"""Characters from which gaps and bars are wide."""
INDENT = 2
_HELD = "\N{NO-BREAK SPACE}"
WIDE_BAR, NARROW_BAR = 40, 24


def lines(page: Page, width: int | None) -> list[Line]:
    """Lines of at most `width` characters; None is a pipe: nothing wrapped, cut, drawn or left out."""
    out: list[Line] = []
    for block in page:
        for line in _block(block, width):
            if line or (out and out[-1]):
                out.append(line)
    while out and not out[-1]:
        out.pop()
    return out


def text(page: Page, width: int | None = None) -> str:
    """The page as plain text, each line ended."""
    return "".join("".join(span.text for span in line).rstrip() + "\n" for line in lines(page, width))


def _block(block: Block, width: int | None) -> Iterator[Line]:
    match block:
        case Blank():
            yield ()
        case Head():
            yield from _head(block, width)
        case Table():
            yield from _table(block, width)
        case Flow():
            yield from _flow(block, width)
        case Para():
            yield from _para(block, width)


def _gap(width: int | None) -> str:
    return "   " if width is None or width >= ROOMY else "  "


def _drawn(span: Span, width: int | None) -> Span:
    """Signs become words in a pipe, bars become strokes on a terminal."""
    if width is None:
        return replace(span, text="" if span.bar is not None else span.text if span.piped is None else span.piped)
    if span.bar is not None:
        size = WIDE_BAR if width >= ROOMY else NARROW_BAR
        return replace(span, text="━" * max(round(span.bar * size / 100), 1 if span.bar > 0 else 0))
    return span


def _head(head: Head, width: int | None) -> Iterator[Line]:
    gap = _gap(width)
    left = _beside([_drawn(span, width) for span in head.left if span.text], gap)
    if width is None:
        yield (*left, Span(gap + ", ".join(head.aside))) if head.aside else left
        return
    aside = " · ".join(head.aside)
    used = sum(len(span.text) for span in left)
    if used + len(gap) + len(aside) <= width:
        yield (*left, Span(" " * (width - used - len(aside))), Span(aside, "dim"))
        return
    yield from _folded(left, width)
    yield (Span(" " * INDENT + aside, "dim"),)


def _folded(line: Line, width: int) -> Iterator[Line]:
    """A headline too long for one line goes on below with its last span."""
    if sum(len(span.text) for span in line) <= width or len(line) < 3:
        yield line
        return
    yield line[:-2]
    for part in textwrap.wrap(line[-1].text, width - INDENT):
        yield (Span(" " * INDENT), replace(line[-1], text=part))


def _beside(row: list[Span], gap: str) -> Line:
    out: list[Span] = []
    for span in row:
        out += [Span(gap), span] if out else [span]
    return tuple(out)


def _lead(label: str, size: int, *, first: bool) -> Span:
    return Span(" " * INDENT + label.ljust(size) + " ", "dim") if first else Span(" " * (INDENT + max(size, len(label)) + 1))


def _table(table: Table, width: int | None) -> Iterator[Line]:
    gap = _gap(width)
    rows = [[_drawn(span, width) for span in row] for row in table.rows]
    columns = max((len(row) for row in rows), default=0)
    rows = [[*row, *[Span()] * (columns - len(row))] for row in rows]
    sizes = [max(len(row[i].text) for row in rows) for i in range(columns)]
    kept = [i for i in range(columns) if sizes[i]]
    room = None if width is None else width - len(_table_lead(table, 0).text)
    needed = [min(size, table.least or size) if i == columns - 1 else size for i, size in enumerate(sizes)]
    for column in table.drop if room is not None else ():
        if sum(needed[i] for i in kept) + len(gap) * (len(kept) - 1) > (room or 0) and column in kept:
            kept.remove(column)
    for number, row in enumerate(rows):
        cells = _cells([row[i] for i in kept], [sizes[i] for i in kept], gap, room)
        yield (_table_lead(table, number), *cells) if any(span.text.strip() for span in cells) else ()


def _table_lead(table: Table, number: int) -> Span:
    return _lead(table.label, Para.size, first=number == 0) if table.label else Span(" " * table.indent)


def _cells(row: list[Span], sizes: list[int], gap: str, room: int | None) -> Line:
    out: list[Span] = []
    for position, (span, size) in enumerate(zip(row, sizes, strict=True)):
        last = position == len(row) - 1
        shown = span.text
        if room is not None and last and len(shown) > room:
            shown = shown[: max(room - 1, 0)].rstrip() + "…"
        padded = shown.rjust(size) if span.right else shown if last else shown.ljust(size)
        out += [replace(span, text=padded)] if last else [replace(span, text=padded), Span(gap)]
        room = None if room is None else room - size - len(gap)
    return tuple(out)


def _flow(flow: Flow, width: int | None) -> Iterator[Line]:
    gap = "     " if width is None or width >= ROOMY else "   "
    here: list[Span] = []
    used = flow.indent
    for span in (_drawn(span, width) for span in flow.spans):
        if width is not None and here and used + len(gap) + len(span.text) > width:
            yield (Span(" " * flow.indent), *_beside(here, gap))
            here, used = [], flow.indent
        used += len(span.text) + (len(gap) if here else 0)
        here.append(span)
    if here:
        yield (Span(" " * flow.indent), *_beside(here, gap))


def _para(para: Para, width: int | None) -> Iterator[Line]:
    lead = _lead(para.label, para.size, first=True)
    room = None if width is None else max(width - len(lead.text), 20)
    wrapped = [para.text] if room is None else _wrapped(para.text, room)
    for number, part in enumerate(wrapped):
        yield (lead if number == 0 else _lead(para.label, para.size, first=False), Span(part, para.tone))


def _wrapped(text: str, room: int) -> list[str]:
    """Lines of at most `room` characters; a number and its `%` or unit stay together."""
    held = re.sub(r"(?<=\d) (?=%|(ms|s)\b)", _HELD, re.sub(r"(?<=\d) of (?=\d)", f"{_HELD}of{_HELD}", text))
    return [part.replace(_HELD, " ") for part in textwrap.wrap(held, room, break_on_hyphens=False)]
