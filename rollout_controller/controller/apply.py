"""Performs a plan's actions one at a time, in their order. The only writer of routes, statuses and workloads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Protocol

from rollout_controller import mesh, workload
from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.names import mark_of
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.store import ROLLOUT, VIRTUAL_SERVICE, Conflict, Kind, NotFound, ObjectStore, Refused
from rollout_controller.controller.reference import Reference
from rollout_controller.controller.workloads import KINDS
from rollout_controller.core.observation import Observation, RouteState, SlotState, Unknown, WorkloadState
from rollout_controller.core.obstacle import BACK
from rollout_controller.core.plan import LoadVersion, Plan, Scale, SetImage, SetWeights, Tell, WarmUp, WriteStatus

FRESH_READS = 3
"""How often a rollback or a retreat reads the route anew when somebody else wrote it in between."""


class Hands(Protocol):
    """What can be done to slots; asked, not waited for: the answer comes with a later observation."""

    def load(self, rollout: TritonRollout, slot: str, version: str) -> None: ...

    def warm_up(self, rollout: TritonRollout, slot: str, version: str) -> None: ...

    def answered(self, rollout: TritonRollout, slot: str, version: str | None, refusal: str | None) -> None:
        """What became of a change of the slot's workload, made for `version`; `refusal` None: it was taken."""
        ...


class Teller(Protocol):
    """Tells people; never fails and never blocks."""

    def tell(self, about: Reference, message: Tell) -> None: ...


class Applier:
    """Carries out plans. `written` hears of every document written, so that readers see their own writes."""

    def __init__(
        self,
        store: ObjectStore,
        hands: Hands,
        teller: Teller,
        *,
        written: Callable[[Kind, Raw], None],
    ) -> None:
        self._store, self._hands, self._teller = store, hands, teller
        self._written = written

    def apply(self, rollout: TritonRollout, seen: Observation, plan: Plan) -> Raw | None:
        """Perform the actions in order; gives the rollout's document if it was written.

        Raises:
            StoreError: the first action that fails ends the turn; the next turn decides anew.
            mesh.RouteProblem: the route cannot take the weights.
        """
        document: Raw | None = None
        workloads: dict[str, Raw] = {}
        for action in plan.actions:
            match action:
                case SetWeights():
                    if plan.status.phase in BACK:
                        with suppress(NotFound, mesh.RouteProblem):  # no route, no traffic to move: the status will say so
                            self._set_weights(rollout, seen, action, insist=True)
                    else:
                        self._set_weights(rollout, seen, action, insist=False)
                case WriteStatus():
                    document = self._write_status(rollout.metadata.key, plan.status, rollout.metadata.resource_version)
                case LoadVersion():
                    self._hands.load(rollout, action.slot, action.version)
                case WarmUp():
                    self._hands.warm_up(rollout, action.slot, action.version)
                case SetImage() | Scale():
                    if not self._change_workload(rollout, seen, plan, action, workloads):
                        break  # what follows builds on it
                case Tell():
                    self._teller.tell(Reference.to(rollout), action)
        return document

    def refuse(self, document: Raw, status: RolloutStatus, tells: Sequence[Tell]) -> None:
        """Say of a TritonRollout that cannot be used why; nothing is written when its status says so already.

        Raises:
            StoreError: the status could not be written, and nothing was told.
        """
        raw, about = status.to_raw(), Reference.of(document)
        if raw != document.get("status"):
            self._write_status(about.key, status, document["metadata"]["resourceVersion"])
        for message in tells:
            self._teller.tell(about, message)

    def restore(self, rollout: TritonRollout, route: RouteState | Unknown, action: SetWeights) -> None:
        """Put traffic back for a rollout that is gone.

        Raises:
            Conflict: it is not gone; only what was read in memory had lost it.
            StoreError, mesh.RouteProblem: it could not be done.
        """
        with suppress(NotFound):
            there = self._store.get(ROLLOUT, rollout.metadata.key)
            if there["metadata"].get("uid") == rollout.metadata.uid:
                raise Conflict(f"TritonRollout {rollout.metadata.key} is still there")
        self._set_weights(rollout, Observation(route, {}), action, insist=True)

    def say(self, rollout: TritonRollout, message: Tell, route: RouteState | Unknown | None = None) -> None:
        """Tell something outside of a plan; with `route`, beside its VirtualService as well."""
        self._teller.tell(Reference.to(rollout), message)
        if isinstance(route, RouteState):
            self._teller.tell(Reference.of(route.document), replace(message, quiet=True))

    def _write_status(self, key: Key, status: RolloutStatus, version: str) -> Raw:
        document = self._store.replace_status(ROLLOUT, key, status.to_raw(), version)
        self._written(ROLLOUT, document)
        return document

    def _set_weights(self, rollout: TritonRollout, seen: Observation, action: SetWeights, *, insist: bool) -> None:
        """Patch what was observed. Taking users back is not given up because somebody else wrote in between: it is read again."""
        key = Key(rollout.metadata.namespace, rollout.spec.route.virtual_service)
        document = seen.route.document if isinstance(seen.route, RouteState) else self._store.get(VIRTUAL_SERVICE, key)
        for attempt in range(FRESH_READS):
            operations = mesh.patch_weights(
                rollout.spec, document, dict(action.weights), mark_of(rollout.metadata.name), asdict(action.mark)
            )
            try:
                self._written(VIRTUAL_SERVICE, self._store.patch(VIRTUAL_SERVICE, key, operations))
            except Conflict:
                if not insist or attempt == FRESH_READS - 1:
                    raise
                document = self._store.get(VIRTUAL_SERVICE, key)
            else:
                return

    def _change_workload(
        self, rollout: TritonRollout, seen: Observation, plan: Plan, action: SetImage | Scale, newest: dict[str, Raw]
    ) -> bool:
        """Patch the workload that was observed; False when Kubernetes will not have it changed.

        A refusal ends nothing but this: it is remembered as the slot's, and `decide` says what follows from it. `newest`:
        the documents of the slots that this plan has changed already.
        """
        named = rollout.spec.slots[action.slot].workload
        document = newest.get(action.slot) or _workload(seen, action.slot)
        if named is None or document is None:
            return False
        kind, key = KINDS[named.kind], Key(rollout.metadata.namespace, named.name)
        if isinstance(action, SetImage):
            operations = workload.patch_image(rollout.spec.deploy, document, action.version)
        else:
            operations = workload.patch_replicas(document, action.replicas, action.note)
        version = plan.status.attempt.version if plan.status.attempt else None
        try:
            newest[action.slot] = self._store.patch(kind, key, operations)
        except Refused as error:
            sentence = f"{named.kind} {named.name!r} may not be changed: {error}"
            self._hands.answered(rollout, action.slot, version, sentence)
            return False
        self._hands.answered(rollout, action.slot, version, None)
        self._written(kind, newest[action.slot])
        return True


def _workload(seen: Observation, slot: str) -> Raw | None:
    """The document of a slot's workload, as it was observed."""
    state = seen.slots.get(slot, SlotState()).workload
    return state.document if isinstance(state, WorkloadState) else None
