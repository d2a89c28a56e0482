"""One sentence for each verdict: what was measured, what is allowed, and what follows."""

from __future__ import annotations

from rollout_controller.api.status import Verdict
from rollout_controller.core.explain.numbers import (
    about,
    clock,
    count,
    digits,
    milliseconds,
    percent,
    percent_at_most,
    percent_exact,
)
from rollout_controller.core.observation import Unknown


def measured(verdict: Verdict) -> str:
    """`canary error rate 5.2 % [3.1, 8.0] (18 of 346)`, `38 % slower than 100 ms [31, 46] (61 of 160)`."""
    if verdict.value is None or verdict.interval is None:
        return f"{_subject(verdict)} (no requests)"
    low, high = verdict.interval
    numbers = f"[{digits(low)}, {digits(high)}] ({count(verdict.bad)} of {count(verdict.requests)})"
    if verdict.kind == "errors":
        return f"canary error rate {percent(verdict.value)} {numbers}"
    return f"{percent(verdict.value)} {_slower(verdict)} {numbers}"


def violated(verdict: Verdict) -> str:
    """The evidence of harm reached the promised level."""
    allowed = f", {_at_most(verdict)} allowed" if verdict.kind == "latency" else ""
    return f"{measured(verdict)}{allowed}{_stable(verdict)}: false alarm at most {percent_at_most(verdict.false_alarm)}"


def worse(verdict: Verdict, ratio: float) -> str:
    """The evidence of harm against stable reached the promised level."""
    more = f", more than {ratio:g} times as much"
    return f"{measured(verdict)}{_stable(verdict)}{more}: false alarm at most {percent_at_most(verdict.false_alarm)}"


def over(verdict: Verdict, windows: int, seconds: float) -> str:
    """So many windows in a row over the objective (the rule threshold)."""
    row = f"{windows} windows of {seconds:g} s in a row" if windows > 1 else f"one window of {seconds:g} s"
    return f"{measured(verdict)}{_stable(verdict)}, {_at_most(verdict)}: {row} over the limit"


def so_far(verdict: Verdict, windows: int) -> str:
    """Not yet so many of them."""
    if verdict.requests == 0:
        return "no requests to the canary yet"
    row = f"{windows} window{'s' if windows > 1 else ''} in a row over the limit" if windows else "no whole window yet"
    return f"{measured(verdict)}, {_at_most(verdict)}: {row}"


def satisfied(verdict: Verdict, next_weight: int) -> str:
    """Healthy enough for the next weight."""
    return f"{measured(verdict)}, {_at_most(verdict)}: fine for {next_weight} % of the traffic"


def undecided(verdict: Verdict, *, suspicious: bool, judged_from: float | None) -> str:
    """Neither harm nor health is shown yet.

    `suspicious`: too much speaks for harm to go on. `judged_from`: in the grace after an increase, its end.
    """
    if verdict.requests == 0:
        return "no requests to the canary yet"
    text = f"{measured(verdict)}, {_at_most(verdict)}: no verdict yet"
    if judged_from is not None:
        return f"{text}; warming up, judged from {clock(judged_from)} on"
    if suspicious:
        return f"{text}, but signs of harm (false alarm at most {percent_at_most(verdict.false_alarm)})"
    if verdict.requests_needed is not None:
        plural = "" if verdict.requests_needed == 1 else "s"
        return f"{text}; about {about(verdict.requests_needed)} more request{plural} needed"
    return text


def both_miss(verdict: Verdict, stable_share: float) -> str:
    """The common-cause guard: `stable_share` is what stable misses the objective by, lately."""
    return (
        f"both versions miss the objective: {measured(verdict)}, stable lately {percent(stable_share)}, {_at_most(verdict)}; "
        "a rollback would not help; holding"
    )


def unknown(verdict: Verdict, problem: Unknown) -> str:
    """What cannot be seen, since when, and why; the evidence is kept."""
    since = "" if problem.since is None else f" since {clock(problem.since)}"
    return f"{_subject(verdict)} cannot be seen{since}: {problem.sentence}"


def _subject(verdict: Verdict) -> str:
    return "canary error rate" if verdict.kind == "errors" else f"canary's share {_slower(verdict)}"


def _slower(verdict: Verdict) -> str:
    return f"slower than {milliseconds(verdict.limit_ms or 0)}"


def _at_most(verdict: Verdict) -> str:
    return f"at most {percent_exact(verdict.objective)}"


def _stable(verdict: Verdict) -> str:
    return "" if verdict.stable_value is None else f", stable {percent(verdict.stable_value)}"
