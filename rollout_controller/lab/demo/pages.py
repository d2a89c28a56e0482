"""From what was seen of a play to the report's values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import pairwise

from rollout_controller.core.explain.numbers import milliseconds, percent_exact
from rollout_controller.grids import verdicts
from rollout_controller.lab.demo import summary
from rollout_controller.lab.demo.record import Played, Record
from rollout_controller.lab.demo.scene import limits
from rollout_controller.lab.demo.summary import Row
from rollout_controller.lab.demo.view import GPU_NOTE
from rollout_controller.lab.traffic import Point, Toll
from rollout_controller.report.model import (
    Band,
    Cell,
    Grid,
    Harm,
    Line,
    Mark,
    Panel,
    Report,
    Role,
    Section,
    Timeline,
    Told,
    Tone,
    Weights,
)

SMOOTH_S = 3
"""Each point of a line is over the last three seconds: at 10 % of the traffic one second has few requests."""
TITLE = "Four versions of a model, one of them good"
Value = Callable[[Point], float | None]

TONES: Mapping[str, Tone] = {"Promoted": "good", "RolledBack": "bad"}


def report(record: Record, end: float, *, made: Mapping[str, str], documents: Mapping[str, str]) -> Report:
    """The whole report, at the end of the play."""
    table = summary.rows(record)
    good = bool(table) and all(one.good for one in table)
    return Report(
        title=TITLE,
        headline=summary.headline(table, len(table)),
        headline_tone="good" if good else "bad",
        intro=(
            "Continuous integration asked for one version after the other. The controller gave each a little traffic, watched "
            "what became of its requests, and went on or went back, by itself. Errors, latencies and requests are counted from "
            "Envoy's access log: what users saw, not what the controller believed."
        ),
        timeline=timeline(record, end),
        summary=_summary(table),
        sections=tuple(_section(played, one, record.toll_of(played)) for played, one in zip(record.played, table, strict=True)),
        made=tuple(made.items()),
        documents=tuple(documents.items()),
    )


def timeline(record: Record, end: float, title: str = TITLE) -> Timeline:
    """The picture of the whole play."""
    allowed = limits(record.policy)
    start = min((played.asked_at for played in record.played), default=record.began_at) - 2.0
    tolls = [record.toll_of(played) for played in record.played]
    return Timeline(
        title=title,
        start=start,
        end=end,
        weights=tuple(Weights(version, tuple(steps)) for version, steps in record.shares.items()),
        panels=(
            Panel(
                "errors",
                "percent",
                _lines(record, start, end, lambda point: point.bucket.failed_share),
                allowed.errors_share,
                f"at most {percent_exact(allowed.errors_share or 0)}",
            ),
            Panel(
                f"p{allowed.quantile * 100:g} latency",
                "ms",
                _lines(record, start, end, lambda point: point.bucket.quantile_ms(allowed.quantile)),
                allowed.latency_ms,
                f"at most {milliseconds(allowed.latency_ms or 0)}",
            ),
        ),
        marks=tuple(_mark(told) for told in record.told),
        bands=tuple(_band(played, end) for played in record.played),
        harms=tuple(
            Harm(toll.first_harm_at, toll.last_request_at)
            for played, toll in zip(record.played, tolls, strict=True)
            if played.act.harm != "none" and toll.first_harm_at is not None and toll.last_request_at is not None
        ),
    )


def _lines(record: Record, start: float, end: float, value: Value) -> tuple[Line, ...]:
    stable, canary = zip(*_hosts(record, start, end), strict=True) if record.roles else ((), ())
    return (_line(record, "stable", stable, value), _line(record, "canary", canary, value))


Stretch = tuple[float, float, str | None]
"""(start, end, host that had the role)."""


def _hosts(record: Record, start: float, end: float) -> Iterator[tuple[Stretch, Stretch]]:
    changes = [*record.roles, (end, None, None)]
    for (begun, stable, canary), (over, _, _) in pairwise(changes):
        left, right = max(begun, start), min(over, end)
        yield (left, right, stable), (left, right, canary)


def _line(record: Record, role: Role, stretches: tuple[Stretch, ...], value: Value) -> Line:
    points: list[tuple[float, float | None]] = []
    before: str | None = None
    for left, right, host in stretches:
        if host != before or host is None:
            points.append((left, None))
        before = host
        if host is not None:
            points += [(point.at, value(point)) for point in record.traffic.points(host, left, right, SMOOTH_S)]
    return Line(role, role, tuple(points))


def _mark(told: Told) -> Mark:
    tone: Tone = "bad" if told.warning else "good" if told.code == "Promoted" else "plain"
    return Mark(told.at, told.code, told.sentence, tone)


def _band(played: Played, end: float) -> Band:
    record = played.record
    outcome = summary.OUTCOMES.get(record.outcome, record.outcome) if record else "did not end"
    name, short = f"version {played.act.version}: {outcome}", f"version {played.act.version}"
    return Band(played.asked_at, played.ended_at or end, name, short, TONES.get(record.outcome, "warn") if record else "warn")


def _summary(table: list[Row]) -> Grid:
    heads = tuple(Cell(text.replace("->", "→"), right=n >= 3) for n, text in enumerate(summary.HEADINGS))
    rows = []
    for one in table:
        tone: Tone = "bad" if not one.good else "good" if one.outcome == "promoted" else "plain"
        rows.append(tuple(Cell(text, tone if n == 1 else "plain", n >= 3) for n, text in enumerate(one.cells)))
    return Grid(heads, tuple(rows))


def _section(played: Played, one: Row, toll: Toll) -> Section:
    record = played.record
    asked = datetime.fromtimestamp(played.asked_at, UTC)
    facts = [
        ("asked for by", f"{played.act.request}, {asked:%H:%M:%S} UTC"),
        ("slot", played.slot),
        ("took", one.cells[5]),
        ("requests on the canary", f"{toll.requests:,}"),
        ("failed", f"{toll.failed:,}"),
        ("slow", f"{toll.slow:,}"),
    ]
    if one.harm_s is not None:
        facts.append(("first harm to last request", summary.seconds(one.harm_s)))
    if record and record.traffic_off_at is not None and record.last_sample_at is not None:
        facts.append(("deciding sample to traffic off", summary.seconds(record.traffic_off_at - record.last_sample_at)))
    sentence = record.reason.sentence if record else "It was still under way when the time was up."
    return Section(
        title=f"Version {played.act.version}: {played.act.what}",
        badge=one.outcome if one.good else f"{one.outcome} - not as it should",
        tone="good" if one.good and one.outcome == "promoted" else "warn" if one.good else "bad",
        sentence=" ".join([sentence, *played.differences]),
        facts=tuple(facts),
        grids=tuple(grid for grid in (_steps(played), verdicts(played.verdicts)) if grid.rows),
    )


def _steps(played: Played) -> Grid:
    record = played.record
    done = record.steps_done if record else ()
    rows = [
        (
            Cell(f"{step.weight} %"),
            Cell("unproven" if step.unproven else "done", "warn" if step.unproven else "good"),
            _s(step.seconds),
        )
        for step in done
    ]
    if record and record.outcome != "Promoted" and record.weight:
        off = record.traffic_off_at or record.ended_at
        spent = off - record.first_traffic_at - sum(s.seconds for s in done) if record.first_traffic_at else None
        rows.append((Cell(f"{record.weight} %"), Cell("left here", "bad"), _s(spent)))
    return Grid((Cell("step"), Cell("how it ended"), Cell("held for", right=True)), tuple(rows), narrow=True)


def _s(value: float | None) -> Cell:
    return Cell("-" if value is None else summary.seconds(value), right=True)


def how(servers: Mapping[str, str], *, rps: float, command: str) -> dict[str, str]:
    """How the play was made, for the last part of the page."""
    named = ", ".join(f"{name} {version}".strip() for name, version in servers.items())
    return {
        "servers": f"{named}: real processes on this machine, one Envoy, two Tritons, one Prometheus that scrapes every second",
        "load": f"{rps:g} requests a second at random times (Poisson): KServe v2, real tensors, none waits for another",
        "harm": "in the models themselves (rollout_controller/lab/models): neither controller nor load knows what a version does",
        "GPU": GPU_NOTE,
        "counted by": "Envoy's access log: failed are answers 5xx; slow are answers over the policy's latency limit",
        "again": command,
    }
