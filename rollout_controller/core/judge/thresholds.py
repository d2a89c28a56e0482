"""The simple rule: so many windows in a row over the objective are harm. It keeps no promise about wrong decisions.

For people who want it simple; what it costs is in docs/judge.md. Windows, bad data and Unknown are those of the other rule.
"""

from __future__ import annotations

from rollout_controller.api.evidence import PendingWindow
from rollout_controller.core.judge.terms import MARGIN, SloTerms


def after(failures: int, window: PendingWindow, terms: SloTerms) -> int:
    """Windows in a row over the objective, or compared with stable clearly over stable; one without requests says nothing."""
    canary, stable = window.canary, window.stable
    if canary.total == 0:
        return failures
    over = canary.bad > terms.objective * canary.total
    if terms.ratio is not None and stable.total:
        least = terms.ratio * stable.bad / stable.total + MARGIN * terms.objective
        over = over or canary.bad > least * canary.total
    return failures + 1 if over else 0
