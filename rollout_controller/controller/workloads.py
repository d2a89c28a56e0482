"""The workloads behind slots as they are in memory, who else names them, and what became of our changes to them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rollout_controller import workload
from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.rollout import Deploy, TritonRollout
from rollout_controller.cluster.store import DEPLOYMENT, ROLLOUT, STATEFUL_SET
from rollout_controller.controller.observe import Documents, unread
from rollout_controller.controller.ties import Name, Ties
from rollout_controller.core.observation import SlotState, Unknown, WorkloadState

KINDS = {kind.name: kind for kind in (DEPLOYMENT, STATEFUL_SET)}
"""By the `kind` of a slot's workload."""
LOCAL = "without a cluster there are no workloads: leave workload, deploy.image and scale out"
NOT_MANAGED = "this controller does not manage workloads: the chart's value workloads.manage, workloads in its configuration"


@dataclass(frozen=True)
class _Refusal:
    version: str | None
    sentence: str
    at: float


class Workloads:
    """Reads the cache; `none` says why this controller has no workloads, None that it has.

    A workload that is changed for one rollout must be named by no other: whoever scales it down for one takes the pods from
    the other.
    """

    def __init__(self, documents: Documents, clock: Callable[[], float], *, none: str | None = None) -> None:
        self._documents, self._clock, self._none = documents, clock, none
        self._lock = threading.RLock()
        self._read: dict[tuple[Key, str], tuple[Raw, Deploy, SlotState]] = {}
        self._refusals: dict[tuple[Key, str], _Refusal] = {}
        self._ties = Ties()
        self._indexed = False

    def state(self, rollout: TritonRollout, slot: str) -> SlotState:
        """What the slot runs, by its workload; the slot must name one."""
        key, named = rollout.metadata.key, rollout.spec.slots[slot].workload
        assert named is not None
        words = f"{named.kind} {named.name!r}"
        if self._none is not None:
            return _without(Unknown("invalid", f"{words} is named, and {self._none}"))
        kind, place = KINDS[named.kind], Key(key.namespace, named.name)
        problem = unread(self._documents, kind, key.namespace) or unread(self._documents, ROLLOUT, key.namespace)
        if problem is not None:
            return _without(problem)
        document = self._documents.get(kind, place)
        if document is None:
            return _without(Unknown("not-found", f"there is no {words} in namespace {key.namespace}"))
        others = self._others(key, (named.kind, place))
        changes = rollout.spec.deploy.image is not None or rollout.spec.scale is not None
        if changes and others:
            return _without(Unknown("invalid", f"{words} is named by TritonRollout {others[0].name!r}, too: each needs its own"))
        return self._told(key, slot, self._state(key, slot, document, rollout.spec.deploy))

    def note(self, key: Key, document: Raw | None) -> frozenset[Key]:
        """A TritonRollout came, changed or went; gives the others whose workloads it shares, or did until now."""
        names = frozenset(_names(key, document)) if document is not None else frozenset()
        with self._lock:
            return self._ties.tie(key, names)

    def answered(self, rollout: TritonRollout, slot: str, version: str | None, refusal: str | None) -> None:
        """What became of a change that was made for `version`; None: it was taken."""
        place = (rollout.metadata.key, slot)
        with self._lock:
            self._refusals.pop(place, None)
            if refusal is not None:
                self._refusals[place] = _Refusal(version, refusal, self._clock())

    def forget(self, key: Key) -> None:
        """The rollout is gone. What `note` knows stays: another of its name may be there already, and has been noted."""
        with self._lock:
            for memory in (self._read, self._refusals):
                for place in [place for place in memory if place[0] == key]:
                    del memory[place]

    def _state(self, key: Key, slot: str, document: Raw, deploy: Deploy) -> SlotState:
        with self._lock:
            known = self._read.get((key, slot))
            if known is None or known[0] is not document or known[1] != deploy:
                known = (document, deploy, workload.read_slot(deploy, document))
                self._read[key, slot] = known
            return known[2]

    def _told(self, key: Key, slot: str, state: SlotState) -> SlotState:
        """The state with what Kubernetes refused to do to it."""
        with self._lock:
            refusal = self._refusals.get((key, slot))
        if refusal is None or not isinstance(state.workload, WorkloadState):
            return state
        return replace(
            state,
            failed=refusal.sentence,
            failed_version=refusal.version,
            failed_at=refusal.at,
            workload=replace(state.workload, trouble=refusal.sentence),
        )

    def _others(self, key: Key, name: Name) -> tuple[Key, ...]:
        """The other rollouts that name it; the first question is only answered when all rollouts are read."""
        with self._lock:  # what is noted meanwhile waits, and comes after what is read here
            if not self._indexed:
                self._indexed = self._documents.synced(ROLLOUT)
                for each in self._documents.keys(ROLLOUT):
                    self.note(each, self._documents.get(ROLLOUT, each))
            return tuple(sorted(self._ties.users_of(name) - {key}))


def _without(problem: Unknown) -> SlotState:
    return SlotState(problem=problem, workload=problem)


def _names(key: Key, document: Raw) -> set[Name]:
    """The workloads that a TritonRollout names, be it valid or not."""
    slots = _map(_map(document.get("spec")).get("slots"))
    workloads = [_map(_map(slot).get("workload")) for slot in slots.values()]
    return {(str(each.get("kind", "Deployment")), Key(key.namespace, str(each["name"]))) for each in workloads if "name" in each}


def _map(value: Any) -> Raw:
    return value if isinstance(value, dict) else {}
