"""The last page: what became of each version, as a table for people; and the words that all forms of it share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout_controller.api.status import AttemptRecord
from rollout_controller.lab.demo.record import Played, Record
from rollout_controller.lab.demo.script import Act
from rollout_controller.lab.traffic import Toll

HEADINGS = ("version", "outcome", "why", "harm -> traffic off", "bad requests", "took")
OUTCOMES = {
    "Promoted": "promoted",
    "RolledBack": "rolled back",
    "Aborted": "aborted",
    "Superseded": "superseded",
    "Failed": "failed",
}


@dataclass(frozen=True)
class Row:
    """One attempt. `good`: it ended as it should."""

    version: str
    outcome: str
    why: str
    harm_s: float | None
    bad: int
    took_s: float | None
    good: bool

    @property
    def cells(self) -> tuple[str, ...]:
        harm = "-" if self.harm_s is None else seconds(self.harm_s)
        took = "-" if self.took_s is None else f"{self.took_s:.0f} s"
        return (self.version, self.outcome, self.why, harm, f"{self.bad:,}", took)


def seconds(value: float) -> str:
    """`6.1 s`."""
    return f"{value:.1f} s"


def row(played: Played, toll: Toll) -> Row:
    """One attempt, from what was seen of it and what the access log says."""
    record = played.record
    return Row(
        version=played.act.version,
        outcome=OUTCOMES.get(record.outcome, record.outcome) if record else "did not end",
        why=why(record),
        harm_s=toll.harm_to_off_s if record and record.outcome != "Promoted" else None,
        bad=bad(played.act, toll),
        took_s=played.took_s,
        good=not played.differences,
    )


def rows(record: Record) -> list[Row]:
    return [row(played, record.toll_of(played)) for played in record.played]


def bad(act: Act, toll: Toll) -> int:
    """Bad requests of the canary that users saw: failed ones, slow ones, or for a version without a fault both."""
    return {"failed": toll.failed, "slow": toll.slow}.get(act.harm, toll.failed + toll.slow)


def why(record: AttemptRecord | None) -> str:
    """The reason's numbers, without what the table's other columns say already."""
    if record is None:
        return "still under way when the time was up"
    sentence = record.reason.sentence
    if record.outcome == "Promoted":
        return sentence.partition(": ")[2].rstrip(".") or sentence
    return sentence.partition(", stable ")[0].partition(": false alarm")[0].rstrip(".")


def text_table(table: Sequence[Row]) -> list[str]:
    """Aligned columns of plain text."""
    grid = [HEADINGS, *(one.cells for one in table)]
    sizes = [max(len(line[n]) for line in grid) for n in range(len(HEADINGS))]
    right = {3, 4, 5}
    return [
        "   ".join(
            cell.rjust(size) if n in right else cell.ljust(size) for n, (cell, size) in enumerate(zip(line, sizes, strict=True))
        )
        for line in grid
    ]


def headline(table: Sequence[Row], acts: int) -> str:
    """One sentence: how it went."""
    fine = sum(one.good for one in table)
    if fine == acts:
        return f"All {acts} versions ended as they should, with nobody helping."
    return f"{fine} of {acts} versions ended as they should."
