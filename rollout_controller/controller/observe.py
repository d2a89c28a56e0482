"""Puts together one Observation from memory; never waits for the network."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Protocol

from rollout_controller import mesh
from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key, Raw, parse
from rollout_controller.api.names import mark_of
from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.rollout import RolloutSpec, TritonRollout
from rollout_controller.api.status import Attempt, Phase, RolloutStatus
from rollout_controller.cluster.store import POLICY, VIRTUAL_SERVICE, Kind
from rollout_controller.core.observation import (
    GaugeReading,
    Mark,
    Observation,
    RouteState,
    SliReading,
    SlotState,
    Unknown,
)
from rollout_controller.slo.sources import Sources, check_policy

BEFORE_S = 600.0
"""Stable is watched from this long before the attempt: whether it misses its objective already, and how much its counts vary."""


JUDGED = frozenset({Phase.PROGRESSING, Phase.PAUSED})
"""Users are on the canary: an edit of the policy that cannot be used must not keep harm from being seen."""
_MARK_TYPES = {field.name: {"int": int, "str": str}[str(field.type)] for field in fields(Mark)}


class Documents(Protocol):
    """Documents in memory, kept fresh by a list and watch. What is handed out must not be changed."""

    def get(self, kind: Kind, key: Key) -> Raw | None:
        """None: there is none (or not yet, see `synced`)."""
        ...

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        """Which there are."""
        ...

    def synced(self, kind: Kind, namespace: str | None = None) -> bool: ...

    def refused(self, kind: Kind, namespace: str | None = None) -> str | None:
        """Why the kind may not be read there; None where it may."""
        ...


class Senses(Protocol):
    """What is known of traffic, GPUs and slots, in memory."""

    def reading(self, rollout: TritonRollout, slo: Slo, canary: str, since: float) -> SliReading: ...

    def gauge(self, rollout: TritonRollout, guard: Guard, canary: str) -> GaugeReading | Unknown: ...

    def slot(self, rollout: TritonRollout, slot: str) -> SlotState: ...


@dataclass(frozen=True)
class Sight:
    """What one reconcile sees."""

    policy: RolloutPolicy | Unknown
    observation: Observation
    policy_problem: Unknown | None = None
    """Why `policy` is the last one that could be used: what the document says now cannot be."""


class Observer:
    """Reads documents and senses; remembers parsed policies by their resourceVersion."""

    def __init__(self, documents: Documents, senses: Senses, sources: Sources) -> None:
        self._documents, self._senses, self._sources = documents, senses, sources
        self._policies: dict[Key, tuple[str, RolloutPolicy | Unknown]] = {}
        self._usable: dict[Key, RolloutPolicy] = {}
        """By rollout that is judged: the last one that could be used, also where the document is another by now, or gone."""
        self._routes: dict[Key, tuple[Raw, RolloutSpec, RouteState | Unknown]] = {}
        """By rollout: the document and spec it was read from, and what was read. Both are replaced, never changed."""

    def see(self, rollout: TritonRollout, status: RolloutStatus) -> Sight:
        """Everything from outside that matters to this rollout now."""
        policy, problem = self._policy_of(rollout, status)
        canary = canary_slot(rollout, status)
        windows: dict[str, SliReading] = {}
        gauges: dict[str, GaugeReading | Unknown] = {}
        if status.attempt is not None and isinstance(policy, RolloutPolicy):
            judged = status.judge.slos if status.judge else {}
            for slo in policy.spec.slos:
                end = judged[slo.name].window_end if slo.name in judged else None
                since = watched_from(status, status.attempt) if end is None else end
                windows[slo.name] = self._senses.reading(rollout, slo, canary, since)
            gauges = {guard.name: self._senses.gauge(rollout, guard, canary) for guard in policy.spec.guards}
        slots = {name: self._senses.slot(rollout, name) for name in rollout.spec.slots}
        seen = Observation(self.route(rollout), slots, windows, gauges)
        return Sight(policy, seen, problem)

    def _policy_of(self, rollout: TritonRollout, status: RolloutStatus) -> tuple[RolloutPolicy | Unknown, Unknown | None]:
        """The policy; while users are on the canary the last one that could be used, and why the newest cannot be."""
        key = rollout.metadata.key
        policy = self.policy(Key(key.namespace, rollout.spec.policy))
        if status.phase not in JUDGED:
            self._usable.pop(key, None)
        elif isinstance(policy, RolloutPolicy):
            self._usable[key] = policy
        elif policy.code in ("invalid", "not-found") and key in self._usable:
            return self._usable[key], policy
        return policy, None

    def policy(self, key: Key) -> RolloutPolicy | Unknown:
        """The policy, or in words why there is none that can be used."""
        raw = self._documents.get(POLICY, key)
        if raw is None:
            self._policies.pop(key, None)
            if (problem := unread(self._documents, POLICY, key.namespace)) is not None:
                return problem
            return Unknown("not-found", f"there is no RolloutPolicy {key.name!r} in namespace {key.namespace}")
        version = str(raw["metadata"].get("resourceVersion", ""))
        known = self._policies.get(key)
        if known is None or known[0] != version:
            known = (version, self._parsed(key, raw))
            self._policies[key] = known
        return known[1]

    def _parsed(self, key: Key, raw: Raw) -> RolloutPolicy | Unknown:
        try:
            policy = parse(RolloutPolicy, raw)
        except InvalidDocument as error:
            return Unknown("invalid", f"RolloutPolicy {key.name!r}: {error.one_line}")
        errors = check_policy(policy, self._sources)
        if errors:
            return Unknown("invalid", f"RolloutPolicy {key.name!r}: {InvalidDocument(key.name, errors).one_line}")
        return policy

    def route(self, rollout: TritonRollout) -> RouteState | Unknown:
        """The route's weights and our mark, or why they cannot be read."""
        key = Key(rollout.metadata.namespace, rollout.spec.route.virtual_service)
        document = self._documents.get(VIRTUAL_SERVICE, key)
        if document is None:
            if (problem := unread(self._documents, VIRTUAL_SERVICE, key.namespace)) is not None:
                return problem
            return Unknown("not-found", f"there is no VirtualService {key.name!r} in namespace {key.namespace}")
        known = self._routes.get(rollout.metadata.key)
        if known is None or known[0] is not document or known[1] is not rollout.spec:
            known = (document, rollout.spec, route_state(rollout, document))
            self._routes[rollout.metadata.key] = known
        return known[2]

    def spec_under_way(self, rollout: TritonRollout) -> RolloutSpec | None:
        """The spec with the VirtualService that has the mark of the attempt under way, where it names another one now."""
        key, attempt = rollout.metadata.key, rollout.status.attempt
        named = rollout.spec.route.virtual_service
        if attempt is None or rollout.status.phase is Phase.PREPARING:  # no traffic hangs on it
            return None

        def marked(name: str) -> bool:
            document = self._documents.get(VIRTUAL_SERVICE, Key(key.namespace, name))
            mark = _mark(mesh.read_mark(document, mark_of(key.name))) if document is not None else None
            return mark is not None and mark.attempt == attempt.id

        if marked(named):
            return None
        mine = [each.name for each in self._documents.keys(VIRTUAL_SERVICE) if each.namespace == key.namespace]
        found = [name for name in mine if name != named and marked(name)]
        if len(found) != 1:
            return None
        held = rollout.spec.model_copy(update={"route": rollout.spec.route.model_copy(update={"virtual_service": found[0]})})
        document = self._documents.get(VIRTUAL_SERVICE, Key(key.namespace, found[0]))
        with suppress(mesh.RouteProblem):  # its http route may have another name there
            mesh.read_weights(held, document or {})
            return held
        return held.model_copy(update={"route": held.route.model_copy(update={"http": None})})

    def forget(self, key: Key) -> None:
        """The rollout is gone."""
        self._routes.pop(key, None)
        self._usable.pop(key, None)

    def forget_policy(self, key: Key) -> None:
        """The policy is gone."""
        self._policies.pop(key, None)


def unread(documents: Documents, kind: Kind, namespace: str) -> Unknown | None:
    """Why nobody can say that a document is not there."""
    if documents.synced(kind, namespace):
        return None
    refused = documents.refused(kind, namespace)
    if refused is not None:
        return Unknown("refused", f"no {kind.name} can be read: {refused}")
    return Unknown("not-read-yet", f"the documents of kind {kind.name} are not read yet")


def route_state(rollout: TritonRollout, document: Raw) -> RouteState | Unknown:
    """A VirtualService as the route of a rollout."""
    try:
        weights = mesh.read_weights(rollout.spec, document)
    except mesh.RouteProblem as problem:
        return Unknown(problem.code, problem.sentence)
    mark = _mark(mesh.read_mark(document, mark_of(rollout.metadata.name)))
    return RouteState(document, weights, mark, mesh.lacks(rollout.spec, document) or "")


def _mark(raw: Raw | None) -> Mark | None:
    """Our mark, or None when there is none or somebody garbled it."""
    if raw is None or any(name in raw and type(raw[name]) is not kind for name, kind in _MARK_TYPES.items()):
        return None
    try:
        return Mark(**raw)
    except TypeError:
        return None


def watched_from(status: RolloutStatus, attempt: Attempt) -> float:
    """From when stable is watched: not from before its version had traffic, for then its slot may have run another one.

    (A bad version is rolled back from a slot, and minutes later its fix is promoted there: what users saw of the first is no
    fault of the second.)
    """
    promoted = (record for record in status.attempts if record.outcome == "Promoted" and record.slot == status.stable_slot)
    last = next(promoted, None)
    came = 0.0 if last is None else last.first_traffic_at or last.ended_at
    return max(attempt.started_at - BEFORE_S, came)


def canary_slot(rollout: TritonRollout, status: RolloutStatus) -> str:
    """The slot of the attempt, or the one that is not stable."""
    if status.attempt is not None and status.attempt.slot in rollout.spec.slots:
        return status.attempt.slot
    names = tuple(rollout.spec.slots)
    return rollout.spec.other(status.stable_slot) if status.stable_slot in names else names[1]
