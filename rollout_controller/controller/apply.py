"""Performs a plan's actions one at a time, in their order. The only writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Protocol

from rollout_controller import mesh
from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.names import mark_of
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.cluster.store import ROLLOUT, VIRTUAL_SERVICE, Conflict, Kind, NotFound, ObjectStore
from rollout_controller.controller.reference import Reference
from rollout_controller.core.observation import Observation, RouteState, Unknown
from rollout_controller.core.plan import LoadVersion, Plan, SetWeights, Tell, WarmUp, WriteStatus

FRESH_READS = 3
"""How often a rollback reads the route anew when somebody else wrote it in between."""


class Hands(Protocol):
    """What can be done to slots; asked, not waited for: the answer comes with a later observation."""

    def load(self, rollout: TritonRollout, slot: str, version: str) -> None: ...

    def warm_up(self, rollout: TritonRollout, slot: str, version: str) -> None: ...


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
        for action in plan.actions:
            match action:
                case SetWeights():
                    back = plan.status.phase is Phase.ROLLING_BACK
                    try:
                        self._set_weights(rollout, seen, action, insist=back)
                    except (NotFound, mesh.RouteProblem):
                        if not back:
                            raise
                        # no route, no traffic to move: the status says so, and in the end gives up
                case WriteStatus():
                    document = self._write_status(rollout.metadata.key, plan.status, rollout.metadata.resource_version)
                case LoadVersion():
                    self._hands.load(rollout, action.slot, action.version)
                case WarmUp():
                    self._hands.warm_up(rollout, action.slot, action.version)
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
            StoreError, mesh.RouteProblem: it could not be done.
        """
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
        """Patch what was observed. A rollback does not give up because somebody else wrote in between: it reads again."""
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
