"""Windows of one weight that are joined until they are long enough to be judged."""

from __future__ import annotations

from typing import NamedTuple

from rollout_controller.api.evidence import PendingWindow, Tally
from rollout_controller.api.evidence import Slower as SlowerMemory
from rollout_controller.core.judge import compared
from rollout_controller.core.observation import Counts, Slower, Window


class Pending(NamedTuple):
    """Their sum."""

    end: float
    seconds: float
    canary: Counts
    stable: Counts
    slower: tuple[Slower, ...] = ()


def joined(pending: Pending | None, window: Window, seconds: float) -> Pending:
    """With one more window."""
    slower = compared.usable(window.slower, window.canary, window.stable)
    if pending is None:
        return Pending(window.end, seconds, window.canary, window.stable, slower)
    return Pending(
        window.end,
        round(pending.seconds + seconds, 3),
        pending.canary + window.canary,
        pending.stable + window.stable,
        compared.joined(pending.slower, slower),
    )


def from_memory(memory: PendingWindow | None) -> Pending | None:
    """As it was."""
    if memory is None:
        return None
    canary, stable = (Counts(tally.total, tally.bad) for tally in (memory.canary, memory.stable))
    slower = tuple(Slower(each.edge_ms, each.canary, each.stable) for each in memory.slower)
    return Pending(memory.end, memory.seconds, canary, stable, slower)


def to_memory(pending: Pending | None) -> PendingWindow | None:
    """As the status keeps it."""
    if pending is None:
        return None
    canary, stable = (Tally(total=c.total, bad=c.bad) for c in (pending.canary, pending.stable))
    slower = tuple(SlowerMemory(edge_ms=each.edge_ms, canary=each.canary, stable=each.stable) for each in pending.slower)
    return PendingWindow(end=pending.end, seconds=pending.seconds, canary=canary, stable=stable, slower=slower)
