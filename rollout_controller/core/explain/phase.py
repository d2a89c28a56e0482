"""The sentences about what a rollout is doing, why, and what comes next. Clock times are UTC."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from rollout_controller.api.status import Reason
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.explain.numbers import clock

LONGEST = 1000
"""Characters of a sentence."""


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


def reason(code: Code, sentence: str) -> Reason:
    """A reason whose sentence begins with a capital and ends with a full stop.

    It is cut where it is longer than anybody reads: it also stands in an annotation, and must never be what makes that too big.
    """
    text = sentence.strip()
    text = text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."
    return Reason(code=code.value, sentence=text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else "."))


# --- at rest -------------------------------------------------------------------------------------------------


def idle(stable: str, version: str | None) -> Reason:
    return reason(Code.IDLE, f"all traffic is on {stable}, {named(version)}; no other version is asked for")


def already_served(stable: str, version: str) -> Reason:
    return reason(Code.ALREADY_SERVED, f"version {version} is asked for and already has all traffic, on {stable}")


def invalid_version(text: str) -> Reason:
    return reason(
        Code.INVALID_VERSION,
        f"the annotation asks for {text[:80]!r}, which is no version: letters, digits, '-', '_', '.' and '+', at most 128",
    )


def route_problem(sentence: str) -> Reason:
    return reason(Code.ROUTE_UNREADABLE, f"traffic cannot be shifted: {sentence}")


def refused(words: str, seconds: float) -> Reason:
    return reason(Code.REFUSED, f"refused, and tried again every {span(seconds)}: {words}")


def roles_unclear(weights: Mapping[str, int]) -> Reason:
    return reason(
        Code.ROLES_UNCLEAR,
        f"the route says {shares(weights)} and nothing says which slot is stable: give one of them all the traffic",
    )


def policy_problem(sentence: str) -> Reason:
    return reason(Code.POLICY_INVALID, sentence)


def half_done_found(slot: str, stable: str) -> Reason:
    return reason(
        Code.HALF_DONE_FOUND,
        f"the route is in the middle of an attempt on {slot} that no status knows of: all traffic goes back to {stable}",
    )


def drift(found: str, wanted: Mapping[str, int], then: str) -> Reason:
    """`found` is what the VirtualService says, or what is wrong with it."""
    return reason(Code.DRIFT, f"drift: {found}, we wrote {shares(wanted)}; {then}")


def says(weights: Mapping[str, int]) -> str:
    return f"the VirtualService says {shares(weights)}"


def mark_gone() -> str:
    return "our annotation on the VirtualService is gone or cannot be read"


def mark_changed() -> str:
    return "our annotation on the VirtualService was changed"


def drift_repeats(count: int, seconds: float, found: str) -> Reason:
    return reason(
        Code.DRIFT_REPEATS,
        f"something keeps resetting the route: {count} times in {span(seconds)}, the last time {found}; restored each time. If"
        " it is Argo CD, let it leave the weights alone: ignoreDifferences with jqPathExpressions '.spec.http[].route[].weight',"
        " and the sync option RespectIgnoreDifferences=true",
    )


def in_sync(weights: Mapping[str, int]) -> Reason:
    return _in_sync(tuple(weights.items()))


@lru_cache(maxsize=1024)  # said in every turn of every rollout
def _in_sync(weights: tuple[tuple[str, int], ...]) -> Reason:
    return reason(Code.IN_SYNC, f"the VirtualService says what was written: {shares(dict(weights))}")


# --- what people write ---------------------------------------------------------------------------------------


def accepted() -> Reason:
    return reason(Code.ACCEPTED, "spec, policy and what is asked for can be used")


def invalid_spec(faults: str) -> Reason:
    return reason(Code.INVALID_SPEC, f"the TritonRollout cannot be used, and nothing new begins until that is mended: {faults}")


def spec_held(fields: str, version: str) -> Reason:
    return reason(
        Code.SPEC_HELD,
        f"{fields} changed while version {version} is being tried: that is taken up when the attempt has ended",
    )


def spec_changed(version: str, missing: str) -> Reason:
    return reason(
        Code.SPEC_CHANGED,
        f"the attempt of version {version} cannot go on: it knows slot {missing}, which spec.slots no longer has;"
        " which slot is stable is read from the route anew",
    )


def status_lost(faults: str) -> Reason:
    return reason(
        Code.STATUS_LOST, f"the status cannot be read, so what was remembered is lost and the route decides anew: {faults}"
    )


def refused_command(sentence: str) -> Reason:
    return reason(Code.COMMAND_REFUSED, sentence)


def command_refused(verb: str, why: str) -> str:
    return f"{verb} was not done: {why}."


# --- bringing a version up -----------------------------------------------------------------------------------


def preparing(version: str, slot: str, doing: str) -> Reason:
    return reason(Code.PREPARING, f"bringing up version {version} in {slot}: {doing}")


def load_failed(version: str, slot: str, words: str) -> Reason:
    return reason(Code.LOAD_FAILED, f"version {version} could not be loaded into {slot}, no traffic was moved: {words}")


def stable_misses(sentence: str, gives_up_at: float, name: str) -> Reason:
    return reason(
        Code.STABLE_MISSES,
        f"not started, because stable misses its objective itself: {sentence}. Goes on when stable meets it, gives up at"
        f" {clock(gives_up_at)}; if this version is the remedy, `rollouts promote {name}` starts it now",
    )


def stable_missed(version: str, sentence: str, seconds: float) -> Reason:
    return reason(
        Code.STABLE_MISSES,
        f"version {version} was not tried, no traffic was moved: stable missed its objective for {span(seconds)}: {sentence}",
    )


def stable_lost(slot: str, version: str, runs: str | None, then: str) -> Reason:
    now = f"version {runs}" if runs else "no version"
    return reason(Code.STABLE_LOST, f"{slot}, which is stable, no longer runs version {version}, it runs {now}; {then}")


def load_timeout(version: str, slot: str, after: float, last: str) -> Reason:
    return reason(
        Code.LOAD_TIMEOUT, f"version {version} was not ready in {slot} after {span(after)}, no traffic was moved; last: {last}"
    )


# --- with traffic --------------------------------------------------------------------------------------------


def step_begun(version: str, slot: str, weight: int, number: int, count: int) -> Reason:
    return reason(Code.STEP_BEGUN, f"version {version} on {slot} gets {weight} % of the traffic: step {number} of {count}")


def shifting(weights: Mapping[str, int]) -> Reason:
    return reason(Code.SHIFTING, f"moving traffic to {shares(weights)}")


def waiting(what: str, until: float | None, then: str) -> Reason:
    end = f" Goes on at {clock(until)} at the latest ({then})." if until is not None else ""
    return reason(Code.WAITING, f"waiting for {what}.{end}")


def unknown(weight: int, sentence: str, gives_up_at: float, then: str) -> Reason:
    held = f"holding at {weight} %: {sentence.rstrip('.')}"
    return reason(Code.UNKNOWN, f"{held}. Nobody is rolled back for that; at {clock(gives_up_at)} the policy {then}")


def blind_too_long(seconds: float, sentence: str) -> Reason:
    return reason(Code.BLIND_TOO_LONG, f"nothing could be judged for {span(seconds)}, and the policy says go back: {sentence}")


def too_few_requests(requests: int, needed: int, seconds: float) -> Reason:
    few = f"only {requests:,} of the {needed:,} requests that the step needs"
    return reason(Code.TOO_FEW_REQUESTS, f"{few} came in {span(seconds)}, too few to judge")


def undecided_rollback(seconds: float, what: str) -> Reason:
    return reason(Code.UNDECIDED, f"no verdict after {span(seconds)}, and the policy says go back: {what}")


def canary_lost(version: str, slot: str, runs: str | None) -> Reason:
    now = f"version {runs}" if runs else "no version"
    return reason(Code.CANARY_LOST, f"{slot} no longer runs version {version}, it runs {now}: who is sent there is not served")


def guard_harm(sentence: str) -> Reason:
    return reason(Code.GUARD_OVER, sentence)


def paused(by: str, weight: int, until: float | None, then: str) -> Reason:
    end = f"; at {clock(until)} it is {then} by itself" if until is not None else ""
    return reason(Code.PAUSED, f"paused at {weight} % by {by}{end}")


def superseded(old: str, new: str) -> Reason:
    return reason(Code.SUPERSEDED, f"version {new} is asked for while version {old} was being tried")


def asked_back(old: str, stable: str) -> Reason:
    return reason(Code.ASKED_BACK, f"version {stable}, which is stable, is asked for while version {old} was being tried")


def aborted(ident: str) -> Reason:
    return reason(Code.ABORTED, f"aborted by command {ident}")


def drift_abort(found: str, wanted: Mapping[str, int]) -> Reason:
    return reason(Code.DRIFT_ABORT, drift(found, wanted, "the policy says abort").sentence)


def pause_ran_out(seconds: float) -> Reason:
    return reason(Code.PAUSE_RAN_OUT, f"nobody ended the pause in {span(seconds)}, and the policy says go back")


def stuck(seconds: float, sentence: str) -> Reason:
    return reason(Code.STUCK, f"traffic could not be moved for {span(seconds)}: {sentence}")


def promoting(version: str, slot: str) -> Reason:
    return reason(Code.PROMOTING, f"version {version} on {slot} has all traffic and becomes stable")


def promoted(version: str, slot: str, weights: list[int], unproven: list[int]) -> Reason:
    way = ", ".join(str(weight) for weight in weights)
    doubt = f"; unproven at {', '.join(str(weight) for weight in unproven)} %" if unproven else " with nothing wrong"
    return reason(Code.PROMOTED, f"version {version} on {slot} has all traffic: {way} %{doubt}")


# --- the rollout is deleted in an attempt --------------------------------------------------------------------


def deleted(number: int, version: str, weights: Mapping[str, int] | None) -> Reason:
    traffic = f"stays as it is ({shares(weights)})" if weights else "stays as it is"
    return reason(
        Code.DELETED,
        f"the TritonRollout was deleted in attempt {number} (version {version}): traffic {traffic},"
        " and nobody judges it any more",
    )


def deleted_restored(number: int, version: str, stable: str) -> Reason:
    return reason(
        Code.DELETED_RESTORED,
        f"the TritonRollout was deleted in attempt {number} (version {version}): all traffic was put back to {stable}",
    )


def deleted_not_restored(number: int, version: str, stable: str, why: str) -> Reason:
    return reason(
        Code.DELETED_NOT_RESTORED,
        f"the TritonRollout was deleted in attempt {number} (version {version}),"
        f" and traffic could not be put back to {stable}: {why}",
    )
