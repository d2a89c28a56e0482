"""What other controllers ask of the same traffic: thresholds N times, and Mann-Whitney. Test-only, and generous to them.

All watch the same schedule (10, 25, 50, 100 %, six minutes each) and check once a minute; a minute without requests of the
canary is skipped (Flagger would count it as failed). p95 over the limit is read exactly (more than 5 % slower), not between
bucket edges.

* Flagger: errors at most 1 %, p95 at most 100 ms over the last minute; the fifth failed check in all rolls back (`threshold: 5`;
  failed checks are not forgiven).
* Argo Rollouts: the same queries; the fourth failed measurement of one metric fails it (`failureLimit: 3`).
* three in a row: the same checks, three consecutive ones of one metric.
* Kayenta: at the end of each step, Mann-Whitney U over all minutes so far of either version, each metric by itself, two-sided at
  98 %; fails where the canary is higher and its mean is more than 1.25 times stable's (its effect size).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import erfc, sqrt
from random import Random
from typing import NamedTuple

from rollout_controller.replay.attempt import START, Play
from rollout_controller.replay.traffic import Arm, Seen, Traffic

STEPS = (10, 25, 50, 100)
STEP_S, CHECK_S = 360.0, 60.0
MAX_ERRORS, MAX_SLOW = 0.01, 0.05


class Minute(NamedTuple):
    """Shares of the canary and of stable; None without requests."""

    errors: float | None
    slow: float | None
    stable_errors: float | None
    stable_slow: float | None
    step_ends: bool


@dataclass
class Peer:
    """Says at each minute whether it rolls back."""

    name: str
    says: Callable[[Sequence[Minute]], bool]


class PeerResult(NamedTuple):
    """One attempt: seconds from the harm (or the first traffic) to the rollback, None: none; bad canary requests until then."""

    verdict_s: float | None
    failed: int
    slow: int


def _failed(minutes: Sequence[Minute]) -> tuple[list[bool], list[bool]]:
    """By metric, the checks that were made and failed."""
    errors = [m.errors > MAX_ERRORS for m in minutes if m.errors is not None]
    slow = [m.slow > MAX_SLOW for m in minutes if m.slow is not None]
    return errors, slow


def flagger(minutes: Sequence[Minute]) -> bool:
    errors, slow = _failed(minutes)
    return sum(a or b for a, b in zip(errors, slow, strict=True)) >= 5


def argo(minutes: Sequence[Minute]) -> bool:
    return max(map(sum, _failed(minutes))) > 3


def in_a_row(minutes: Sequence[Minute]) -> bool:
    return any(len(checks) >= 3 and all(checks[-3:]) for checks in _failed(minutes))


def kayenta(minutes: Sequence[Minute]) -> bool:
    if not minutes[-1].step_ends:
        return False
    both = (
        ([m.errors for m in minutes], [m.stable_errors for m in minutes]),
        ([m.slow for m in minutes], [m.stable_slow for m in minutes]),
    )
    return any(
        _worse([v for v in canary if v is not None], [v for v in stable if v is not None], 0.02) for canary, stable in both
    )


def _worse(canary: Sequence[float], stable: Sequence[float], p_most: float) -> bool:
    if len(canary) < 3 or len(stable) < 3 or sum(canary) / len(canary) <= 1.25 * sum(stable) / len(stable):
        return False
    return mann_whitney(canary, stable) <= p_most


def mann_whitney(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p of "a and b are alike": normal approximation with ties and continuity, as R has it from 50 points on."""
    pooled = sorted([(value, 0) for value in a] + [(value, 1) for value in b])
    ranks, ties, i = 0.0, 0.0, 0
    while i < len(pooled):
        j = i
        while j < len(pooled) and pooled[j][0] == pooled[i][0]:
            j += 1
        ranks += (i + j + 1) / 2 * sum(1 for k in range(i, j) if pooled[k][1] == 0)
        ties += (j - i) ** 3 - (j - i)
        i = j
    n, m = len(a), len(b)
    u = ranks - n * (n + 1) / 2
    variance = n * m / 12 * ((n + m + 1) - ties / ((n + m) * (n + m - 1)))
    if variance <= 0:
        return 1.0
    z = max(abs(u - n * m / 2) - 0.5, 0) / sqrt(variance)
    return erfc(z / sqrt(2))


PEERS = (
    Peer("Flagger, threshold 5", flagger),
    Peer("Argo Rollouts, failureLimit 3", argo),
    Peer("three minutes in a row", in_a_row),
    Peer("Kayenta, Mann-Whitney", kayenta),
)


@dataclass
class _Sums:
    windows: list[Seen] = field(default_factory=list)

    def minute(self, *, step_ends: bool) -> Minute:
        errors, slow = _shares([w.canary for w in self.windows])
        stable_errors, stable_slow = _shares([w.stable for w in self.windows])
        self.windows = []
        return Minute(errors, slow, stable_errors, stable_slow, step_ends)


def _shares(arms: Sequence[Arm]) -> tuple[float | None, float | None]:
    """Of failed and of slow requests; None without any."""
    total = sum(arm.total for arm in arms)
    if total == 0:
        return None, None
    return sum(arm.errors for arm in arms) / total, sum(arm.slower[0] for arm in arms) / total


def watch(play: Play, seed: str) -> list[PeerResult]:
    """One attempt, by all peers at once: what they see does not depend on what they say before the first says no."""
    world = play.world.model_copy(update={"scrape": 15.0, "aligned": True})
    traffic = Traffic(world, play.harm, (0.1,), Random(seed), START)
    found: list[PeerResult | None] = [None] * len(PEERS)
    minutes: list[Minute] = []
    sums, failed, slow = _Sums(), 0, 0
    for number in range(round(len(STEPS) * STEP_S / world.scrape)):
        at = START + number * world.scrape
        if at % STEP_S < 1e-6 or number == 0:
            traffic.shift(at, STEPS[round(number * world.scrape // STEP_S)])
        window = traffic.window()
        sums.windows.append(window)
        failed, slow = failed + _bad(window.canary), slow + window.canary.slower[0]
        elapsed = (number + 1) * world.scrape
        if elapsed % CHECK_S == 0:
            minutes.append(sums.minute(step_ends=elapsed % STEP_S == 0))
            since = traffic.harmed_since if traffic.harmed_since is not None else START
            for index, peer in enumerate(PEERS):
                if found[index] is None and peer.says(minutes):
                    found[index] = PeerResult(window.end - since, failed, slow)
    return [each or PeerResult(None, failed, slow) for each in found]


def _bad(arm: Arm) -> int:
    return arm.errors + arm.hung
