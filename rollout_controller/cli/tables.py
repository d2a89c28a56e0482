"""Pages of many lines: all rollouts, the attempts of one, and everything that is known about one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rollout_controller.cli.build import ACTIVE
from rollout_controller.cli.card import PHASE_TONES, STATE_TONES, head, reasons, slots, still_takes_s, what_next
from rollout_controller.cli.info import CheckInfo, Info, PastInfo
from rollout_controller.cli.page import Blank, Block, Flow, Page, Para, Row, Span, Table, Tone
from rollout_controller.cli.words import count, day_and_clock, percent, span

URGENCIES = ("person", "watch", "busy", "calm")
OUTCOME_TONES: dict[str, Tone] = {
    "Promoted": "good",
    "RolledBack": "bad",
    "Failed": "bad",
    "Aborted": "warn",
    "Superseded": "dim",
}
EXPLAIN_LABEL = 10
WIDEST_LABEL = 24
"""A longer name of a check moves its own line only."""


@dataclass(frozen=True)
class EventInfo:
    """Something the controller told about a rollout."""

    at: float | None
    code: str
    sentence: str
    warning: bool
    times: int


def listing(infos: Sequence[Info], *, wide: bool = False, spaces: bool = False) -> Page:
    """One line a rollout; those that need a person come first. Namespaces where there are several, or on request (`spaces`)."""
    ordered = sorted(infos, key=_rank)
    several = spaces or len({info.namespace for info in infos}) > 1
    titles = ("NAMESPACE" if several else "", "NAME", "PHASE", "VERSION", "CANARY", "SINCE", *(("ASKED",) if wide else ()), "WHY")
    header = tuple(Span(title, "dim") for title in titles)
    return (
        Table((header, *(_line(info, several=several, wide=wide) for info in ordered)), drop=() if wide else (5, 4, 3), least=24),
    )


def _rank(info: Info) -> tuple[int, int, str, str]:
    worst = ("Stalled", "RolledBack", "Paused")
    phase = worst.index(info.phase) if info.phase in worst else len(worst)
    return (URGENCIES.index(info.urgency), phase, info.namespace, info.name)


def _line(info: Info, *, several: bool, wide: bool) -> Row:
    canary = next((s for s in info.slots if s.role == "canary"), None)
    active = info.phase in ACTIVE and info.attempt is not None
    share = canary.seen_percent if canary is not None and canary.seen_percent is not None else None
    asked = (Span(" ".join(filter(None, (info.ask.version, info.ask.request))) or "-"),) if wide else ()
    why = _late(info) or info.refused or _pending(info) or info.sentence or "nothing has been asked for yet"
    return (
        Span(info.namespace if several else ""),
        Span(info.name, "strong"),
        Span(info.phase, PHASE_TONES.get(info.phase, "busy")),
        _versions(info),
        Span(f"{share} %" if active and share is not None else "-", right=True),
        Span(_since(info), "dim"),
        *asked,
        Span(why, "warn" if info.late_s is not None or info.refused else "plain"),
    )


def _pending(info: Info) -> str:
    waits = not info.ask.taken_up and info.phase != "Stalled"
    return f"Version {info.ask.version} is asked for and was not taken up yet." if waits else ""


def _late(info: Info) -> str:
    return f"No controller has looked for {span(info.late_s)}." if info.late_s is not None else ""


def _versions(info: Info) -> Span:
    serving = info.stable_version or "?"
    if info.phase in ACTIVE and info.attempt is not None:
        return Span(f"{serving} → {info.attempt.version}", piped=f"{serving}->{info.attempt.version}")
    return Span(serving)


def _since(info: Info) -> str:
    if info.phase in ACTIVE and info.attempt is not None:
        return span(info.attempt.elapsed_s)
    return f"{span(info.result.ended_ago_s)} ago" if info.result is not None else "-"


def history(info: Info) -> Page:
    """The last ten attempts, newest first."""
    if not info.history:
        return (Flow((Span(f"{info.name} has no attempt behind it yet."),)),)
    titles = ("#", "VERSION", "OUTCOME", "ENDED (UTC)", "TOOK", "REACHED", "BAD", "REQUEST", "WHY")
    header = tuple(Span(title, "dim", right=title in {"#", "REACHED", "BAD"}) for title in titles)
    return (Table((header, *(_past(past) for past in info.history)), drop=(7, 3, 4, 6), least=24),)


def _past(past: PastInfo) -> Row:
    return (
        Span(str(past.number), right=True),
        Span(past.version, "strong"),
        Span(
            past.outcome + (" unproven" if past.outcome == "Promoted" and past.unproven else ""),
            OUTCOME_TONES.get(past.outcome, "plain"),
        ),
        Span(day_and_clock(past.ended_at) if past.ended_at is not None else "-", "dim"),
        Span(span(past.took_s)),
        Span(f"{past.weight_percent} %", right=True),
        Span(f"{count(past.bad)} of {count(past.requests)}" if past.requests else "-", right=True),
        Span(past.request or "-", "dim"),
        Span(past.sentence),
    )


def explanation(info: Info, policy: dict[str, str], events: Sequence[EventInfo], command: str) -> Page:
    """Everything that is known: what is judged and how, what the policy says, and what was told so far."""
    blocks: list[Block] = [head(info), slots(info), Blank(), *reasons(info), *what_next(info, command), Blank()]
    size = max(EXPLAIN_LABEL, *(min(len(check.name), WIDEST_LABEL) for check in info.checks), 0)
    if info.code:
        blocks.append(Para("code", info.code, "dim", size))
    blocks += [Para(check.name, f"{check.state}: {_told(info, check)}", STATE_TONES[check.state], size) for check in info.checks]
    blocks += [Blank(), *(Para(label, text, size=size) for label, text in policy.items()), Blank()]
    return (*blocks, *_told_so_far(events))


def _told(info: Info, check: CheckInfo) -> str:
    """The sentence, what speaks against the version so far, and what is still needed."""
    words = check.sentence
    if words and not words.endswith((".", "?", "!")):
        words += "."
    if not words:
        words = (percent(check.value_share) if check.value_share is not None else check.unknown_code or "no data yet") + "."
    chance = check.false_alarm_share
    if chance is not None and check.requests and check.state in {"fine", "undecided"}:
        words += f" Evidence of harm: false alarm at most {percent(chance)}." if chance < 1 else " No evidence of harm."
    if check.state == "undecided" and (takes_s := still_takes_s(info, check)) is not None:
        words += f" {count(check.requests_needed or 0)} more requests take {span(takes_s)} at this rate."
    return words


def _told_so_far(events: Sequence[EventInfo]) -> list[Block]:
    rows = tuple(
        (
            Span(day_and_clock(event.at) if event.at is not None else "-", "dim"),
            Span(event.code, "warn" if event.warning else "plain"),
            Span(event.sentence + (f" ({event.times} times)" if event.times > 1 else "")),
        )
        for event in events
    )
    header = (Span("TIME (UTC)", "dim"), Span("WHAT", "dim"), Span("WHY", "dim"))
    return [Table((header, *rows), indent=2)] if rows else []


def change_line(info: Info, *, spaces: bool = False) -> str:
    """One plain line, for a pipe that follows a rollout."""
    name = f"{info.namespace}/{info.name}" if spaces else info.name
    weight = f"{info.attempt.weight_percent} %" if info.phase in ACTIVE and info.attempt is not None else "-"
    return f"{name}   {info.phase:<11}   {weight:>5}   {_late(info) or info.sentence or '-'}"


def headline(info: Info) -> tuple[object, ...]:
    """What makes a new line: not the numbers, they move all the time."""
    weight = info.attempt.weight_percent if info.attempt is not None else None
    return (info.name, info.phase, weight, info.code, tuple(c.state for c in info.checks), info.late_s is not None)
