"""One reconcile: see, decide, apply, say when to look again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key, Raw, parse
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.store import ROLLOUT, Refused
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.errors import classify
from rollout_controller.controller.observe import Documents, Observer, Sight
from rollout_controller.core.decide import decide
from rollout_controller.core.obstacle import obstacle, once_more
from rollout_controller.core.plan import Plan


class Witness(Protocol):
    """Learns of every turn: keeps feeders aimed at what matters, and figures for /metrics."""

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None: ...

    def turn_refused(self, rollout: TritonRollout, error: Exception) -> None: ...

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
            StoreError: an action failed. Memory is dropped, so that the next turn starts from the store.
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
        now = round(self._clock(), 3)
        plan = once_more(rollout, decide(rollout, sight.policy, sight.observation, now, status, brief=True), now)
        self._memory.pop(key, None)
        try:
            written = self._applier.apply(rollout, sight.observation, plan)
        except Exception as error:
            if classify(error) != "stalled":
                raise
            return self._refused(key, rollout, sight, plan, error)
        if written is not None:
            version = {"resource_version": written["metadata"]["resourceVersion"]}  # all that a write of the status changes
            rollout = rollout.model_copy(update={"status": plan.status, "metadata": rollout.metadata.model_copy(update=version)})
        self._memory[key] = Memory(written or document, rollout, plan.status)
        self._witness.turned(rollout, sight, plan)
        return plan.look_again

    def _refused(self, key: Key, rollout: TritonRollout, sight: Sight, plan: Plan, error: Exception) -> float:
        """Only a person can change that: say so in the status, and do not hurry. Nothing is remembered, as after any failure."""
        self._witness.turn_refused(rollout, error)
        fresh, document = rollout, self._documents.get(ROLLOUT, key)
        if document is not None:  # its status may have been written before the refusal
            with suppress(InvalidDocument):
                fresh = parse(TritonRollout, document)
        instead = obstacle(fresh, plan, str(error), round(self._clock(), 3))
        with suppress(Refused):  # the status may not be written either: the log has it
            self._applier.apply(fresh, sight.observation, instead)
        return instead.look_again

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
