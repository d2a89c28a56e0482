"""One rollout on one screen: state, why, what next. The controller's own sentences are shown as they are."""

from __future__ import annotations

from collections.abc import Iterator

from rollout_controller.cli.build import ACTIVE, BLOCKS
from rollout_controller.cli.info import CheckInfo, Info, PastInfo, SlotInfo, StepInfo
from rollout_controller.cli.page import Blank, Block, Flow, Head, Page, Para, Row, Span, Table, Tone
from rollout_controller.cli.words import clock, count, day_and_clock, limit, percent, sentence, share_number, span

PHASE_TONES: dict[str, Tone] = {
    "Succeeded": "good",
    "RolledBack": "bad",
    "RollingBack": "bad",
    "Stalled": "bad",
    "Paused": "warn",
    "Aborted": "warn",
    "Retreated": "warn",
    "Idle": "plain",
}
_HALF_A_DAY_S = 43200
STATE_TONES: dict[str, Tone] = {
    "fine": "good",
    "violated": "bad",
    "undecided": "plain",
    "both miss": "warn",
    "unknown": "warn",
    "over": "warn",
}


def card(info: Info, command: str = "rollouts") -> Page:
    """The screen of `status NAME`. `command` begins the commands that are proposed, with the options that reach this store."""
    blocks: list[Block] = [head(info), Blank()]
    if info.phase in ACTIVE or info.drifted:
        blocks[1:1] = [slots(info)]
    if info.phase in ACTIVE:
        blocks += [*_checks(info), Blank(), *_steps(info), Blank()]
    return (*blocks, *reasons(info), *what_next(info, command))


def head(info: Info) -> Head:
    """Name, phase and one phrase; beside it where, which attempt, for how long."""
    attempt, last = info.attempt, info.result
    aside = [info.namespace]
    if info.phase in ACTIVE and attempt is not None:
        aside += [f"attempt {attempt.number}", *([attempt.request] if attempt.request else []), span(attempt.elapsed_s)]
    elif last is not None:
        aside += [f"attempt {last.number}", *([last.request] if last.request else []), f"{span(last.ended_ago_s)} ago"]
    left = (Span(info.name, "strong"), Span(info.phase, PHASE_TONES.get(info.phase, "busy")), Span(_summary(info)))
    return Head(left, tuple(aside))


def _summary(info: Info) -> str:
    attempt, last = info.attempt, info.result
    if info.phase in ACTIVE and attempt is not None:
        place = (
            f"step {attempt.step} of {len(attempt.steps)}" if attempt.step else f"version {attempt.version} into {attempt.slot}"
        )
        return {
            "Preparing": f"loading version {attempt.version} into {attempt.slot}",
            "Progressing": f"holding at {attempt.weight_percent} %, {place}" if attempt.blind_s is not None else place,
            "Retreated": f"users are on stable, {place}",
            "Paused": f"at {attempt.weight_percent} %, {place}"
            + (f", for {span(attempt.paused_s)}" if attempt.paused_s is not None else ""),
            "Promoting": f"version {attempt.version} takes all traffic",
            "RollingBack": f"version {attempt.version} is taken off {attempt.slot}",
        }[info.phase]
    if info.phase in {"RolledBack", "Aborted", "Stalled"} and last is not None:
        return f"{_was_there(last)}; {_now_serving(info)}"
    if info.phase == "Stalled":
        return "a person is needed"
    return _now_serving(info) if info.stable_version else "nothing has been asked for yet"


def _was_there(last: PastInfo) -> str:
    if last.on_traffic_s is not None:
        return f"version {last.version} was on {last.slot} for {span(last.on_traffic_s)}"
    return f"version {last.version} had no traffic" if not last.weight_percent else f"version {last.version} was on {last.slot}"


def _now_serving(info: Info) -> str:
    """Only what the route was seen to say."""
    for slot in info.slots:
        if slot.seen_percent == 100:
            return f"all traffic is on {slot.name}" + (f", version {slot.version}" if slot.version else "")
    shares = ", ".join(f"{s.seen_percent} % on {s.name}" for s in info.slots if s.seen_percent is not None)
    if shares:
        return f"traffic is {shares}"
    return f"stable is {info.stable_slot}, version {info.stable_version}" if info.stable_version else "traffic was not seen yet"


def slots(info: Info) -> Table:
    """Both slots with their shares; canary on top."""
    return Table(tuple(_slot(slot) for slot in info.slots), drop=(3,))


def _slot(slot: SlotInfo) -> Row:
    share = slot.wanted_percent if slot.seen_percent is None else slot.seen_percent
    notes = [f"wanted {slot.wanted_percent} %"] if slot.seen_percent not in {None, slot.wanted_percent} else []
    notes += ["not ready"] if slot.ready is False else []
    notes += [slot.message] if slot.message else []
    canary: Tone = "busy" if slot.role == "canary" else "plain"
    return (
        Span(slot.name, canary),
        Span(f"version {slot.version}" if slot.version else "empty", "plain" if slot.version else "dim"),
        Span(f"{share} %" if share is not None else "-", "strong", right=True),
        Span(tone=canary if canary == "busy" else "dim", bar=share or 0),
        Span(slot.role, "dim"),
        Span(", ".join(notes), "warn"),
    )


def _checks(info: Info) -> Iterator[Block]:
    """One line for each SLO and guard: name, state, value, limit, stable's value, counts."""
    if info.phase != "Preparing" and info.checks:
        yield Table(tuple(_check(check) for check in info.checks), indent=2, drop=(4, 5))


def _check(check: CheckInfo) -> Row:
    return (
        Span(check.name),
        Span(check.state, STATE_TONES[check.state]),
        Span(_value(check)),
        Span(
            f"at most {limit(check.limit_share)}" + (f" over {check.limit_ms:g} ms" if check.limit_ms is not None else ""), "dim"
        ),
        Span(f"stable {percent(check.stable_share)}" if check.stable_share is not None else "", "dim"),
        Span(_counts(check), "dim", right=True),
    )


def _value(check: CheckInfo) -> str:
    if check.value_share is None:
        return check.unknown_code or ("no requests yet" if check.kind != "gauge" else "no reading")
    if check.low_share is None or check.high_share is None:
        return percent(check.value_share)
    return f"{percent(check.value_share)} [{share_number(check.low_share)}, {share_number(check.high_share)}]"


def _counts(check: CheckInfo) -> str:
    if check.kind == "gauge":
        return f"over for {span(check.over_s)}" if check.over_s is not None else ""
    return f"{count(check.bad)} of {count(check.requests)}" if check.requests else ""


def _steps(info: Info) -> Iterator[Block]:
    if info.attempt is not None and info.attempt.steps:
        yield Flow(tuple(_step(step) for step in info.attempt.steps), indent=2)


def _step(step: StepInfo) -> Span:
    weight = f"{step.weight_percent} %"
    if step.state == "to come":
        return Span(weight, "dim")
    took = "" if step.took_s is None else f" {span(step.took_s)}"
    if step.state == "now":
        return Span(f"{weight} now{took}", "busy")
    if step.unproven:
        return Span(f"{weight} ?{took} unproven", "warn", piped=f"{weight} unproven{took}")
    return Span(f"{weight} ✓{took}", "good", piped=f"{weight} done{took}")


def reasons(info: Info) -> Iterator[Block]:
    """Why it is so, what it cost, and what was before."""
    last, result = info.last, info.result
    if info.refused:
        yield Para("stuck", info.refused, "bad")
    if info.sentence:
        yield Para("why", info.sentence)
    if result is not None and result.outcome != "Promoted":
        yield Para("cost", sentence(_cost(info, result)))
    if result is not None and result.outcome == "Promoted" and result.unproven and "unproven" not in info.sentence:
        weights = ", ".join(f"{s.weight_percent} %" for s in result.steps if s.unproven)
        yield Para("note", f"Unproven at {weights}: the time was up before the evidence was enough.", "warn")
    if info.phase in ACTIVE and last is not None and last.outcome == "Superseded":
        yield Para("before", f"Attempt {last.number}, version {last.version}: {last.sentence or 'superseded'}", "dim")
    if info.ask.command_result and info.ask.command_taken_up and info.ask.command_result != info.sentence:
        yield Para("told", info.ask.command_result, "dim")


def _cost(info: Info, last: PastInfo) -> str:
    if not last.requests:
        return "none of its requests was counted" if last.weight_percent else "no traffic was moved"
    blamed = next((c for c in info.checks if c.bad == last.bad and c.state == "violated"), None)
    what = (
        "were bad" if blamed is None else "failed" if blamed.kind == "errors" else f"took more than {blamed.limit_ms or 0:g} ms"
    )
    cost = f"{count(last.bad)} of its {count(last.requests)} requests {what}"
    if last.traffic_off_s is not None and last.outcome == "RolledBack":
        cost += f"; traffic was back {span(last.traffic_off_s)} after the sample that decided it"
    return cost


def what_next(info: Info, command: str) -> Iterator[Block]:
    """What happens by itself and when, and what a person can do."""
    if info.late_s is not None:
        yield Para("note", f"No controller has looked for {span(info.late_s)}: is one running?", "warn")
    if not info.ask.taken_up:
        request = f" (request {info.ask.request})" if info.ask.request else ""
        when = "is tried when that is mended" if info.code in BLOCKS else "was not taken up by a controller yet"
        yield Para("asked", f"Version {info.ask.version}{request} {when}.", "warn")
    if not info.ask.command_taken_up:
        yield Para("asked", f"{sentence(info.ask.command or '')[:-1]} was not taken up by a controller yet.", "warn")
    by_itself = "; ".join(_by_itself(info))
    label = "next"
    if by_itself:
        yield Para(label, sentence(by_itself))
        label = " "
    if commands := _commands(info, command):
        yield Table(
            tuple((Span(run, "strong"), Span(why and f"({why})", "dim")) for run, why in commands), label=label, drop=(1,)
        )


def _by_itself(info: Info) -> Iterator[str]:
    if info.phase == "Progressing":
        for check in info.checks:
            if check.state == "undecided" and check.requests_needed:
                takes = f" ({span(takes_s)} at this rate)" if (takes_s := still_takes_s(info, check)) is not None else ""
                yield f"{check.name} needs about {count(check.requests_needed)} more requests{takes}"
    overdue = info.late_s is not None and (info.deadline_s or 0) <= 0
    if info.deadline_at is not None and info.deadline_s is not None and not overdue:
        near = info.deadline_s < _HALF_A_DAY_S
        soon = f"in {span(info.deadline_s)}" if info.deadline_s > 0 else "now"
        if not near or clock(info.deadline_at).split()[0] not in info.sentence:
            yield _deadline(info, soon, clock(info.deadline_at) if near else f"{day_and_clock(info.deadline_at)} UTC")


def still_takes_s(info: Info, check: CheckInfo) -> float | None:
    """Until the requests that a verdict needs are there, with the traffic there is now."""
    rate = info.attempt.requests_per_s if info.attempt is not None else None
    return check.requests_needed / rate if rate and check.requests_needed else None


def _deadline(info: Info, soon: str, at: str) -> str:
    blind = info.attempt is not None and info.attempt.blind_s is not None
    if info.phase == "Paused":
        verb = "goes on by itself" if info.deadline_then == "Resume" else "goes back to stable"
        return f"{verb} {soon} ({at}) unless somebody acts"
    if blind:
        verb = "pauses" if info.deadline_then == "Pause" else "goes back to stable"
        return f"{verb} {soon} ({at}) if it still cannot see"
    match info.deadline_then:
        case "Advance":
            return f"goes on {soon} at the latest ({at}), marked unproven if still undecided"
        case "Pause":
            return f"pauses {soon} ({at}) if still undecided"
        case "Rollback":
            return f"goes back to stable {soon} ({at}) if still undecided"
    return f"gives up {soon} ({at})"


def _commands(info: Info, command: str) -> list[tuple[str, str]]:
    name, last = info.name, info.result
    if info.phase == "Paused":
        return [
            (f"{command} resume {name}", ""),
            (f"{command} promote {name}", "go on to the next step now"),
            (f"{command} abort {name}", "all traffic back to stable"),
        ]
    if not info.ask.taken_up:
        return [(f"{command} explain {name}", "")] if info.phase == "Stalled" else []
    if info.phase in {"RolledBack", "Aborted"} and last is not None:
        again = f"{command} trigger {name} --version {last.version} --again"
        return [(f"{command} explain {name}", ""), (again, "not tried again unasked")]
    if info.phase == "Stalled":
        return [(f"{command} explain {name}", ""), (f"{command} retry {name}", "when it is mended")]
    if info.phase == "Idle" and not info.history:
        return [(f"{command} trigger {name} --version V --wait", "")]
    return []
