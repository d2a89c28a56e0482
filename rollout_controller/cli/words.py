"""Numbers, spans of time and clocks as people read them; times on the clock are UTC, as in the controller's sentences."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def span(seconds: float) -> str:
    """Seconds -> `0.8 s`, `41 s`, `3m 02s`, `1h 05m`, `2d 4h`. Nothing is shorter than zero: clocks differ."""
    left = max(seconds, 0.0)
    if 0 < left < 9.95:
        return f"{left:.1f} s" if round(left, 1) % 1 else f"{left:.0f} s"
    whole = round(left)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR}h"


def percent(share: float) -> str:
    """A measured share -> `0.3 %`, `61 %`: one decimal below ten."""
    return f"{share_number(share)} %"


def share_number(share: float) -> str:
    """The same without the sign, for the ends of an interval."""
    hundredth = share * 100
    return f"{hundredth:.1f}" if hundredth < 9.95 else f"{hundredth:.0f}"


def limit(share: float) -> str:
    """A share that a person wrote -> `1 %`, `0.5 %`: no more digits than it has."""
    return f"{round(share * 100, 6):.6g} %"


def count(number: int) -> str:
    return f"{number:,}"


def clock(at: float) -> str:
    """Seconds since 1970 -> `13:07:40 UTC`."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"


def day_and_clock(at: float) -> str:
    """Seconds since 1970 -> `2026-01-31 13:07:40`, for columns headed UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}"


def instant(at: float) -> str:
    """Seconds since 1970 -> RFC 3339, for machines."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_since_1970(value: object) -> float | None:
    """RFC 3339 as the documents have it -> seconds since 1970; None where there is none or it cannot be read."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        parsed = datetime.fromisoformat(str(value)) if value else None
    except ValueError:
        return None
    return None if parsed is None else parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()


def seconds_of(value: object, default: float) -> float:
    """A duration as the documents have it (`1m30s`) -> seconds; the documents were checked when they were written."""
    parts = _PART.findall(str(value or ""))
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else default


def sentence(text: str) -> str:
    """Begun with a capital, ended with a full stop: as the controller writes its own."""
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def duration(text: str) -> float:
    """`90s`, `10m`, `1h30m` -> seconds; ValueError for anything else and for zero."""
    parts = _PART.findall(text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or seconds <= 0:
        raise ValueError(f"{text!r} is not a duration; write it with its unit, for example 90s, 10m or 1h30m")
    return seconds
