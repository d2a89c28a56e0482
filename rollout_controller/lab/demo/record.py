"""What happened in a play, as it was seen: read from the store and from Envoy's access log, about twice a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key, parse
from rollout_controller.api.policy import PolicySpec, RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import AttemptRecord, GuardReading, RolloutStatus, Verdict
from rollout_controller.cluster.store import EVENT, POLICY, ROLLOUT, VIRTUAL_SERVICE, ObjectStore, StoreError
from rollout_controller.lab.demo.script import Act, Ending
from rollout_controller.lab.traffic import Log, Toll, Traffic, toll
from rollout_controller.mesh import RouteProblem, read_weights
from rollout_controller.report.model import Told

TOLD_AFTER_S = 2.0
"""Requests that were under way when the traffic went off are answered and logged by then."""


@dataclass
class Played:
    """One act as it was seen. Times are seconds since 1970."""

    act: Act
    slot: str
    asked_at: float
    ended_at: float | None = None
    record: AttemptRecord | None = None
    verdicts: tuple[Verdict, ...] = ()
    guards: tuple[GuardReading, ...] = ()
    """As they stood when the attempt ended."""
    weights_after: dict[str, int] = field(default_factory=dict)
    """By version."""
    differences: tuple[str, ...] = ()

    @property
    def took_s(self) -> float | None:
        return None if self.ended_at is None else self.ended_at - self.asked_at

    @property
    def ending(self) -> Ending:
        return Ending(self.act, self.record, self.weights_after)


class Record:
    """Everything that was seen of a play. `look` reads; all else only tells what was read."""

    def __init__(self, store: ObjectStore, key: Key, log: Log, traffic: Traffic, clock: Callable[[], float]) -> None:
        self.traffic = traffic
        self.began_at = clock()
        self.rollout: TritonRollout | None = None
        self.policy: PolicySpec | None = None
        self.told: list[Told] = []
        self.played: list[Played] = []
        self.weights: dict[str, int] = {}
        """By slot, as the VirtualService says."""
        self.shares: dict[str, list[tuple[float, int]]] = {}
        """Version -> (time, percent) at each change."""
        self.roles: list[tuple[float, str | None, str | None]] = []
        """(time, stable's host, canary's host) at each change."""
        self._store, self._key, self._log, self._clock = store, key, log, clock
        self._known: set[str] = set()

    @property
    def status(self) -> RolloutStatus:
        return self.rollout.status if self.rollout else RolloutStatus()

    def look(self) -> None:
        """Read what is new. A store that does not answer or a document that is no longer one changes nothing."""
        self._log.read()
        try:
            rollout = parse(TritonRollout, self._store.get(ROLLOUT, self._key))
            route = self._store.get(VIRTUAL_SERVICE, Key(self._key.namespace, rollout.spec.route.virtual_service))
            if self.policy is None:
                policy = self._store.get(POLICY, Key(self._key.namespace, rollout.spec.policy))
                self.policy = parse(RolloutPolicy, policy).spec
            weights = read_weights(rollout.spec, route)
            events = self._store.list(EVENT, self._key.namespace).items
        except (StoreError, InvalidDocument, RouteProblem):
            return
        self.rollout, self.weights = rollout, weights
        self._note_shares()
        self._note_told(events)
        self._note_end()

    def begin(self, act: Act) -> Played:
        """The ask is about to be made."""
        stable = self.status.stable_slot
        slots = self.rollout.spec.slots if self.rollout else {}
        slot = next((name for name in slots if name != stable), "")
        played = Played(act=act, slot=slot, asked_at=self._clock())
        self.played.append(played)
        return played

    def host(self, slot: str) -> str:
        """The slot's host: Envoy's name for it in the access log."""
        return self.rollout.spec.slots[slot].host if self.rollout and slot in self.rollout.spec.slots else slot

    def version_in(self, slot: str) -> str | None:
        state = self.status.slots.get(slot)
        return state.version if state else None

    def weights_by_version(self) -> dict[str, int]:
        """Percent by version, of the slots that have traffic."""
        return {self.version_in(slot) or slot: percent for slot, percent in self.weights.items() if percent}

    def toll_of(self, played: Played) -> Toll:
        """What the attempt cost users, so far."""
        end = (played.ended_at or self._clock()) + TOLD_AFTER_S
        return toll(self.traffic, self.host(played.slot), played.asked_at, end, played.act.harm)

    def _note_shares(self) -> None:
        now, shares = self._clock(), self.weights_by_version()
        for version in {*self.shares, *shares}:
            steps = self.shares.setdefault(version, [])
            percent = shares.get(version, 0)
            if not steps or steps[-1][1] != percent:
                steps.append((now, percent))
        stable = self.status.stable_slot
        canary = self.status.attempt.slot if self.status.attempt else None
        roles = (self.host(stable) if stable else None, self.host(canary) if canary else None)
        if not self.roles or self.roles[-1][1:] != roles:
            self.roles.append((now, *roles))

    def _note_told(self, events: Any) -> None:
        new = []
        for event in events:
            name = str(event["metadata"]["name"])
            if name in self._known or (event.get("regarding") or {}).get("name") != self._key.name:
                continue
            self._known.add(name)
            new.append(_told(event))
        self.told += sorted(new, key=lambda told: told.at)

    def _note_end(self) -> None:
        """The newest act is over once the status echoes its request, and has its record."""
        played = self.played[-1] if self.played else None
        if played is None or played.record is not None:
            return
        status = self.status
        record = next((r for r in status.attempts if r.request == played.act.request), None)
        if record is None or status.observed_request != played.act.request or status.attempt is not None:
            if status.attempt is not None and status.attempt.request == played.act.request:
                played.verdicts, played.guards = status.verdicts, status.guards
            return
        played.record, played.slot, played.ended_at = record, record.slot, record.ended_at
        played.verdicts, played.guards = status.verdicts or played.verdicts, status.guards or played.guards
        played.weights_after = self.weights_by_version()


def _told(event: Mapping[str, Any]) -> Told:
    return Told(
        at=datetime.fromisoformat(str(event["eventTime"])).timestamp(),
        code=str(event["reason"]),
        sentence=str(event["note"]),
        warning=event.get("type") == "Warning",
    )
