"""Windows of one weight that are joined until they are long enough to be judged."""

from __future__ import annotations

from rollout_controller.api.evidence import PendingWindow, Slower
from rollout_controller.api.meta import unchecked
from rollout_controller.core.judge import compared
from rollout_controller.core.observation import Window
from rollout_controller.core.rounding import rounded


def joined(pending: PendingWindow | None, window: Window, seconds: float, slower: tuple[Slower, ...]) -> PendingWindow:
    """With one more window; `slower`: its usable counts beside the SLO's own edge."""
    canary, stable = window.canary, window.stable
    if pending is not None:
        seconds = rounded(pending.seconds + seconds, 1e3)
        canary, stable = pending.canary + canary, pending.stable + stable
        slower = compared.joined(pending.slower, slower)
    fields = {"end": window.end, "seconds": seconds, "canary": canary, "stable": stable, "slower": slower}
    return unchecked(PendingWindow, fields)
