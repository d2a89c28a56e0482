"""The judge's memory: small, readable, and enough for a restarted controller to go on exactly where the other stopped."""

from __future__ import annotations

from rollout_controller.api.meta import Model
from rollout_controller.api.quantities import Instant


class SloEvidence(Model):
    """Evidence about one SLO (judge.md, State)."""

    window_end: Instant | None = None
    """End of the last window that was taken in; windows that end at or before it change nothing."""


class JudgeState(Model):
    """Evidence of an attempt, by SLO name."""

    slos: dict[str, SloEvidence] = {}
