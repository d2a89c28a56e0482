"""One attempt as a page of its own: what is known of it, as the values of a report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import AttemptRecord, RolloutStatus, StepDone, Verdict
from rollout_controller.cli.exits import CommandError
from rollout_controller.core.explain.phase import named, span
from rollout_controller.grids import verdicts
from rollout_controller.report.model import Band, Cell, Grid, Mark, Panel, Report, Section, Timeline, Told, Tone, Weights

MARGIN = 0.06
"""Of the attempt's time is shown before and after it, but at least MARGIN_S."""
MARGIN_S = 10.0
OUTCOMES: dict[str, tuple[str, Tone]] = {
    "Promoted": ("promoted", "good"),
    "RolledBack": ("rolled back", "bad"),
    "Aborted": ("aborted", "warn"),
    "Superseded": ("superseded", "warn"),
    "Failed": ("failed", "bad"),
    "": ("under way", "warn"),
}
AWAY, BACK = "Retreat", "Returned"
"""Codes of what is told when users are taken out of the way, and when they come back."""


@dataclass(frozen=True)
class Past:
    """An attempt, over or under way. Times are seconds since 1970. `verdicts`: as they were at its end, where they are kept."""

    namespace: str
    name: str
    record: AttemptRecord
    over: bool
    verdicts: tuple[Verdict, ...]

    @property
    def outcome(self) -> tuple[str, Tone]:
        return OUTCOMES[self.record.outcome if self.over else ""]

    @property
    def shown(self) -> tuple[float, float]:
        """From when to when a picture of it goes."""
        record = self.record
        margin = max((record.ended_at - record.started_at) * MARGIN, MARGIN_S)
        return record.started_at - margin, record.ended_at + (margin if self.over else 0.0)


def find(rollout: TritonRollout, number: int | None, now: float) -> Past:
    """The attempt of that number; without one the newest. Raises CommandError with those that there are."""
    status, key = rollout.status, rollout.metadata.key
    there = [Past(key.namespace, key.name, record, over=True, verdicts=()) for record in status.attempts]
    if status.attempt is not None:
        there.insert(0, Past(key.namespace, key.name, _so_far(status, now), over=False, verdicts=status.verdicts))
    elif there:
        newest = there[0]
        there[0] = Past(key.namespace, key.name, newest.record, over=True, verdicts=status.verdicts)
    if not there:
        raise CommandError(f"{key.name} has had no attempt yet")
    found = next((past for past in there if number in (None, past.record.number)), None)
    if found is None:
        numbers = ", ".join(str(past.record.number) for past in there)
        raise CommandError(f"nothing is known of attempt {number} of {key.name}; there are {numbers}")
    return found


def _so_far(status: RolloutStatus, now: float) -> AttemptRecord:
    """The attempt under way, as if it ended now."""
    attempt, reason = status.attempt, status.reason
    assert attempt is not None
    assert reason is not None
    return AttemptRecord(
        id=attempt.id,
        number=attempt.number,
        version=attempt.version,
        from_version=status.stable_version,
        request=attempt.request,
        slot=attempt.slot,
        started_at=attempt.started_at,
        first_traffic_at=attempt.first_traffic_at,
        ended_at=now,
        outcome=attempt.ending or "Failed",
        reason=reason,
        steps_done=attempt.steps_done,
        weight=attempt.weight,
        requests=max((v.requests for v in status.verdicts), default=0),
        bad=max((v.bad for v in status.verdicts), default=0),
        last_sample_at=attempt.last_sample_at,
    )


# --- weights -----------------------------------------------------------------------------------------------------


def shares(past: Past, told: Sequence[Told]) -> tuple[tuple[float, int], ...]:
    """The version's percent of the traffic, each until the next, put together from the steps' times and the retreats.

    A step's time stands still in a retreat.
    """
    record = past.record
    if record.first_traffic_at is None:
        return ((record.started_at, 0),)
    away = list(_away(told, record.ended_at))
    steps, at = [(past.shown[0], 0)], record.first_traffic_at
    for step in record.steps_done:
        steps.append((at, step.weight))
        at += step.seconds
        for left, back in away:
            if steps[-1][0] <= left < at:
                steps += [(left, 0), (back, step.weight)]
                at += back - left
    if record.outcome == "Promoted" and past.over:
        return (*steps, (min(at, record.ended_at), 100))
    end = record.traffic_off_at or record.ended_at
    if at < end and record.weight:
        steps.append((at, record.weight))
        steps += [(moment, weight) for left, back in away if left >= at for moment, weight in ((left, 0), (back, record.weight))]
    return (*steps, (end, 0)) if past.over else tuple(steps)


def _away(told: Sequence[Told], end: float) -> Iterator[tuple[float, float]]:
    """When users were out of the way."""
    since: float | None = None
    for each in told:
        if each.code == AWAY and since is None:
            since = each.at
        elif each.code == BACK and since is not None:
            yield since, each.at
            since = None
    if since is not None:
        yield since, end


# --- the page ----------------------------------------------------------------------------------------------------


def report(past: Past, told: Sequence[Told], panels: Sequence[Panel], made: Sequence[tuple[str, str]]) -> Report:
    """The whole page."""
    record, (word, tone) = past.record, past.outcome
    return Report(
        title=f"{past.name}: attempt {record.number}, version {record.version}",
        headline=f"{word}: {record.reason.sentence}" if past.over else record.reason.sentence,
        headline_tone=tone,
        intro=_intro(past),
        timeline=_timeline(past, told, panels),
        summary=_facts(past),
        sections=(_section(past),),
        made=(*made, ("attempt", f"`{record.id}` of {past.namespace}/{past.name}".replace("`", ""))),
        summary_title="In numbers",
    )


def _intro(past: Past) -> str:
    record = past.record
    by = f" by {record.request}" if record.request else ""
    asked = datetime.fromtimestamp(record.started_at, UTC).strftime("%d %b %Y, %H:%M:%S UTC")
    return f"Version {record.version} was asked for{by} on {asked}, to take the place of {named(record.from_version)}."


def _timeline(past: Past, told: Sequence[Told], panels: Sequence[Panel]) -> Timeline:
    record, (word, tone) = past.record, past.outcome
    start, end = past.shown
    mine = shares(past, told)
    rest = tuple((at, 100 - weight) for at, weight in mine)
    name = f"version {record.version}"
    return Timeline(
        title=f"{past.name}, attempt {record.number}",
        start=start,
        end=end,
        weights=(
            Weights(record.from_version or "before", ((start, 100), *rest)),
            Weights(record.version, mine),
        ),
        panels=tuple(panels),
        marks=tuple(_marks(past, told)),
        bands=(Band(record.started_at, record.ended_at, f"{name}: {word}", name, tone),),
    )


def _marks(past: Past, told: Sequence[Told]) -> Iterator[Mark]:
    """What was told; where that is not kept any more, what the record has."""
    record, tone = past.record, past.outcome[1]
    if told:
        for each in told:
            good = each.code == "Promoted"
            yield Mark(each.at, each.code, each.sentence, "bad" if each.warning else "good" if good else "plain")
        return
    yield Mark(record.started_at, "Preparing", f"Version {record.version} was asked for.")
    if record.first_traffic_at is not None:
        yield Mark(record.first_traffic_at, "StepBegun", "It had traffic for the first time.")
    if past.over:
        yield Mark(record.traffic_off_at or record.ended_at, record.reason.code, record.reason.sentence, tone)


def _facts(past: Past) -> Grid:
    record = past.record
    cells: list[tuple[str, str]] = [
        ("took", span(record.ended_at - record.started_at)),
        ("steps done", ", ".join(f"{step.weight} %" for step in record.steps_done) or "none"),
        ("requests on it", f"{record.requests:,}"),
        ("bad", f"{record.bad:,}"),
    ]
    if past.over and record.traffic_off_at is not None and record.last_sample_at is not None:
        cells.append(("deciding sample to traffic off", f"{record.traffic_off_at - record.last_sample_at:.1f} s"))
    heads = tuple(Cell(name, right=True) for name, _ in cells)
    return Grid(heads, (tuple(Cell(text, right=True) for _, text in cells),), narrow=True)


def _section(past: Past) -> Section:
    record, (word, tone) = past.record, past.outcome
    facts = (
        ("attempt", f"{record.number} ({record.id})"),
        ("asked for by", record.request or "-"),
        ("slot", record.slot),
        ("before it", named(record.from_version)),
        ("code", record.reason.code),
    )
    return Section(
        title=f"Version {record.version}",
        badge=word,
        tone=tone,
        sentence=record.reason.sentence,
        facts=facts,
        grids=tuple(grid for grid in (_steps(past), verdicts(past.verdicts)) if grid.rows),
    )


def _steps(past: Past) -> Grid:
    record = past.record
    rows = [_step(step) for step in record.steps_done]
    if record.weight and record.outcome != "Promoted" and record.first_traffic_at is not None:
        spent = (record.traffic_off_at or record.ended_at) - record.first_traffic_at - sum(s.seconds for s in record.steps_done)
        how = Cell("left here", "bad") if past.over else Cell("under way", "warn")
        rows.append((Cell(f"{record.weight} %"), how, Cell(span(max(spent, 0.0)), right=True)))
    return Grid((Cell("step"), Cell("how it ended"), Cell("held for", right=True)), tuple(rows), narrow=True)


def _step(step: StepDone) -> tuple[Cell, ...]:
    how = Cell("unproven", "warn") if step.unproven else Cell("done", "good")
    return Cell(f"{step.weight} %"), how, Cell(span(step.seconds), right=True)
