"""The sentences about what a rollout is doing, why, and what comes next. Clock times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from rollout_controller.api.status import Reason
from rollout_controller.core.explain.numbers import clock


def end_of(seconds: float, instant: float) -> str:
    """When a wait of `seconds` ends: the clock time, with the day when it is not today's business."""
    return clock(instant) if seconds < 12 * 3600 else datetime.fromtimestamp(instant, UTC).strftime("%H:%M UTC on %d %b %Y")


def span(seconds: float) -> str:
    """A duration for people: 6 s, 3m 02s, 1h 05m."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    return f"{minutes}m {left:02d}s" if minutes < 60 else f"{minutes // 60}h {minutes % 60:02d}m"


def shares(weights: Mapping[str, int]) -> str:
    """Say it as `blue 75 %, green 25 %`."""
    return ", ".join(f"{slot} {weight} %" for slot, weight in sorted(weights.items()))


def named(version: str | None) -> str:
    """Say `version 2`, or that it has no known name."""
    return f"version {version}" if version else "the version that runs there"


def reason(code: str, sentence: str) -> Reason:
    """A reason whose sentence begins with a capital and ends with a full stop."""
    text = sentence.strip()
    return Reason(code=code, sentence=text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else "."))


# --- at rest -------------------------------------------------------------------------------------------------


def idle(stable: str, version: str | None) -> Reason:
    return reason("Idle", f"all traffic is on {stable}, {named(version)}; no other version is asked for")


def already_served(stable: str, version: str) -> Reason:
    return reason("AlreadyServed", f"version {version} is asked for and already has all traffic, on {stable}")


def invalid_version(text: str) -> Reason:
    return reason(
        "InvalidVersion",
        f"the annotation asks for {text[:80]!r}, which is no version: letters, digits, '-', '_', '.' and '+', at most 128",
    )


def route_problem(sentence: str) -> Reason:
    return reason("RouteUnreadable", f"traffic cannot be shifted: {sentence}")


def refused(words: str, seconds: float) -> Reason:
    return reason("Refused", f"refused, and tried again every {span(seconds)}: {words}")


def roles_unclear(weights: Mapping[str, int]) -> Reason:
    return reason(
        "RolesUnclear",
        f"the route says {shares(weights)} and nothing says which slot is stable: give one of them all the traffic",
    )


def policy_problem(sentence: str) -> Reason:
    return reason("PolicyInvalid", sentence)


def half_done_found(slot: str, stable: str) -> Reason:
    return reason(
        "HalfDoneFound",
        f"the route is in the middle of an attempt on {slot} that no status knows of: all traffic goes back to {stable}",
    )


def drift(weights: Mapping[str, int], wanted: Mapping[str, int], then: str) -> Reason:
    return reason("Drift", f"drift: the VirtualService says {shares(weights)}, we wrote {shares(wanted)}; {then}")


def command_refused(verb: str, why: str) -> str:
    return f"{verb} was not done: {why}."


# --- bringing a version up -----------------------------------------------------------------------------------


def preparing(version: str, slot: str, doing: str) -> Reason:
    return reason("Preparing", f"bringing up version {version} in {slot}: {doing}")


def load_failed(version: str, slot: str, words: str) -> Reason:
    return reason("LoadFailed", f"version {version} could not be loaded into {slot}, no traffic was moved: {words}")


def load_timeout(version: str, slot: str, after: float, last: str) -> Reason:
    return reason(
        "LoadTimeout", f"version {version} was not ready in {slot} after {span(after)}, no traffic was moved; last: {last}"
    )


# --- with traffic --------------------------------------------------------------------------------------------


def step_begun(version: str, slot: str, weight: int, number: int, count: int) -> Reason:
    return reason("StepBegun", f"version {version} on {slot} gets {weight} % of the traffic: step {number} of {count}")


def shifting(weights: Mapping[str, int]) -> Reason:
    return reason("Shifting", f"moving traffic to {shares(weights)}")


def waiting(what: str, until: float | None, then: str) -> Reason:
    end = f" Goes on at {clock(until)} at the latest ({then})." if until is not None else ""
    return reason("Waiting", f"waiting for {what}.{end}")


def unknown(weight: int, sentence: str, gives_up_at: float, then: str) -> Reason:
    held = f"holding at {weight} %: {sentence.rstrip('.')}"
    return reason("Unknown", f"{held}. Nobody is rolled back for that; at {clock(gives_up_at)} the policy {then}")


def blind_too_long(seconds: float, sentence: str) -> Reason:
    return reason("BlindTooLong", f"nothing could be judged for {span(seconds)}, and the policy says go back: {sentence}")


def too_few_requests(requests: int, needed: int, seconds: float) -> Reason:
    few = f"only {requests:,} of the {needed:,} requests that the step needs"
    return reason("TooFewRequests", f"{few} came in {span(seconds)}, too few to judge")


def undecided_rollback(seconds: float, what: str) -> Reason:
    return reason("Undecided", f"no verdict after {span(seconds)}, and the policy says go back: {what}")


def canary_lost(version: str, slot: str, runs: str | None) -> Reason:
    now = f"version {runs}" if runs else "no version"
    return reason("CanaryLost", f"{slot} no longer runs version {version}, it runs {now}: who is sent there is not served")


def guard_harm(sentence: str) -> Reason:
    return reason("GuardOver", sentence)


def paused(by: str, weight: int, until: float | None, then: str) -> Reason:
    end = f"; at {clock(until)} it is {then} by itself" if until is not None else ""
    return reason("Paused", f"paused at {weight} % by {by}{end}")


def superseded(old: str, new: str) -> Reason:
    return reason("Superseded", f"version {new} is asked for while version {old} was being tried")


def asked_back(old: str, stable: str) -> Reason:
    return reason("AskedBack", f"version {stable}, which is stable, is asked for while version {old} was being tried")


def aborted(ident: str) -> Reason:
    return reason("Aborted", f"aborted by command {ident}")


def drift_abort(weights: Mapping[str, int], wanted: Mapping[str, int]) -> Reason:
    return reason("DriftAbort", drift(weights, wanted, "the policy says abort").sentence)


def pause_ran_out(seconds: float) -> Reason:
    return reason("PauseRanOut", f"nobody ended the pause in {span(seconds)}, and the policy says go back")


def stuck(seconds: float, sentence: str) -> Reason:
    return reason("Stuck", f"traffic could not be moved for {span(seconds)}: {sentence}")


def promoting(version: str, slot: str) -> Reason:
    return reason("Promoting", f"version {version} on {slot} has all traffic and becomes stable")


def promoted(version: str, slot: str, weights: list[int], unproven: list[int]) -> Reason:
    way = ", ".join(str(weight) for weight in weights)
    doubt = f"; unproven at {', '.join(str(weight) for weight in unproven)} %" if unproven else " with nothing wrong"
    return reason("Promoted", f"version {version} on {slot} has all traffic: {way} %{doubt}")
