"""What is remembered of drifts: one of them is somebody's mistake, one after the other is something that resets the route."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import DriftState, Reason
from rollout_controller.core.explain import phase as explain

FIGHTS = 3
"""So many drifts put right in a row, and it is no mistake any more."""
FIGHT_S = 600.0
"""Seconds without a drift after which the next one is a new story."""


def note(before: DriftState | None, found: str, now: float, *, repaired: bool) -> tuple[DriftState, bool]:
    """The memory with this drift in it, and whether the drift is news.

    `repaired`: it is put right in this turn, so whatever is found next is another one. What stays as it is, is news once.
    """
    if before is not None and before.open and before.found == found and not repaired:
        return before, False
    if before is None or now - before.last_at > FIGHT_S:
        return DriftState(found=found, first_at=now, last_at=now, count=int(repaired), open=not repaired), True
    return evolve(before, found=found, last_at=now, count=before.count + repaired, open=not repaired), True


def settled(drift: DriftState | None, now: float) -> DriftState | None:
    """The memory once the route is as we wrote it: what was open is closed, and an old story forgotten."""
    if drift is None or now - drift.last_at > FIGHT_S:
        return None
    return evolve(drift, open=False) if drift.open else drift


def repeats(drift: DriftState | None, now: float) -> Reason | None:
    """In words that something keeps resetting the route; None when nothing does."""
    if drift is None or drift.count < FIGHTS or now - drift.last_at > FIGHT_S:
        return None
    return explain.drift_repeats(drift.count, drift.last_at - drift.first_at, drift.found)
