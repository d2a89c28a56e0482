"""A simulation as one SVG: for each version how the canary's weight went in some attempts, and by when how many were decided.

A file of its own: no script, no font and no style from elsewhere; by day and by night.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rollout_controller.replay.attempt import Play, Result
from rollout_controller.replay.figures import figures
from rollout_controller.report import theme
from rollout_controller.report.scale import TimeAxis
from rollout_controller.report.text import cut, esc, since

WIDTH, LEFT, MIDDLE, RIGHT = 1120.0, 58.0, 74.0, 16.0
HEAD, TITLE, PANEL, GAP, FOOT = 64.0, 30.0, 128.0, 26.0, 30.0
HALF = (WIDTH - LEFT - MIDDLE - RIGHT) / 2
DRAWN = 60
"""Attempts whose weights are drawn, of each version."""
_STYLE = (
    ".w{fill:none;stroke-width:1;opacity:.28;stroke-linejoin:round}.wgood{stroke:var(--good)}.wbad{stroke:var(--bad)}"
    ".wplain{stroke:var(--plain)}.curve{fill:none;stroke-width:2;stroke-linejoin:round}.cgood{stroke:var(--good)}"
    ".cbad{stroke:var(--bad)}.cwarn{stroke:var(--canary)}.kgood{fill:var(--good)}.kbad{fill:var(--bad)}.kwarn{fill:var(--canary)}"
)
_TONES = {"promoted": "good", "rolled-back": "bad"}
_CURVES = (("warn", "users off it"), ("bad", "rolled back"), ("good", "promoted"))


@dataclass(frozen=True)
class _Place:
    """The panels of one version."""

    top: float
    weights: TimeAxis
    decided: TimeAxis

    def y(self, share: float) -> float:
        return self.top + PANEL * (1 - share)


def picture(title: str, results: Mapping[str, Sequence[Result]], plays: Mapping[str, Play]) -> str:
    """The SVG. Times are since the canary's first traffic."""
    longest = max((result.lasted_s for some in results.values() for result in some), default=1.0)
    height = HEAD + len(results) * (TITLE + PANEL + GAP) + FOOT
    body: list[str] = [f'<text x="{LEFT:g}" y="24" class="big">{esc(title)}</text>']
    body += [*_keys()]
    place = None
    for number, (name, some) in enumerate(results.items()):
        top = HEAD + number * (TITLE + PANEL + GAP) + TITLE
        place = _Place(top, TimeAxis(0, longest, LEFT, HALF), TimeAxis(0, longest, LEFT + HALF + MIDDLE, HALF))
        steps = [step.weight for step in plays[name].policy.spec.steps]
        body += [*_frame(place, name, some), *_weights(place, some, steps), *_decided(place, some)]
    if place is not None:
        body += [*_times(place.weights, place.top + PANEL), *_times(place.decided, place.top + PANEL)]
    style = f"<style>{theme.colours('svg')}svg{{background:var(--paper)}}{theme.CHART}{_STYLE}</style>"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}" height="{height:g}" viewBox="0 0 {WIDTH:g} {height:g}" '
        f'role="img" aria-label="{esc(title)}">'
    )
    return opening + style + "".join(body) + "</svg>\n"


def _keys() -> Iterator[str]:
    """What the two columns and the colours mean."""
    right = LEFT + HALF + MIDDLE
    yield f'<text x="{LEFT:g}" y="48" class="title">weight of the canary</text>'
    yield f'<text x="{LEFT + 170:g}" y="48" class="small">{DRAWN} attempts at most; red: rolled back, green: promoted</text>'
    yield f'<text x="{right:g}" y="48" class="title">decided by then</text>'
    x = right + 140
    for tone, name in _CURVES:
        yield f'<circle cx="{x:g}" cy="44" r="4" class="k{tone}"/><text x="{x + 9:g}" y="48" class="small">{name}</text>'
        x += 96


def _frame(place: _Place, name: str, some: Sequence[Result]) -> Iterator[str]:
    found = figures(some)
    back = found.outcomes["rolled-back"]
    low, high = back.interval
    line = f"{back.count:,} of {back.total:,} rolled back [{low * 100:.2g}, {high * 100:.3g} %]"
    if found.off.median is not None:
        line += f"; users off it after {since(found.off.median)} in the median"
    yield f'<text x="{LEFT:g}" y="{place.top - 10:g}" class="title">{esc(cut(name, 60))}</text>'
    yield f'<text x="{LEFT + HALF + MIDDLE:g}" y="{place.top - 10:g}" class="small">{esc(line)}</text>'
    for axis in (place.weights, place.decided):
        for share in (0, 0.5, 1):
            y = place.y(share)
            yield f'<line x1="{axis.left:g}" y1="{y:.1f}" x2="{axis.left + axis.width:.1f}" y2="{y:.1f}" class="rule"/>'
            yield f'<text x="{axis.left - 8:g}" y="{y + 4:.1f}" class="tick end">{share * 100:g} %</text>'


def _weights(place: _Place, some: Sequence[Result], steps: Sequence[int]) -> Iterator[str]:
    """The weights of the first attempts; each a hair lower than the one before, so that many are more than one."""
    for number, result in enumerate(some[:DRAWN]):
        lower = number / DRAWN * 0.02
        points: list[tuple[float, float]] = [(0.0, 0.0)]
        for at, weight in result.weights:
            points += [(at, points[-1][1]), (at, weight / 100)]
        points.append((result.lasted_s, points[-1][1]))
        tone = _TONES.get(result.outcome, "plain")
        yield f'<path d="M{_line(place.weights, place, ((t, max(w - lower, 0)) for t, w in points))}" class="w w{tone}"/>'
    for weight in steps[:-1]:
        y = place.y(weight / 100)
        yield f'<text x="{place.weights.left + place.weights.width + 4:.1f}" y="{y + 4:.1f}" class="tick">{weight}</text>'


def _decided(place: _Place, some: Sequence[Result]) -> Iterator[str]:
    """Cumulative shares of all attempts."""
    met = {id(r): r.harm_met_s or 0.0 for r in some}
    times = {
        "warn": [met[id(r)] + r.off_s for r in some if r.off_s is not None],
        "bad": [r.lasted_s for r in some if r.outcome == "rolled-back"],
        "good": [r.lasted_s for r in some if r.outcome == "promoted"],
    }
    for tone, _ in _CURVES:
        there = sorted(times[tone])
        if not there:
            continue
        points = [(0.0, 0.0)]
        for number, at in enumerate(there, start=1):
            points += [(at, points[-1][1]), (at, number / len(some))]
        points.append((place.decided.end, points[-1][1]))
        yield f'<path d="M{_line(place.decided, place, _thinned(points))}" class="curve c{tone}"/>'


def _thinned(points: Sequence[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """At most so many points; the first and last stay."""
    step = max(len(points) // most, 1)
    return [*points[:-1:step], points[-1]]


def _line(axis: TimeAxis, place: _Place, points: Iterable[tuple[float, float]]) -> str:
    return "L".join(f"{axis.x(at):.1f},{place.y(share):.1f}" for at, share in points)


def _times(axis: TimeAxis, bottom: float) -> Iterator[str]:
    for seconds in axis.ticks(about=7):
        x = axis.x(seconds)
        yield f'<line x1="{x:.1f}" y1="{bottom:.1f}" x2="{x:.1f}" y2="{bottom + 4:.1f}" class="rule"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 18:.1f}" class="tick mid">{since(seconds)}</text>'
