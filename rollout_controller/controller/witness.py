"""Learns of every turn: aims the feeders, logs decisions, and keeps the figures of /metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import structlog

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Key
from rollout_controller.api.rollout import RolloutSpec, TritonRollout
from rollout_controller.controller.metrics import Metrics
from rollout_controller.controller.observe import Sight
from rollout_controller.controller.senses import LiveSenses
from rollout_controller.controller.ties import Name, Ties
from rollout_controller.core.calm import Calm
from rollout_controller.core.plan import Plan, Scale, SetImage, SetWeights, Tell
from rollout_controller.core.states import RESTING


class LiveWitness:
    """One per controller. Also knows which rollouts hang on which other documents."""

    def __init__(self, senses: LiveSenses, metrics: Metrics) -> None:
        self._senses, self._metrics = senses, metrics
        self._log = structlog.get_logger("rollouts")
        self._done = structlog.get_logger("actions")
        self._lock = threading.Lock()
        self._specs: dict[Key, RolloutSpec] = {}
        self._workloads: dict[Key, dict[str, str]] = {}
        self._ties = Ties()
        self._active: dict[Key, Calm | None] = {}
        """The rollouts in an attempt, and which of their news can wait."""
        self._looked_to: dict[Key, float] = {}

    def looks(self, rollout: TritonRollout) -> None:
        key, spec = rollout.metadata.key, rollout.spec
        if self._specs.get(key) is spec:
            return
        with self._lock:
            self._specs[key] = spec
            self._workloads[key] = {name: slot.workload.name if slot.workload else slot.host for name, slot in spec.slots.items()}
            self._ties.tie(key, _names(key, spec))
        self._senses.looks(rollout)

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None:
        key, now = rollout.metadata.key, time.time()
        judged_to = plan.status.attempt.last_sample_at if plan.status.attempt else None
        with self._lock:
            if judged_to is not None:
                self._looked(key, judged_to, now)
            workloads = self._workloads[key]
            if plan.status.phase in RESTING:
                self._active.pop(key, None)
            else:
                self._active[key] = plan.calm
        self._senses.aim(rollout, sight.policy, plan.status)
        self._metrics.rollouts.record(key, plan.status, now, workloads)
        if any(isinstance(action, Tell) and action.drift for action in plan.actions):
            self._metrics.rollouts.drifted(key)
        for action in plan.actions:
            if isinstance(action, SetImage):
                self._done.info("image set", rollout=str(key), slot=action.slot, version=action.version)
            elif isinstance(action, Scale):
                self._done.info("replicas set", rollout=str(key), slot=action.slot, replicas=action.replicas, note=action.note)
        moved = next((dict(a.weights) for a in plan.actions if isinstance(a, SetWeights)), None)
        if moved is not None:
            attempt = plan.status.attempt
            self._done.info(
                "weights written",
                attempt=attempt.id if attempt else None,
                rollout=str(key),
                phase=str(plan.status.phase),
                weights=moved,
                code=plan.reason.code,
            )

    def turn_refused(self, rollout: TritonRollout, error: Exception) -> None:
        self._metrics.reconcile_errors.labels("stalled").inc()
        self._log.error("a turn was refused; a person must act", rollout=str(rollout.metadata.key), error=str(error))

    def gone(self, key: Key) -> None:
        with self._lock:
            self._active.pop(key, None)
            self._looked_to.pop(key, None)
            self._specs.pop(key, None)
            self._workloads.pop(key, None)
            self._ties.tie(key, frozenset())
        self._senses.forget(key)
        self._metrics.rollouts.forget(key)

    def invalid(self, key: Key, error: InvalidDocument) -> None:
        self._log.error("a TritonRollout that cannot be used", rollout=str(key), error=str(error))

    def users_of(self, kind: str, key: Key) -> tuple[Key, ...]:
        """The rollouts that hang on another document."""
        with self._lock:
            return tuple(self._ties.users_of((kind, key)))

    def active(self) -> tuple[Key, ...]:
        """The rollouts in an attempt."""
        with self._lock:
            return tuple(self._active)

    def stirred(self) -> Iterator[Key]:
        """The rollouts in an attempt from whose newest data something may follow."""
        with self._lock:
            active = tuple(self._active.items())
        for key, calm in active:
            seen_to = None if calm is None else self._senses.seen_to(key, calm)
            if seen_to is None:
                yield key
                continue
            with self._lock:
                if key in self._active:
                    self._looked(key, seen_to, time.time())

    def _looked(self, key: Key, end: float, now: float) -> None:
        """A window that ended then was judged, or found to change nothing."""
        if end > self._looked_to.get(key, 0.0):
            self._looked_to[key] = end
            self._metrics.judged_lag.observe(max(0.0, now - end))


def _names(key: Key, spec: RolloutSpec) -> frozenset[Name]:
    """The documents that a rollout hangs on."""
    workloads = [slot.workload for slot in spec.slots.values() if slot.workload is not None]
    return frozenset(
        {
            ("VirtualService", Key(key.namespace, spec.route.virtual_service)),
            ("RolloutPolicy", Key(key.namespace, spec.policy)),
            *((workload.kind, Key(key.namespace, workload.name)) for workload in workloads),
        }
    )
