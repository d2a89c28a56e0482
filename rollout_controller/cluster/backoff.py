"""How long to wait before the next try: with jitter, and never shorter than the store asked for."""

from __future__ import annotations

from collections.abc import Callable

from tenacity import RetryCallState
from tenacity.wait import wait_base

from rollout_controller.cluster.store import Unavailable

LONGEST_ASKED_S = 60.0
"""A store that asks for a longer pause is asked again after this long."""


def at_least_as_asked(own: wait_base) -> Callable[[RetryCallState], float]:
    """What the store asked for (Unavailable.retry_after_s), and `own` on top, so that not all come back at the same moment."""

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked_s = error.retry_after_s if isinstance(error, Unavailable) else None
        return min(asked_s or 0.0, LONGEST_ASKED_S) + own(state)

    return wait
