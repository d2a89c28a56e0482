"""The commands that ask the controller for something, by annotation: trigger, retry, pause, resume, promote, abort."""

from __future__ import annotations

import os
import re
import time
from argparse import Namespace
from collections.abc import Callable, Mapping

from rollout_controller.api.names import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, Key, Raw
from rollout_controller.cli.build import ACTIVE
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.fetch import Session, key_of
from rollout_controller.cli.info import Info
from rollout_controller.cli.waiting import Target, show_until_done, until
from rollout_controller.cluster.store import ROLLOUT, Conflict, PatchOp

WRITES = 10
"""How often a write is tried again when somebody else wrote in between."""
EARLIER_S = 3.0
"""A command that somebody else gave is not overwritten for this long: a controller that runs takes it up within a second."""
VERSION = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.+]{0,126}[A-Za-z0-9])?")
"""As in api/rollout.py."""

Change = Callable[[Raw], Mapping[str, str] | None]
"""The document as it is -> annotations to set; None: nothing to write."""


def fresh_id() -> str:
    """Short, for people to read out; it only has to differ from the last ones of the same rollout."""
    return os.urandom(3).hex()


def annotate(session: Session, key: Key, change: Change) -> Raw:
    """Set annotations on exactly what was read; when somebody else wrote in between, read and decide again.

    Raises:
        CommandError: others wrote in between WRITES times in a row.
        StoreError: as the store's patch.
    """
    for attempt in range(WRITES):
        document = session.store.get(ROLLOUT, key)
        values = change(document)
        if values is None:
            return document
        try:
            return session.store.patch(ROLLOUT, key, operations(document, values))
        except Conflict:
            time.sleep(0.02 * (attempt + 1))
    raise CommandError(f"TritonRollout {key} was written by somebody else {WRITES} times while we tried; try again")


def operations(document: Raw, values: Mapping[str, str]) -> list[PatchOp]:
    """JSON Patch that sets annotations on the document as it was read, and nothing else."""
    metadata = document["metadata"]
    first: list[PatchOp] = [{"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]}]
    if not isinstance(metadata.get("annotations"), dict):
        first.append({"op": "add", "path": "/metadata/annotations", "value": {}})
    escaped = {name.replace("~", "~0").replace("/", "~1"): value for name, value in values.items()}
    return first + [{"op": "add", "path": f"/metadata/annotations/{name}", "value": value} for name, value in escaped.items()]


def trigger(args: Namespace, session: Session) -> int:
    """Ask for a version, as CI does."""
    version = str(args.version).strip()
    if not VERSION.fullmatch(version):
        allowed = "letters, digits, '-', '_', '.' and '+', at most 128"
        raise CommandError(f"{args.version!r} is not a version; {allowed}", Exit.USAGE)
    if args.request is not None and not args.request.strip():
        raise CommandError("--request is empty; an id of this ask, or leave it out for a fresh one", Exit.USAGE)
    _one_wait(args)
    request = args.request or f"cli-{fresh_id()}"
    key = key_of(session.find(args.name))

    def change(document: Raw) -> Mapping[str, str] | None:
        info = session.info(document)
        if info.ask.version == version and args.request in {None, info.ask.request} and not args.again:
            _not_again(info, session.reach(info.namespace))
            return None
        return {ANNOTATION_VERSION: version, ANNOTATION_REQUEST: request}

    return _follow_up(args, session, key, annotate(session, key, change))


def retry(args: Namespace, session: Session) -> int:
    """The same version once more, with a new request id."""
    _one_wait(args)
    key = key_of(session.find(args.name))

    def change(document: Raw) -> Mapping[str, str]:
        info = session.info(document)
        if info.ask.version is None:
            ask = f"{session.reach(info.namespace)} trigger {info.name} --version V"
            raise CommandError(f"{info.name} was not asked for a version yet: {ask}")
        if info.phase in ACTIVE and info.attempt is not None:
            raise CommandError(f"attempt {info.attempt.number} is under way (version {info.attempt.version}, {info.phase})")
        return {ANNOTATION_REQUEST: f"cli-{fresh_id()}"}

    return _follow_up(args, session, key, annotate(session, key, change))


def _one_wait(args: Namespace) -> None:
    if args.wait and args.no_wait:
        raise CommandError("--wait waits for the end and --no-wait for nothing: leave one of them out", Exit.USAGE)


def _not_again(info: Info, command: str) -> None:
    """The version is what was asked for last; raises CommandError when that ask has ended badly."""
    if not info.ask.taken_up or info.phase in ACTIVE:
        return
    again = f"{command} trigger {info.name} --version {info.ask.version} --again"
    if info.phase in {"RolledBack", "Aborted"}:
        how = "was rolled back" if info.phase == "RolledBack" else "was aborted"
        raise CommandError(f"version {info.ask.version} {how}. {info.sentence}\nTo try it again: {again}", Exit.ROLLED_BACK)
    if info.phase == "Stalled":
        raise CommandError(f"version {info.ask.version} did not get in. {info.sentence}\nTo try it again: {again}")


def _follow_up(args: Namespace, session: Session, key: Key, document: Raw) -> int:
    """After the ask: wait for its end, or only until the controller has taken it up."""
    asked = session.info(document).ask
    target = Target(str(asked.version), asked.request)
    session.screen.note(f"asked for version {target.version} of {key.name}, request {target.request or '-'}")
    if args.wait:
        return show_until_done(session, key, target, timeout_s=args.timeout, through_pause=args.through_pause)
    if args.no_wait:
        return Exit.FINE
    answer = until(session, key, lambda info: info.ask.taken_up or info.phase == "Stalled", timeout_s=args.answer_within)
    if answer is None:
        return _nobody(session, args.answer_within)
    session.screen.line(answer.sentence or answer.phase)
    return Exit.FINE if answer.ask.taken_up else Exit.FAILED


def command(args: Namespace, session: Session) -> int:
    """Pause, resume, promote or abort; done when the controller echoes it."""
    verb = "promote-full" if args.command == "promote" and args.full else str(args.command)
    order = f"{verb} {fresh_id()}"
    key = key_of(session.find(args.name))
    _give(session, key, order, patient=verb != "abort")
    if args.no_wait:
        session.screen.note(f"asked: {order}")
        return Exit.FINE
    for document in session.follow(key, args.answer_within):
        ask = session.info(document).ask
        if (document.get("status") or {}).get("observedCommand") == order:
            if not ask.command_done:
                raise CommandError(ask.command_result or f"{verb} was not done")
            session.screen.line(ask.command_result or f"{verb} is done")
            return Exit.FINE
        if ask.command != order:
            raise CommandError(f"another command took its place before an answer was seen: {ask.command or 'none'}")
    return _nobody(session, args.answer_within)


class _Earlier(Exception):
    """A command of somebody else waits for a controller; to write now would lose it."""


def _give(session: Session, key: Key, order: str, *, patient: bool) -> None:
    """Write the command. There is room for one: an earlier one gets EARLIER_S to be taken up, unless this one is urgent."""
    ends = time.monotonic() + (EARLIER_S if patient else 0.0)

    def waits(info: Info) -> bool:
        return info.ask.command is not None and not info.ask.command_taken_up

    def change(document: Raw) -> Mapping[str, str]:
        info = session.info(document)
        if waits(info):
            if time.monotonic() < ends:
                raise _Earlier
            session.screen.note(f"{info.ask.command!r} was not taken up by a controller yet; {order!r} takes its place")
        return {ANNOTATION_COMMAND: order}

    while True:
        try:
            annotate(session, key, change)
        except _Earlier:
            until(session, key, lambda info: not waits(info), timeout_s=max(ends - time.monotonic(), 0.0))
        else:
            return


def _nobody(session: Session, within_s: float) -> int:
    session.screen.note(
        f"error: no controller has taken it up within {within_s:g} s; is one running? It stays asked for until one does."
    )
    return Exit.TIMED_OUT
