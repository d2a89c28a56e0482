"""Windows of one weight that are joined until they are long enough to be judged."""

from __future__ import annotations

from rollout_controller.api.evidence import Counts, PendingWindow, Slower
from rollout_controller.api.meta import evolve
from rollout_controller.core.judge import compared
from rollout_controller.core.judge.rounding import rounded
from rollout_controller.core.observation import Window

_NONE = PendingWindow(end=0.0, seconds=0.0, canary=Counts(0, 0), stable=Counts(0, 0))


def joined(pending: PendingWindow | None, window: Window, seconds: float, slower: tuple[Slower, ...]) -> PendingWindow:
    """With one more window; `slower`: its usable counts beside the SLO's own edge."""
    if pending is None:
        return evolve(_NONE, end=window.end, seconds=seconds, canary=window.canary, stable=window.stable, slower=slower)
    return evolve(
        pending,
        end=window.end,
        seconds=rounded(pending.seconds + seconds, 1e3),
        canary=pending.canary + window.canary,
        stable=pending.stable + window.stable,
        slower=compared.joined(pending.slower, slower),
    )
