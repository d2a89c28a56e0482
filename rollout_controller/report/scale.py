"""From values to places: linear time, and value axes on which a limit of 1 % and an outage of 100 % can both be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

_TIME_STEPS = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_PERCENT_TICKS = (0.0, 0.05, 0.2, 0.5, 1.0)
_PERCENT_TICKS_LOW = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)
_PERCENT_TOPS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
_MS_TICKS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10_000.0, 30_000.0, 100_000.0)


@dataclass(frozen=True)
class TimeAxis:
    """Seconds since 1970 -> x."""

    start: float
    end: float
    left: float
    width: float

    def x(self, at: float) -> float:
        return self.left + self.width * (min(max(at, self.start), self.end) - self.start) / max(self.end - self.start, 1e-9)

    def ticks(self, about: int = 12) -> list[float]:
        """Seconds since the start, at round distances."""
        span = self.end - self.start
        step = next((s for s in _TIME_STEPS if span / s <= about), _TIME_STEPS[-1])
        return [float(n * step) for n in range(int(span // step) + 1)]


@dataclass(frozen=True)
class ValueAxis:
    """A value -> y; y grows downwards. percent: square root. ms: logarithm."""

    unit: Literal["percent", "ms"]
    low: float
    high: float
    top: float
    height: float

    def y(self, value: float) -> float:
        part = (_bend(self.unit, value) - _bend(self.unit, self.low)) / (_bend(self.unit, self.high) - _bend(self.unit, self.low))
        return self.top + self.height * (1.0 - min(max(part, 0.0), 1.0))

    def ticks(self) -> list[tuple[float, str]]:
        """Values with their names."""
        if self.unit == "percent":
            chosen = _PERCENT_TICKS if self.high > 0.2 else _PERCENT_TICKS_LOW
            return [(t, f"{t * 100:g} %") for t in chosen if t <= self.high]
        return [(t, f"{t:g} ms" if t < 1000 else f"{t / 1000:g} s") for t in _MS_TICKS if self.low <= t <= self.high]


def _bend(unit: Literal["percent", "ms"], value: float) -> float:
    return math.sqrt(max(value, 0.0)) if unit == "percent" else math.log(max(value, 0.1))


def value_axis(unit: Literal["percent", "ms"], values: list[float], limit: float | None, top: float, height: float) -> ValueAxis:
    """An axis that holds the values and the limit."""
    largest = max([*values, *([limit * 1.3] if limit else [])], default=1.0)
    if unit == "percent":
        return ValueAxis(unit, 0.0, next(t for t in _PERCENT_TOPS if t >= min(largest, 1.0)), top, height)
    low = next((t for t in reversed(_MS_TICKS) if t <= min(values, default=1.0)), _MS_TICKS[0])
    high = next((t for t in _MS_TICKS if t >= largest), _MS_TICKS[-1])
    return ValueAxis(unit, low, max(high, low * 10), top, height)
