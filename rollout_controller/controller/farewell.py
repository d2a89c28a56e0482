"""What is due to rollouts that were deleted in an attempt: said, and where the policy wants it, traffic back to stable."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rollout_controller.api.meta import Key
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.store import StoreError
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.observe import Observer, Sight
from rollout_controller.core.farewell import farewell, parting
from rollout_controller.mesh import RouteProblem

TRIES = 8
LONGEST_S = 30.0
"""Waits between the tries: 2, 4, 8 s and so on up to this; the last one fails about two minutes after the first."""


class _Known(NamedTuple):
    """A rollout as the last turn knew it: what is not in the store any more."""

    rollout: TritonRollout
    policy: RolloutPolicy | None
    status: RolloutStatus
    tries: int = 0
    why_not: str = ""


class Farewells:
    """Remembers every rollout in memory only: one that is deleted while no controller runs leaves its traffic as it is."""

    def __init__(self, applier: Applier, observer: Observer, clock: Callable[[], float]) -> None:
        self._applier, self._observer, self._clock = applier, observer, clock
        self._known: dict[Key, _Known] = {}

    def remember(self, rollout: TritonRollout, sight: Sight, status: RolloutStatus) -> None:
        """A turn is done with this rollout. A policy that went or broke since is still the one that was agreed on."""
        key = rollout.metadata.key
        before = self._known.get(key)
        policy = sight.policy if isinstance(sight.policy, RolloutPolicy) else before.policy if before else None
        self._known[key] = _Known(rollout, policy, status)

    def another(self, key: Key, uid: str) -> bool:
        """Whether the document of this name is not the one that was known; then that one is taken leave of, at once."""
        known = self._known.get(key)
        if known is None or known.rollout.metadata.uid == uid:
            return False
        route = self._observer.route(known.rollout)
        message = parting(known.rollout, known.status, route)
        if message is not None:
            self._applier.say(known.rollout, message, route)
        del self._known[key]
        return True

    def turn(self, key: Key) -> float | None:
        """One try for a rollout that is gone; when to try again (seconds since 1970), None when all is done."""
        known = self._known.get(key)
        if known is None:
            return None
        route = self._observer.route(known.rollout)
        policy = known.policy.spec if known.policy else None
        due = farewell(known.rollout, policy, known.status, route, known.why_not)
        if due is None:
            del self._known[key]
            return None
        message = due.said
        if due.move is not None:
            try:
                self._applier.restore(known.rollout, route, due.move)
            except (StoreError, RouteProblem) as error:
                tried = known.tries + 1
                if tried < TRIES or due.failed is None:
                    self._known[key] = known._replace(tries=tried, why_not=str(error))
                    return self._clock() + min(2.0**tried, LONGEST_S)
                message = due.failed
        self._applier.say(known.rollout, message, route)
        del self._known[key]
        return None
