"""One reconcile: see, decide, apply, say when to look again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key, Raw, parse
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.store import ROLLOUT
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.observe import Documents, Observer, Sight
from rollout_controller.core.decide import decide
from rollout_controller.core.plan import Plan


class Witness(Protocol):
    """Learns of every turn: keeps feeders aimed at what matters, and figures for /metrics."""

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None: ...

    def gone(self, key: Key) -> None: ...

    def invalid(self, key: Key, error: InvalidDocument) -> None: ...


@dataclass(frozen=True)
class Memory:
    """A rollout as the last turn left it; its status is newer than the stored one by at most 30 s of evidence."""

    document: Raw
    rollout: TritonRollout
    status: RolloutStatus


class Reconciler:
    """Turns the wheel for one key at a time; a key is never in two workers (the queue holds that)."""

    def __init__(
        self, documents: Documents, observer: Observer, applier: Applier, witness: Witness, clock: Callable[[], float]
    ) -> None:
        self._documents, self._observer, self._applier = documents, observer, applier
        self._witness, self._clock = witness, clock
        self._memory: dict[Key, Memory] = {}

    def reconcile(self, key: Key) -> float | None:
        """One turn; returns when to look again (seconds since 1970), None when the rollout is gone.

        Raises:
            StoreError, RouteProblem: an action failed. Memory is dropped, so that the next turn starts from the store.
        """
        document = self._documents.get(ROLLOUT, key)
        if document is None:
            self._memory.pop(key, None)
            self._observer.forget(key)
            self._witness.gone(key)
            return None
        rollout, status = self._recall(key, document)
        if rollout is None:
            return None
        sight = self._observer.see(rollout, status)
        plan = decide(rollout, sight.policy, sight.observation, round(self._clock(), 3), status, brief=True)
        self._memory.pop(key, None)
        written = self._applier.apply(rollout, sight.observation, plan)
        if written is not None:
            version = {"resource_version": written["metadata"]["resourceVersion"]}  # all that a write of the status changes
            rollout = rollout.model_copy(update={"status": plan.status, "metadata": rollout.metadata.model_copy(update=version)})
        self._memory[key] = Memory(written or document, rollout, plan.status)
        self._witness.turned(rollout, sight, plan)
        return plan.look_again

    def _recall(self, key: Key, document: Raw) -> tuple[TritonRollout | None, RolloutStatus]:
        """The rollout as it stands, and its newest status. An invalid edit leaves the last valid spec in force."""
        memory = self._memory.get(key)
        if memory is not None and memory.document is document:
            return memory.rollout, memory.status
        try:
            rollout = parse(TritonRollout, document)
        except InvalidDocument as error:
            self._witness.invalid(key, error)
            if memory is None:
                return None, RolloutStatus()
            kept = memory.rollout.model_copy(update={"metadata": _metadata(memory.rollout, document)})
            return kept, memory.status
        if memory is not None and memory.document.get("status") == document.get("status"):
            return rollout, memory.status
        return rollout, rollout.status


def _metadata(rollout: TritonRollout, document: Raw) -> object:
    return type(rollout.metadata).model_validate(document["metadata"])
