"""Values of options: text -> value, or what is wrong with it in one sentence."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable

from rollout_controller.cli.words import duration

MOST_LOAD = 10_000
"""Requests a second of the lab's load: bounded, because it runs for a day."""


def seconds(text: str) -> float:
    """`90s` -> 90.0."""
    try:
        return duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def positive(text: str) -> float:
    """A number over 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number over 0")
    return value


def load(text: str) -> float:
    """Requests a second of the lab."""
    value = positive(text)
    if value > MOST_LOAD:
        raise argparse.ArgumentTypeError(
            f"{text!r} is more than this machine is asked for; at most {MOST_LOAD:,} requests a second"
        )
    return value


def between(least: int, most: int | None, what: str) -> Callable[[str], int]:
    """A type of argparse: a whole number in these limits."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            allowed = f"from {least}" if most is None else f"from {least} to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}; a whole number {allowed}")
        return value

    return read


def whole(text: str) -> int:
    """A whole number over 0."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number over 0")
    return value


def meant(given: str, known: Iterable[str]) -> str:
    """`; did you mean --watch?`, or nothing where none is near."""
    import difflib  # noqa: PLC0415 - only a mistyped option needs it

    close = difflib.get_close_matches(given.partition("=")[0], sorted(known), n=1, cutoff=0.8)
    return f"; did you mean {close[0]}?" if close else ""
