"""Waiting for the answer to an ask: bounded, and never fooled by what an earlier attempt left behind."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rollout_controller.api.names import ANNOTATION_REQUEST, ANNOTATION_VERSION, Key, Raw
from rollout_controller.cli.build import BLOCKS
from rollout_controller.cli.card import card
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.fetch import Session, key_of
from rollout_controller.cli.info import Info, PastInfo
from rollout_controller.cli.show import watch
from rollout_controller.cli.words import span

BLOCKED_S = 30.0
"""A route or policy that keeps the ask from being taken up for this long is a failure, not a wait."""
BY_PHASE = {
    "Succeeded": Exit.FINE,
    "RolledBack": Exit.ROLLED_BACK,
    "Aborted": Exit.ROLLED_BACK,
    "Stalled": Exit.FAILED,
}
BY_OUTCOME = {
    "Promoted": Exit.FINE,
    "RolledBack": Exit.ROLLED_BACK,
    "Aborted": Exit.ROLLED_BACK,
    "Superseded": Exit.ROLLED_BACK,
    "Failed": Exit.FAILED,
}


@dataclass(frozen=True)
class Target:
    """The ask that is waited for: a version, and the request id that tells it from earlier asks of the same version."""

    version: str
    request: str | None


def outcome(info: Info, target: Target, *, through_pause: bool = False) -> Exit | None:
    """How the ask ended; None while it has not. Only a status that echoes the ask counts, or a record of exactly this ask."""
    if info.ask.taken_up and _asks_for(info, target):
        if info.phase == "Paused" and not through_pause:
            return Exit.PAUSED
        if info.phase == "Idle" and info.stable_version == target.version:
            return Exit.FINE
        return BY_PHASE.get(info.phase)
    record = recorded(info, target)
    if record is not None:
        return BY_OUTCOME.get(record.outcome, Exit.FAILED)
    return None if _asks_for(info, target) else Exit.ROLLED_BACK


def _asks_for(info: Info, target: Target) -> bool:
    return info.ask.version == target.version and target.request in {None, info.ask.request}


def recorded(info: Info, target: Target) -> PastInfo | None:
    """The attempt that this ask led to, once it is over. Without a request id it cannot be told from earlier ones."""
    if target.request is None:
        return None
    return next((past for past in info.history if (past.version, past.request) == (target.version, target.request)), None)


def until(session: Session, key: Key, done: Callable[[Info], bool], *, timeout_s: float) -> Info | None:
    """The first Info for which `done` holds; None when there was none within `timeout_s`."""
    for document in session.follow(key, timeout_s):
        info = session.info(document)
        if done(info):
            return info
    return None


def show_until_done(session: Session, key: Key, target: Target, *, timeout_s: float, through_pause: bool) -> int:
    """Show what happens until the ask has ended, at most `timeout_s`; Ctrl-C ends the waiting only."""
    result: Exit | None = None
    blocked_since: float | None = None

    def infos() -> Iterator[Info]:
        nonlocal result, blocked_since
        for document in session.follow(key, timeout_s):
            info = session.info(document)
            yield info
            result = outcome(info, target, through_pause=through_pause)
            now = time.monotonic()
            blocked = not info.ask.taken_up and info.phase == "Stalled" and info.code in BLOCKS
            blocked_since = (blocked_since or now) if blocked else None
            if result is None and blocked_since is not None and now - blocked_since >= BLOCKED_S:
                result = Exit.FAILED
            if result is not None:
                return
        result = Exit.TIMED_OUT

    command = session.reach(key.namespace)
    try:
        last = watch(session, infos(), lambda info: card(info, command))
    except KeyboardInterrupt:
        session.screen.note(f"\nStopped waiting; the rollout goes on by itself: {command} status {key.name}")
        raise
    assert result is not None
    _say_why(session, target, result, last, timeout_s)
    return result


def _say_why(session: Session, target: Target, result: Exit, last: Info | None, timeout_s: float) -> None:
    """What the card or the last line does not say."""
    if last is None:
        return
    ask = f"version {target.version}" + (f" (request {target.request})" if target.request else "")
    record = recorded(last, target)
    if result is Exit.TIMED_OUT:
        taken = "" if last.ask.taken_up else "; no controller has taken it up: is one running?"
        session.screen.note(f"error: {ask} has not ended within {span(timeout_s)}; the rollout goes on by itself{taken}")
    elif not _asks_for(last, target) and record is None:
        begun = last.attempt is not None and (last.attempt.version, last.attempt.request) == (target.version, target.request)
        what = "is given up" if begun else "was not tried"
        session.screen.note(f"error: {ask} {what}: version {last.ask.version} was asked for instead")
    elif record is not None and not (last.ask.taken_up and _asks_for(last, target)):
        session.screen.line(f"attempt {record.number}, {ask}: {record.outcome}. {record.sentence}")


def wait(args: Namespace, session: Session) -> int:
    """Wait for what is asked for now, or for the request id given."""
    rollout = session.find(args.name)
    target = _target(rollout, args.request, session.info(rollout))
    return show_until_done(session, key_of(rollout), target, timeout_s=args.timeout, through_pause=args.through_pause)


def _target(rollout: Raw, request: str | None, info: Info) -> Target:
    annotations: Mapping[str, Any] = rollout["metadata"].get("annotations") or {}
    version = str(annotations.get(ANNOTATION_VERSION) or "").strip()
    asked = str(annotations.get(ANNOTATION_REQUEST) or "").strip()[:128] or None
    if request is not None and request != asked:
        past = next((past for past in info.history if past.request == request), None)
        if past is None:
            now = f"the request now is {asked!r}" if asked else "there is none now"
            raise CommandError(f"request {request!r} is not asked for on {info.name}, nor among its last attempts; {now}")
        return Target(past.version, request)
    if not version:
        raise CommandError(f"{info.name} is not asked for any version: there is nothing to wait for")
    return Target(version, asked)
