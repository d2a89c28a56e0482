"""The timeline as one SVG picture: attempts, decisions, weights by version, and each SLI against its limit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from rollout_controller.report import theme
from rollout_controller.report.model import Band, Harm, Line, Mark, Panel, Timeline, Weights
from rollout_controller.report.scale import TimeAxis, ValueAxis, value_axis
from rollout_controller.report.text import cut, esc, since

WIDTH, LEFT, RIGHT = 1120.0, 58.0, 12.0
BAND_H, MARK_H, WEIGHT_H, PANEL_H = 24.0, 19.0, 132.0, 104.0
HEAD_H, GAP, AXIS_H = 26.0, 14.0, 26.0
MARK_R = 8.0
CHARACTER = 6.6
"""About the width of one character at 12 px."""


def svg(timeline: Timeline, *, standalone: bool) -> str:
    """The picture. Standalone: a file of its own with its own colours; else it takes those of the page around it."""
    axis = TimeAxis(timeline.start, max(timeline.end, timeline.start + 1.0), LEFT, WIDTH - LEFT - RIGHT)
    levels = _levels(timeline.marks, axis)
    head = 34.0 if standalone else 4.0
    poles = head + BAND_H + 8.0
    weights_top = poles + MARK_H * (max(levels, default=-1) + 1) + 8.0 + HEAD_H
    tops = [weights_top + WEIGHT_H + GAP + HEAD_H + n * (PANEL_H + GAP + HEAD_H) for n in range(len(timeline.panels))]
    bottom = tops[-1] + PANEL_H if tops else weights_top + WEIGHT_H
    axes = [_axis_of(panel, top) for panel, top in zip(timeline.panels, tops, strict=True)]
    body = [
        *(_title(timeline) if standalone else ()),
        *_bands(timeline.bands, axis, head, bottom),
        *_harms(timeline.harms, axis, weights_top, bottom),
        *_poles(timeline.marks, axis, levels, poles, bottom),
        *_weights(timeline.weights, axis, weights_top),
        *(piece for panel, scale in zip(timeline.panels, axes, strict=True) for piece in _panel(panel, axis, scale)),
        *_harm_names(timeline.harms, axis, tops[0] if tops else weights_top),
        *_heads(timeline.marks, axis, levels, poles),
        *_time(axis, bottom),
    ]
    style = f"<style>{theme.colours('svg')}svg{{background:var(--paper)}}{theme.CHART}</style>" if standalone else ""
    size = f'width="{WIDTH:g}" height="{bottom + AXIS_H:g}" ' if standalone else ""
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}viewBox="0 0 {WIDTH:g} {bottom + AXIS_H:.0f}" role="img" '
        f'aria-label="{esc(timeline.title)}">'
    )
    return opening + style + "".join(body) + "</svg>"


def _axis_of(panel: Panel, top: float) -> ValueAxis:
    values = [value for line in panel.lines for _, value in line.points if value is not None]
    return value_axis(panel.unit, values, panel.limit, top, PANEL_H)


def _title(timeline: Timeline) -> Iterator[str]:
    yield f'<text x="{LEFT:g}" y="19" class="big">{esc(timeline.title)}</text>'


def _bands(bands: Iterable[Band], axis: TimeAxis, top: float, bottom: float) -> Iterator[str]:
    for band in bands:
        x, width = axis.x(band.start), max(axis.x(band.end) - axis.x(band.start), 2.0)
        room = int((width - 12) / CHARACTER)
        text = band.name if len(band.name) <= room else cut(band.short, room) if room > 2 else ""
        yield f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}" rx="5" class="band"/>'
        yield f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="3" rx="1.5" class="{band.tone}"/>'
        yield f"<g><title>{esc(band.name)}</title>"
        yield f'<text x="{x + 7:.1f}" y="{top + 18:.1f}" class="name">{esc(text)}</text></g>'


def _harms(harms: Iterable[Harm], axis: TimeAxis, top: float, bottom: float) -> Iterator[str]:
    for harm in harms:
        x, width = axis.x(harm.start), max(axis.x(harm.end) - axis.x(harm.start), 2.0)
        yield f'<rect x="{x:.1f}" y="{top:.1f}" width="{width:.1f}" height="{bottom - top:.1f}" class="harm"/>'


def _harm_names(harms: Iterable[Harm], axis: TimeAxis, top: float) -> Iterator[str]:
    for harm in harms:
        middle = (axis.x(harm.start) + axis.x(harm.end)) / 2
        yield f'<text x="{middle:.1f}" y="{top - 7:.1f}" class="harmname mid">harm {harm.end - harm.start:.1f} s</text>'


def _levels(marks: Sequence[Mark], axis: TimeAxis) -> list[int]:
    """On which row each mark's head stands, so that no two overlap."""
    ends: list[float] = []
    levels = []
    for mark in marks:
        x = axis.x(mark.at)
        level = next((n for n, end in enumerate(ends) if x - end >= 2 * MARK_R + 2), len(ends))
        ends[level : level + 1] = [x]
        levels.append(level)
    return levels


def _poles(marks: Sequence[Mark], axis: TimeAxis, levels: Sequence[int], top: float, bottom: float) -> Iterator[str]:
    for mark, level in zip(marks, levels, strict=True):
        x, y = axis.x(mark.at), top + MARK_H * level + 2 * MARK_R
        yield f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{bottom:.1f}" class="pole"/>'


def _heads(marks: Sequence[Mark], axis: TimeAxis, levels: Sequence[int], top: float) -> Iterator[str]:
    for number, (mark, level) in enumerate(zip(marks, levels, strict=True), start=1):
        x, y = axis.x(mark.at), top + MARK_H * level + MARK_R
        yield (
            f"<g><title>{esc(since(mark.at - axis.start))}  {esc(mark.sentence)}</title>"
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{MARK_R:g}" class="{mark.tone}"/>'
            f'<text x="{x:.1f}" y="{y + 3.6:.1f}" class="num">{number}</text></g>'
        )


def _weights(weights: Sequence[Weights], axis: TimeAxis, top: float) -> Iterator[str]:
    yield f'<text x="{LEFT:g}" y="{top - 9:.1f}" class="title">traffic by version</text>'
    for percent in (0, 50, 100):
        y = top + WEIGHT_H * (1 - percent / 100)
        yield f'<line x1="{LEFT:g}" y1="{y:.1f}" x2="{WIDTH - RIGHT:g}" y2="{y:.1f}" class="rule"/>'
        yield f'<text x="{LEFT - 8:g}" y="{y + 4:.1f}" class="tick end">{percent} %</text>'
    for number, (version, pieces) in enumerate(stack(weights, axis.start, axis.end)):
        name, colour = f"version {version}", f"v{number % theme.VERSION_COLOURS}"
        for run in _runs(pieces):
            yield f'<path d="{_area(run, axis, top)}" class="{colour} edge"><title>{esc(name)}</title></path>'
            yield from _inside(name, run, axis, top)


Piece = tuple[float, float, float, float]
"""(start, end, low percent, high percent)."""


def stack(weights: Sequence[Weights], start: float, end: float) -> list[tuple[str, list[Piece]]]:
    """Each version's share on top of the ones before it, from change to change."""
    times = sorted({start, end, *(at for w in weights for at, _ in w.steps if start < at < end)})
    below = [0.0] * (len(times) - 1)
    stacked = []
    for version in weights:
        pieces = []
        for n, (left, right) in enumerate(pairwise(times)):
            share = float(next((percent for at, percent in reversed(version.steps) if at <= left), 0))
            pieces.append((left, right, below[n], below[n] + share))
            below[n] += share
        stacked.append((version.version, pieces))
    return stacked


def _runs(pieces: Iterable[Piece]) -> Iterator[list[Piece]]:
    """The stretches in which there is something."""
    run: list[Piece] = []
    for piece in pieces:
        if piece[3] > piece[2]:
            run.append(piece)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _area(run: Sequence[Piece], axis: TimeAxis, top: float) -> str:
    def y(percent: float) -> float:
        return top + WEIGHT_H * (1 - percent / 100)

    upper = [f"{axis.x(at):.1f},{y(high):.1f}" for left, right, _, high in run for at in (left, right)]
    lower = [f"{axis.x(at):.1f},{y(low):.1f}" for left, right, low, _ in reversed(run) for at in (right, left)]
    return "M" + "L".join([*upper, *lower]) + "Z"


def _inside(name: str, run: Sequence[Piece], axis: TimeAxis, top: float) -> Iterator[str]:
    """The version's name where its area has room for it, in the widest stretch."""
    need = len(name) * CHARACTER + 12
    for left, right, low, high in sorted(run, key=lambda piece: piece[0] - piece[1]):
        x0, x1 = axis.x(left), axis.x(right)
        if x1 - x0 >= need and high - low >= 24:
            y = top + WEIGHT_H * (1 - (low + high) / 200)
            yield f'<text x="{(x0 + x1) / 2:.1f}" y="{y + 4:.1f}" class="inside mid">{esc(name)}</text>'
            return


def _panel(panel: Panel, axis: TimeAxis, scale: ValueAxis) -> Iterator[str]:
    yield f'<text x="{LEFT:g}" y="{scale.top - 9:.1f}" class="title">{esc(panel.title)}</text>'
    x = LEFT + len(panel.title) * 7.5 + 22
    for line in panel.lines:
        yield f'<circle cx="{x:.1f}" cy="{scale.top - 13:.1f}" r="4" class="f{line.role}"/>'
        yield f'<text x="{x + 8:.1f}" y="{scale.top - 9:.1f}" class="small">{esc(line.name)}</text>'
        x += len(line.name) * 6.2 + 30
    for value, name in scale.ticks():
        y = scale.y(value)
        yield f'<line x1="{LEFT:g}" y1="{y:.1f}" x2="{WIDTH - RIGHT:g}" y2="{y:.1f}" class="rule"/>'
        yield f'<text x="{LEFT - 8:g}" y="{y + 4:.1f}" class="tick end">{esc(name)}</text>'
    if panel.limit is not None:
        y = scale.y(panel.limit)
        yield f'<line x1="{LEFT:g}" y1="{y:.1f}" x2="{WIDTH - RIGHT:g}" y2="{y:.1f}" class="limit"/>'
        yield f'<text x="{WIDTH - RIGHT - 6:g}" y="{y - 5:.1f}" class="small limitname end">{esc(panel.limit_name)}</text>'
    for line in sorted(panel.lines, key=lambda drawn: drawn.role, reverse=True):
        yield from _line(line, axis, scale)


def _line(line: Line, axis: TimeAxis, scale: ValueAxis) -> Iterator[str]:
    run: list[tuple[float, float]] = []
    for at, value in (*line.points, (0.0, None)):
        if value is not None:
            run.append((axis.x(at), scale.y(value)))
            continue
        if len(run) == 1:
            yield f'<circle cx="{run[0][0]:.1f}" cy="{run[0][1]:.1f}" r="2" class="f{line.role}"/>'
        elif run:
            path = "L".join(f"{x:.1f},{y:.1f}" for x, y in run)
            base = scale.top + scale.height
            if line.role == "canary":
                closed = f"M{run[0][0]:.1f},{base:.1f}L{path}L{run[-1][0]:.1f},{base:.1f}Z"
                yield f'<path d="{closed}" class="area f{line.role}"/>'
            yield f'<path d="M{path}" class="line {line.role}"/>'
        run = []


def _time(axis: TimeAxis, bottom: float) -> Iterator[str]:
    for seconds in axis.ticks():
        x = axis.x(axis.start + seconds)
        yield f'<line x1="{x:.1f}" y1="{bottom:.1f}" x2="{x:.1f}" y2="{bottom + 4:.1f}" class="rule"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18:.1f}" class="tick mid">{since(seconds)}</text>'
