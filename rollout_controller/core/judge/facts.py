"""What a judged window is compared with: only what was known of stable before it."""

from __future__ import annotations

from typing import NamedTuple

from rollout_controller.api.evidence import Minutes, PendingWindow, StableShare
from rollout_controller.core.judge import compared, variation
from rollout_controller.core.judge.compared import OWN, ArmsByEdge, Shares
from rollout_controller.core.judge.questions import Arms
from rollout_controller.core.judge.variation import MINUTE_S


class Facts(NamedTuple):
    """One window and stable's past."""

    pending: PendingWindow
    by_edge: ArmsByEdge
    recent: Shares
    """Stable's shares of late."""
    minutes: Minutes
    """How stable varies."""
    effect: float
    """D of both arms, where they vary no more than that."""
    prior: float
    """Stable's share where nothing is known of it."""

    def own(self, floor: float) -> Arms:
        """As the SLO itself says."""
        return self._arms(OWN, compared.share(self._of_late(OWN), self.prior), floor)

    def at(self, edge_ms: float) -> Arms | None:
        """At a bucket edge; None where a comparison says nothing."""
        of_late = self._of_late(edge_ms)
        if edge_ms not in self.by_edge or of_late is None or not compared.fits(of_late):
            return None
        return self._arms(edge_ms, compared.share(of_late, self.prior), 0.0)

    def _of_late(self, edge_ms: float) -> StableShare | None:
        for each in self.recent:
            if each.edge_ms == edge_ms:
                return each
        return None

    def _arms(self, edge_ms: float, share: float, floor: float) -> Arms:
        canary, stable = self.by_edge[edge_ms]
        of_canary = of_stable = self.effect
        varies = variation.at(self.minutes, edge_ms)
        if varies > 0:
            minutes = min(self.pending.seconds / MINUTE_S, 1.0)
            of_canary = max(of_canary, variation.effect(varies, canary.total / minutes))
            of_stable = max(of_stable, variation.effect(varies, stable.total / minutes))
        return Arms(canary, stable, share, of_canary, of_stable, floor, self.effect)
