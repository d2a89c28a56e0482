"""What a simulation found, as a page for people and as data for machines. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.cli.page import Blank, Block, Head, Page, Para, Row, Span, Table, Tone
from rollout_controller.cli.words import count, limit, percent, share_number, span
from rollout_controller.replay.attempt import Outcome, Result
from rollout_controller.replay.figures import Figures, Share, Spread, figures
from rollout_controller.replay.figures import raw as figures_raw
from rollout_controller.replay.world import Harm, World

_FOUND = 0.95
"""Share of bad versions found below which there is a hint."""
_MISSED = (
    "What is missed is missed for lack of requests: a larger first weight or longer steps show more (change the policy and ask"
    " again); `undecided: {then: Pause}` leaves it to a person."
)


@dataclass(frozen=True)
class Shown:
    """A simulation that is over. The first of `results` is the identical version."""

    policy: RolloutPolicy
    file: str
    world: World
    harms: Mapping[str, Harm]
    results: Mapping[str, Sequence[Result]]
    seed: int
    seconds: float

    @cached_property
    def figures(self) -> dict[str, Figures]:
        return {name: figures(results) for name, results in self.results.items()}


def raw(shown: Shown) -> dict[str, Any]:
    """For machines: shares from 0 to 1 (_share), seconds (_s), counts of requests (_requests)."""
    return {
        "policy": shown.policy.metadata.name,
        "file": shown.file,
        "seed": shown.seed,
        "took_s": round(shown.seconds, 1),
        "false_rollback_promised_share": shown.policy.spec.judge.false_rollback,
        "world": shown.world.to_raw(),
        "versions": [
            {"name": name, "harm": shown.harms[name].to_raw() if name in shown.harms else None, **figures_raw(found)}
            for name, found in shown.figures.items()
        ],
    }


def page(shown: Shown) -> Page:
    """Price and gain side by side, then in words."""
    found = shown.figures
    world = shown.world
    where = (
        f"{world.rps:g} requests a second, {limit(world.errors)} errors, p95 {world.p95 * 1000:g} ms",
        f"scrape {world.scrape:g} s",
        f"in {span(shown.seconds)}",
    )
    blocks: list[Block] = [Head((Span(shown.policy.metadata.name, "strong"), Span(shown.file)), where), Blank()]
    blocks += [Table(tuple(_rows(found)), indent=2), Blank()]
    blocks += [Para("", sentence, tone, size=2) for sentence, tone in _words(shown)]
    return tuple(blocks)


def _rows(found: Mapping[str, Figures]) -> list[Row]:
    every = tuple(found.values())
    rows: list[Row] = [(Span(""), *(Span(name, "strong") for name in found))]
    rows.append((Span("attempts", "dim"), *(Span(count(f.attempts)) for f in every)))

    def add(label: str, cells: Sequence[str]) -> None:
        if any(cell != "-" for cell in cells):
            rows.append((Span(label, "dim"), *(Span(cell) for cell in cells)))

    add("rolled back", [_share(f.outcomes["rolled-back"]) for f in every])
    add("promoted", [_share(f.outcomes["promoted"]) for f in every])
    add("  a step unproven", [_share(f.unproven) if f.unproven.count else "-" for f in every])
    others: tuple[tuple[Outcome, str], ...] = (
        ("gave-up", "gave up"),
        ("paused", "paused"),
        ("not-started", "not started"),
        ("unfinished", "not over"),
    )
    for outcome, label in others:
        add(label, [_share(f.outcomes[outcome]) if f.outcomes[outcome].count else "-" for f in every])
    rows.append((Span(""), Span("median (95 %)", "dim")))
    add("users off after", [_times(f.off) for f in every])
    add("verdict after", [_times(f.verdict) for f in every])
    add("promoted after", [_times(f.promotion) for f in every])
    add("failed requests", [_counts(f.failed) for f in every])
    add("slow requests", [_counts(f.slow) for f in every])
    add("needless retreats", [f"{f.needless:.2f} an attempt" if f.needless else "-" for f in every])
    return rows


def _share(share: Share) -> str:
    """`98 % [96, 99]`."""
    low, high = share.interval
    return f"{percent(share.value)} [{share_number(low)}, {share_number(high)}]"


def _times(times: Spread) -> str:
    if times.median is None or times.p95 is None:
        return "-"
    return f"{span(times.median)} ({span(times.p95)})"


def _counts(counts: Spread) -> str:
    if counts.median is None or counts.p95 is None:
        return "-"
    return f"{count(round(counts.median))} ({count(round(counts.p95))})"


def _words(shown: Shown) -> list[tuple[str, Tone]]:
    """What it means, and what would help."""
    (identical, *_), (price, *gains) = tuple(shown.figures), tuple(shown.figures.values())
    promised = shown.policy.spec.judge.false_rollback
    false = price.outcomes["rolled-back"]
    tone: Tone = "good" if false.interval[1] <= promised else "bad" if false.interval[0] > promised else "plain"
    price_words = f"Price: an {identical} was rolled back in {_of(false)} of {count(false.total)} attempts"
    said = [(f"{price_words} (promised: at most {limit(promised)}).", tone)]
    if false.interval[0] > promised:
        said.append(("That is more than promised: this world has hiccups as long as judge.tolerance; raise it.", "bad"))
    for name, found in zip(list(shown.figures)[1:], gains, strict=True):
        said.append((_gain(name, found), "plain"))
    gave_up = price.outcomes["gave-up"].count + price.outcomes["paused"].count
    if gave_up:
        codes = ", ".join(code for code in price.codes if code not in {"Promoted", "RolledBack"})
        said.append((f"An {identical} did not get through in {count(gave_up)} attempts ({codes}); docs/operations.md.", "warn"))
    if any(found.outcomes["rolled-back"].value < _FOUND for found in gains):
        said.append((_MISSED, "warn"))
    return said


def _of(share: Share) -> str:
    return "none" if share.count == 0 else count(share.count)


def _gain(name: str, found: Figures) -> str:
    back = found.outcomes["rolled-back"]
    words = f"Gain: of versions with {name}, {percent(back.value)} are rolled back"
    if found.off.median is not None:
        words += f"; users are off after {span(found.off.median)} in the median"
    if found.verdict.median is not None:
        words += f", the verdict comes after {span(found.verdict.median)}"
    return f"{words}."
