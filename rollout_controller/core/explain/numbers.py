"""Numbers as people read them, the same everywhere."""

from __future__ import annotations

from math import ceil, floor, log10

from rollout_controller.api.quantities import format_instant


def digits(share: float) -> str:
    """A share from 0 to 1 in percent, without the sign: 0.333 -> `33`, 0.052 -> `5.2`, 0.0005 -> `0.05`.

    Only 0 reads `0`, and only 1 reads `100`.
    """
    hundredths = share * 100
    if hundredths <= 0:
        return "0"
    if 99 < hundredths < 100:
        return f"{min(floor(hundredths * 10) / 10, 99.9):.1f}"
    if round(hundredths, 1) >= 10:
        return f"{hundredths:.0f}"
    if hundredths >= 0.095:
        return f"{hundredths:.1f}"
    hundredths = max(hundredths, 0.001)
    return f"{hundredths:.{-_exponent(hundredths)}f}"


def percent(share: float) -> str:
    """`5.2 %`."""
    return f"{digits(share)} %"


def percent_at_most(share: float) -> str:
    """The same rounded up, for a bound that must hold: 0.0021 -> `0.3 %`, 0.00012 -> `0.02 %`; not below `0.0001 %`."""
    hundredths = max(share * 100, 0.0001)
    places = max(0 if hundredths >= 10 else 1, -_exponent(hundredths))
    return f"{ceil(hundredths * 10**places - 1e-6) / 10**places:.{places}f} %"


def percent_exact(share: float) -> str:
    """A share that a person wrote: 0.05 -> `5 %`, 0.0025 -> `0.25 %`."""
    return f"{round(share * 100, 8):.10g} %"


def count(number: int) -> str:
    """`1,021`."""
    return f"{number:,}"


def about(number: int) -> str:
    """Rounded up to two digits: 587 -> `590`."""
    unit = 10 ** max(len(str(number)) - 2, 0)
    return count(-(-number // unit) * unit)


def milliseconds(limit_ms: float) -> str:
    """`100 ms`, `2.5 s`."""
    return f"{limit_ms:g} ms" if limit_ms < 1000 else f"{limit_ms / 1000:g} s"


def clock(at: float) -> str:
    """Seconds since 1970 -> `13:02:07 UTC`."""
    return f"{format_instant(at)[11:19]} UTC"


def _exponent(value: float) -> int:
    return floor(log10(value) + 1e-9)
