"""What a run says: shares with their intervals, times, bad requests. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

from rollout_controller.replay.attempt import Outcome, Result

_Z = 1.959963984540054
"""The normal deviate of a two-sided 95 % interval."""


@dataclass(frozen=True)
class Share:
    """`count` of `total`, with Wilson's 95 % interval of the true share."""

    count: int
    total: int

    @property
    def value(self) -> float:
        return self.count / self.total if self.total else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """E. B. Wilson, 1927; the ends are 0 and 1 exactly where nothing, or everything, was found."""
        if not self.total:
            return 0.0, 1.0
        n, p = self.total, self.value
        middle = (p + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
        half = _Z / (1 + _Z * _Z / n) * sqrt(p * (1 - p) / n + _Z * _Z / (4 * n * n))
        return (0.0 if self.count == 0 else max(middle - half, 0.0)), (1.0 if self.count == n else min(middle + half, 1.0))


@dataclass(frozen=True)
class Spread:
    """Median and 95th percentile (nearest rank) of what happened `count` times; None: never."""

    count: int
    median: float | None
    p95: float | None


def spread(values: Iterable[float | None]) -> Spread:
    """Of the values that there are."""
    there = sorted(value for value in values if value is not None)
    if not there:
        return Spread(0, None, None)
    return Spread(len(there), _rank(there, 0.5), _rank(there, 0.95))


def _rank(there: Sequence[float], share: float) -> float:
    return there[max(ceil(share * len(there)) - 1, 0)]


@dataclass(frozen=True)
class Figures:
    """One version's attempts. Times are seconds."""

    attempts: int
    outcomes: dict[Outcome, Share]
    unproven: Share
    """Promoted with a step that ended without a verdict."""
    harm_met: Share
    """Attempts in which users met the harm at all."""
    off: Spread
    """From the harm until the canary had no traffic."""
    verdict: Spread
    """From the harm (without one: the first traffic) until the rollback was decided."""
    promotion: Spread
    """From the first traffic to the end of promoted ones."""
    failed: Spread
    """Failed canary requests of an attempt."""
    slow: Spread
    """Slow canary requests of an attempt."""
    requests: Spread
    """Canary requests of an attempt."""
    retreats: float
    """Per attempt."""
    needless: float
    """Retreats per attempt before any harm was there."""
    codes: dict[str, int]
    """How often an attempt ended with each reason code."""


def figures(results: Sequence[Result]) -> Figures:
    """Of all attempts with one version; there is at least one."""
    n = len(results)
    codes: dict[str, int] = {}
    for result in results:
        codes[result.code] = codes.get(result.code, 0) + 1
    counted: dict[Outcome, int] = {}
    for result in results:
        counted[result.outcome] = counted.get(result.outcome, 0) + 1
    order: tuple[Outcome, ...] = ("rolled-back", "gave-up", "promoted", "paused", "not-started", "unfinished")
    return Figures(
        attempts=n,
        outcomes={outcome: Share(counted.get(outcome, 0), n) for outcome in order},
        unproven=Share(sum(r.unproven and r.outcome == "promoted" for r in results), n),
        harm_met=Share(sum(r.harm_met_s is not None for r in results), n),
        off=spread(r.off_s for r in results),
        verdict=spread(r.verdict_s for r in results),
        promotion=spread(r.lasted_s for r in results if r.outcome == "promoted"),
        failed=spread(float(r.failed) for r in results),
        slow=spread(float(r.slow) for r in results),
        requests=spread(float(r.requests) for r in results),
        retreats=sum(r.retreats for r in results) / n,
        needless=sum(r.early_retreats for r in results) / n,
        codes=dict(sorted(codes.items())),
    )


def share_raw(share: Share) -> dict[str, Any]:
    """For machines."""
    low, high = share.interval
    return {"count": share.count, "share": share.value, "low_share": round(low, 6), "high_share": round(high, 6)}


def spread_raw(spread_: Spread, unit: str = "_s") -> dict[str, Any]:
    """For machines; the unit is in the names."""
    return {"count": spread_.count, f"median{unit}": spread_.median, f"p95{unit}": spread_.p95}


def raw(found: Figures) -> dict[str, Any]:
    """All of it for machines: shares from 0 to 1 (_share), seconds (_s), requests (_requests)."""
    return {
        "attempts": found.attempts,
        "outcomes": {outcome.replace("-", "_"): share_raw(share) for outcome, share in found.outcomes.items()},
        "unproven": share_raw(found.unproven),
        "harm_met": share_raw(found.harm_met),
        "traffic_off": spread_raw(found.off),
        "verdict": spread_raw(found.verdict),
        "promotion": spread_raw(found.promotion),
        "failed_on_canary": spread_raw(found.failed, "_requests"),
        "slow_on_canary": spread_raw(found.slow, "_requests"),
        "canary_requests": spread_raw(found.requests, "_requests"),
        "retreats_per_attempt": round(found.retreats, 4),
        "needless_retreats_per_attempt": round(found.needless, 4),
        "reasons": found.codes,
    }
