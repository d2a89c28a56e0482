"""What is said of a piece of news outside of the cluster: what happened, what it means for the traffic, what comes next."""

from __future__ import annotations

from dataclasses import dataclass

from rollout_controller.api.names import Key
from rollout_controller.api.status import Attempt, AttemptRecord
from rollout_controller.core.explain.numbers import clock, count
from rollout_controller.core.explain.phase import named, span


@dataclass(frozen=True)
class Words:
    """What goes beside the sentence of the status. Commands stand between backquotes."""

    headline: str
    detail: str
    next: str


def started(attempt: Attempt, stable: str | None) -> Words:
    by = f" ({attempt.request})" if attempt.request else ""
    return Words(f"version {attempt.version} is being brought in", f"asked for{by}; {named(stable)} has all traffic", "")


def step(attempt: Attempt) -> Words:
    return Words(f"version {attempt.version} gets {attempt.weight} % of the traffic", "", "")


def paused(key: Key, attempt: Attempt, stable: str | None) -> Words:
    return Words(
        f"waits for a person at {attempt.weight} %",
        f"version {attempt.version} has {attempt.weight} % of the traffic, {named(stable)} the rest",
        f"go on: {_command('promote', key)} or {_command('resume', key)}; go back: {_command('abort', key)}",
    )


def retreated(key: Key, attempt: Attempt, stable: str | None) -> Words:
    return Words(
        f"users are back on {named(stable)} for a while",
        f"all traffic is on {named(stable)}; the attempt of version {attempt.version} is not over",
        f"it is tried again by itself; to end it: {_command('abort', key)}",
    )


def rolled_back(key: Key, record: AttemptRecord) -> Words:
    return Words(
        f"rolled back to {named(record.from_version)}",
        _harm(record),
        f"version {record.version} is not tried again unasked; "
        f"to try it: {_command('trigger', key, f'--version {record.version} --again')}",
    )


def aborted(key: Key, record: AttemptRecord) -> Words:
    return Words(
        f"version {record.version} was aborted",
        _harm(record),
        f"to try it again: {_command('trigger', key, f'--version {record.version} --again')}",
    )


def promoted(key: Key, record: AttemptRecord) -> Words:
    steps = f"{len(record.steps_done)} step{'s' if len(record.steps_done) != 1 else ''}"
    seen = f"; {count(record.bad)} of {count(record.requests)} of its requests were bad" if record.requests else ""
    back = f"the way back: {_command('trigger', key, f'--version {record.from_version}')}" if record.from_version else ""
    return Words(f"version {record.version} is promoted", f"{steps} in {span(record.ended_at - record.started_at)}{seen}", back)


def failed(key: Key, record: AttemptRecord) -> Words:
    return Words(
        f"version {record.version} needs a person",
        _harm(record),
        f"look: {_command('explain', key)}; to try it again: {_command('trigger', key, f'--version {record.version} --again')}",
    )


def stalled(key: Key, attempt: Attempt | None, stable: str | None) -> Words:
    traffic = f"{named(stable)} has all traffic" if stable else "traffic stays as it is"
    if attempt is not None and attempt.weight:
        traffic = f"version {attempt.version} was to have {attempt.weight} % of the traffic, {named(stable)} the rest"
    return Words("needs a person", traffic, f"look: {_command('explain', key)}")


def _harm(record: AttemptRecord) -> str:
    """What an attempt that was not promoted did to the traffic."""
    stable = named(record.from_version)
    if record.first_traffic_at is None:
        return f"version {record.version} had no traffic; all traffic is on {stable}"
    off = record.traffic_off_at
    end = off if off is not None else record.ended_at
    had = f"version {record.version} had traffic for {span(end - record.first_traffic_at)}, {record.weight} % at the end"
    bad = f"; {count(record.bad)} of {count(record.requests)} of its requests were bad" if record.requests else ""
    where = f"; all traffic is on {stable} since {clock(off)}" if off is not None else "; where the traffic is now is not known"
    return f"{had}{bad}{where}"


def _command(verb: str, key: Key, rest: str = "") -> str:
    return f"`rollouts -n {key.namespace} {verb} {key.name}{' ' if rest else ''}{rest}`"
