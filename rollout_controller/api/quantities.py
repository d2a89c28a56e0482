"""Percentages, durations and instants, read and written as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,12})?"
_PERCENT = re.compile(rf" *({_NUMBER}) *% *")
_DURATION_PART = re.compile(rf"({_NUMBER}) *(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PERCENT_PATTERN = rf"^ *{_NUMBER} *% *$"
DURATION_PATTERN = rf"^ *(?:{_NUMBER} *(?:ms|s|m|h|d) *)+$"
_DURATION = re.compile(DURATION_PATTERN.removeprefix("^").removesuffix("$"))
MOST_CHARACTERS = 32
"""Of a percentage or duration."""
LONGEST_DAYS = 366


def parse_percent(value: object) -> float:
    """`1%` -> 0.01. A number without the sign is refused: 5 could be 5 % or 500 %."""
    match = _PERCENT.fullmatch(value) if isinstance(value, str) and len(value) <= MOST_CHARACTERS else None
    if match is None:
        raise ValueError(f"{value!r} is not a percentage|write it with its sign, for example '1%' or '0.5%'")
    share = float(match[1]) / 100
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is outside 0% to 100%|from '0%' to '100%'")
    return share


def format_percent(share: float) -> str:
    """0.01 -> `1%`, with no more digits than the value has."""
    return f"{round(share * 100, 10):.10g}%"


def parse_duration(value: object) -> float:
    """`1m30s` -> 90.0 seconds. A number without a unit is refused, and so is more than a year."""
    if not isinstance(value, str) or len(value) > MOST_CHARACTERS or not _DURATION.fullmatch(value):
        raise ValueError(f"{value!r} is not a duration|write it with its unit, for example '100ms', '90s', '6m' or '1h30m'")
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(value))
    if seconds > LONGEST_DAYS * _SECONDS["d"]:
        raise ValueError(f"{value!r} is longer than a year|at most '{LONGEST_DAYS}d'")
    return seconds


def format_duration(seconds: float) -> str:
    """90.0 -> `1m30s`; 0.1 -> `100ms`. Read back, it gives the same to the millisecond."""
    left = round(seconds * 1000)
    if left == 0:
        return "0s"
    text = ""
    for unit, size in (("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text


def parse_instant(value: object) -> float:
    """RFC 3339 -> seconds since 1970 UTC; a plain number passes."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        parsed = datetime.fromisoformat(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is not a time|write it as RFC 3339, for example '2026-01-31T13:02:07.250Z'") from None
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()


def format_instant(seconds: float) -> str:
    """Seconds since 1970 -> RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Percent = Annotated[
    float,
    BeforeValidator(parse_percent),
    PlainSerializer(format_percent, return_type=str),
    WithJsonSchema({"type": "string", "pattern": PERCENT_PATTERN, "maxLength": MOST_CHARACTERS}),
]
"""A share from 0 to 1, written `1%`."""

Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "maxLength": MOST_CHARACTERS}),
]
"""Seconds, written `1m30s`."""

Instant = Annotated[
    float,
    BeforeValidator(parse_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""Seconds since 1970 UTC, written as RFC 3339 with milliseconds."""
