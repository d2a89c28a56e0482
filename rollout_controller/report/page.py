"""The report as one HTML page: self-contained, without scripts, readable by day, by night and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rollout_controller.report import theme
from rollout_controller.report.chart import svg
from rollout_controller.report.model import Cell, Grid, Mark, Report, Section
from rollout_controller.report.text import esc, prose, since

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy: whatever a text holds, the page loads and runs nothing."""


def html(report: Report) -> str:
    """The whole page."""
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{esc(POLICY)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{esc(report.title)}</title>",
            f"<style>{theme.colours(':root')}{theme.PAGE}{_scoped(theme.CHART)}</style></head><body>",
            *_body(report),
            "</body></html>\n",
        ]
    )


def _scoped(css: str) -> str:
    """The picture's rules for what is inside of it only."""
    return "".join(f"svg {rule}}}" for rule in css.split("}") if rule)


def _body(report: Report) -> Iterator[str]:
    yield f"<h1>{esc(report.title)}</h1>"
    yield f'<p class="headline {report.headline_tone}">{esc(report.headline)}</p>'
    yield f'<p class="intro">{prose(report.intro)}</p>'
    yield f"<figure>{svg(report.timeline, standalone=False)}{_legend(report.timeline.marks, report.timeline.start)}</figure>"
    yield f"<h2>{esc(report.summary_title)}</h2>"
    yield _grid(report.summary)
    yield "<h2>Step by step</h2>"
    yield from (_section(section) for section in report.sections)
    yield "<h2>How this was made</h2>"
    yield f'<dl class="made">{"".join(f"<dt>{esc(name)}</dt><dd>{esc(text)}</dd>" for name, text in report.made)}</dl>'
    for name, text in report.documents:
        yield f"<details><summary>{esc(name)}</summary><pre>{esc(text)}</pre></details>"


def _legend(marks: Iterable[Mark], start: float) -> str:
    items = "".join(
        f'<li><span class="dot {mark.tone}">{number}</span><span class="when">{since(mark.at - start)}</span>'
        f"<span>{prose(mark.sentence)}</span></li>"
        for number, mark in enumerate(marks, start=1)
    )
    return f'<ol class="marks">{items}</ol>'


def _grid(grid: Grid) -> str:
    heads = "".join(f"<th{_classes(cell)}>{esc(cell.text)}</th>" for cell in grid.headings)
    rows = "".join(f"<tr>{''.join(f'<td{_classes(cell)}>{prose(cell.text)}</td>' for cell in row)}</tr>" for row in grid.rows)
    kind = ' class="narrow"' if grid.narrow else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _classes(cell: Cell) -> str:
    names = " ".join(name for name in ("right" if cell.right else "", "" if cell.tone == "plain" else cell.tone) if name)
    return f' class="{names}"' if names else ""


def _section(section: Section) -> str:
    facts = "".join(f"<div><dt>{esc(name)}</dt><dd>{esc(value)}</dd></div>" for name, value in section.facts)
    return (
        f'<article><h3>{esc(section.title)} <span class="badge {section.tone}">{esc(section.badge)}</span></h3>'
        f'<p>{prose(section.sentence)}</p><dl class="facts">{facts}</dl>{"".join(map(_grid, section.grids))}</article>'
    )
