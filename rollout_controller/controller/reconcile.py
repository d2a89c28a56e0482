"""One reconcile: see, decide, apply, say when to look again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key, Metadata, Raw, parse
from rollout_controller.api.rollout import RolloutSpec, TritonRollout
from rollout_controller.api.status import Reason, RolloutStatus
from rollout_controller.cluster.store import ROLLOUT, Refused
from rollout_controller.controller import decisions
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.errors import classify
from rollout_controller.controller.farewell import Farewells
from rollout_controller.controller.news import News
from rollout_controller.controller.observe import Documents, Observer, Sight
from rollout_controller.controller.pace import EvidencePace
from rollout_controller.controller.reference import Reference
from rollout_controller.core.decide import decide
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.obstacle import obstacle, once_more
from rollout_controller.core.plan import Plan, Tell, WriteStatus
from rollout_controller.core.refusal import changed_under_way, refuse, stored_status, without_status
from rollout_controller.core.roles import moved
from rollout_controller.core.turn import RESTING_LOOK_S


class Witness(Protocol):
    """Learns of every turn: keeps feeders aimed at what matters, and figures for /metrics."""

    def looks(self, rollout: TritonRollout) -> None:
        """The documents that the rollout hangs on are about to be read: whatever changes in them from now on wakes it."""

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None: ...

    def turn_refused(self, rollout: TritonRollout, error: Exception) -> None: ...

    def gone(self, key: Key) -> None: ...

    def invalid(self, key: Key, error: InvalidDocument) -> None: ...


@dataclass(frozen=True)
class Memory:
    """A rollout as the last turn left it; its status is newer than the stored one by some evidence (see `evidence_s`).

    `problem`: why its spec is an older one than the document's. `known`: the spec that the status is about, where a turn has
    succeeded with it.
    """

    document: Raw
    rollout: TritonRollout
    status: RolloutStatus
    problem: Reason | None = None
    known: RolloutSpec | None = None


_EVIDENCE = (WriteStatus(),)
"""What is done when only time has passed."""
LOST: Raw = {}
"""In place of the document in memory after a turn that failed: what was written of it is not known."""


class Reconciler:
    """Turns the wheel for one key at a time; a key is never in two workers (the queue holds that)."""

    def __init__(
        self,
        documents: Documents,
        observer: Observer,
        applier: Applier,
        witness: Witness,
        clock: Callable[[], float],
        *,
        news: News | None = None,
        pace: EvidencePace | None = None,
    ) -> None:
        self._documents, self._observer, self._applier = documents, observer, applier
        self._news = news if news is not None else News()
        self._pace = pace if pace is not None else EvidencePace()
        self._witness, self._clock = witness, clock
        self._memory: dict[Key, Memory] = {}
        self._in_attempt: set[Key] = set()
        self._farewells = Farewells(applier, observer, clock)

    def reconcile(self, key: Key) -> float | None:
        """One turn; returns when to look again (seconds since 1970), None when the rollout is gone.

        Raises:
            StoreError: an action failed. The status in memory is dropped: the next turn starts from the store.
        """
        document = self._documents.get(ROLLOUT, key)
        if document is None:
            again = self._farewells.turn(key)
            if again is None:
                self._forget(key)
            return again
        if self._farewells.another(key, str(document["metadata"].get("uid", ""))):
            self._forget(key)
        try:
            memory = self._recall(key, document)
        except InvalidDocument as error:
            return self._refuse(key, document, error)
        rollout, status = memory.rollout, self._news.settle(key, memory.status)
        self._witness.looks(rollout)
        sight = self._observer.see(rollout, status)
        now = round(self._clock(), 3)
        plan = decide(
            rollout,
            sight.policy,
            sight.observation,
            now,
            status,
            brief=True,
            spec_problem=memory.problem,
            policy_problem=sight.policy_problem,
            evidence_s=self._pace.between_s(len(self._in_attempt)),
        )
        plan = self._news.owe(rollout, once_more(rollout, plan, now), now)
        self._memory[key] = replace(memory, document=LOST, status=rollout.status)
        self._farewells.remember(rollout, sight, status)
        try:
            with decisions.context(rollout, plan), self._pace.writing() if plan.actions == _EVIDENCE else nullcontext():
                written = self._applier.apply(rollout, sight.observation, plan)
                decisions.log_unsaid(rollout, plan)
        except Exception as error:
            if classify(error) != "stalled":
                raise
            return self._refused(key, rollout, sight, plan, error)
        self._farewells.remember(rollout, sight, plan.status)
        if written is not None:
            version = {"resource_version": written["metadata"]["resourceVersion"]}  # all that a write of the status changes
            rollout = rollout.model_copy(update={"status": plan.status, "metadata": rollout.metadata.model_copy(update=version)})
        self._memory[key] = Memory(written or document, rollout, plan.status, memory.problem, rollout.spec)
        (self._in_attempt.discard if plan.status.attempt is None else self._in_attempt.add)(key)
        self._news.offer(key, rollout.metadata.uid, plan.status)
        self._witness.turned(rollout, sight, plan)
        return plan.look_again

    def _forget(self, key: Key) -> None:
        self._memory.pop(key, None)
        self._in_attempt.discard(key)
        self._observer.forget(key)
        self._news.forget(key)
        self._witness.gone(key)

    def _refuse(self, key: Key, document: Raw, error: InvalidDocument) -> float:
        """A TritonRollout that cannot be used, and none of it is known that could."""
        now = round(self._clock(), 3)
        status, tells = refuse(document, error, now)
        if tells:
            self._witness.invalid(key, error)
        about, stored = Reference.of(document), stored_status(document)
        status = self._news.owe_status(about, stored, self._news.settle(about.key, status), now)
        self._applier.refuse(document, status, tells)
        self._news.offer(about.key, about.uid, status)
        return now + RESTING_LOOK_S

    def _refused(self, key: Key, rollout: TritonRollout, sight: Sight, plan: Plan, error: Exception) -> float:
        """Only a person can change that: say so in the status, and do not hurry. Nothing is remembered, as after any failure."""
        self._witness.turn_refused(rollout, error)
        fresh, document = rollout, self._documents.get(ROLLOUT, key)
        if document is not None:  # its status may have been written before the refusal
            news = {"metadata": Metadata.model_validate(document["metadata"]), "status": stored_status(document)}
            fresh = rollout.model_copy(update=news)
        now = round(self._clock(), 3)
        instead = self._news.owe(fresh, obstacle(fresh, plan, str(error), now), now)
        with suppress(Refused):  # the status may not be written either: the log has it
            with decisions.context(fresh, instead):
                self._applier.apply(fresh, sight.observation, instead)
            self._news.offer(key, fresh.metadata.uid, instead.status)
        return instead.look_again

    def _recall(self, key: Key, document: Raw) -> Memory:
        """The rollout as it stands, and its newest status. An invalid edit leaves the last valid spec in force.

        Raises:
            InvalidDocument: there is no last valid one.
        """
        memory = self._memory.get(key)
        if memory is not None and memory.document is document and (memory.problem is None or memory.status.attempt is not None):
            return memory
        try:
            rollout = parse(TritonRollout, document)
        except InvalidDocument as error:
            return self._in_spite_of(key, document, error)
        if memory is None:
            return self._first(document, rollout)
        status = rollout.status
        if _same_status(memory, document):  # as we wrote it: a server with older definitions drops what it does not know
            status = memory.status
            rollout = rollout.model_copy(update={"status": memory.rollout.status})
        changed = changed_under_way(memory.rollout.spec, rollout.spec) if status.attempt is not None else None
        if changed is not None and status.attempt is not None:
            problem = explain.spec_held(changed, status.attempt.version)
            return Memory(document, rollout.model_copy(update={"spec": memory.rollout.spec}), status, problem, memory.known)
        if memory.known is not None:
            status = moved(memory.known, rollout.spec, status)
        return Memory(document, rollout, status, known=memory.known)

    def _first(self, document: Raw, rollout: TritonRollout) -> Memory:
        """At first sight, as after a restart: an attempt stays on the route that has its traffic, whatever the spec says now."""
        held, attempt = self._observer.spec_under_way(rollout), rollout.status.attempt
        if held is None or attempt is None:
            return Memory(document, rollout, rollout.status)
        problem = explain.spec_held("spec.route", attempt.version)
        return Memory(document, rollout.model_copy(update={"spec": held}), rollout.status, problem)

    def _in_spite_of(self, key: Key, document: Raw, error: InvalidDocument) -> Memory:
        """The rollout of a document with faults: by its last valid spec, or without a status that cannot be read."""
        memory = self._memory.get(key)
        readable = without_status(document, error)
        if readable is not None:
            return self._without_status(memory, document, parse(TritonRollout, readable), error)
        if memory is None:
            raise error
        problem = explain.invalid_spec(error.one_line)
        if memory.problem != problem:
            self._witness.invalid(key, error)
        changes: dict[str, Any] = {"metadata": Metadata.model_validate(document["metadata"])}
        if not _same_status(memory, document):
            changes["status"] = stored_status(document)
        rollout, status = memory.rollout.model_copy(update=changes), changes.get("status", memory.status)
        return replace(memory, document=document, rollout=rollout, status=status, problem=problem)

    def _without_status(self, memory: Memory | None, document: Raw, rollout: TritonRollout, error: InvalidDocument) -> Memory:
        """Somebody garbled the status: what is in memory goes on, and where there is nothing the route decides anew."""
        if memory is not None and memory.document is not LOST:
            return replace(memory, document=document, rollout=rollout, problem=None)
        lost = explain.status_lost(error.one_line)
        self._applier.say(rollout, Tell(lost.code, lost.sentence, f"document/{lost.code}/{lost.sentence}", warning=True))
        return Memory(document, rollout, rollout.status)


def _same_status(memory: Memory, document: Raw) -> bool:
    return memory.document is not LOST and memory.document.get("status") == document.get("status")
