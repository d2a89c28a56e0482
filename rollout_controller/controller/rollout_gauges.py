"""What is so about each rollout now, read from its status at each scrape: one function for each metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple, Protocol

from rollout_controller.api.status import Phase, RolloutStatus

Samples = Iterator[tuple[tuple[str, ...], float]]
"""Values of the labels, and the number."""


class Shown(Protocol):
    """One rollout as the metrics see it."""

    @property
    def status(self) -> RolloutStatus: ...

    @property
    def workloads(self) -> Mapping[str, str]:
        """By slot: the workload's name, or the slot's host where there is none, as the mesh's metrics have it."""


class Gauge(NamedTuple):
    """One metric. Its labels come after `namespace` and `rollout`."""

    name: str
    text: str
    labels: tuple[str, ...]
    read: Callable[[Shown], Samples]


def _phase(shown: Shown) -> Samples:
    for phase in Phase:
        yield (phase.value,), 1.0 if shown.status.phase is phase else 0.0


def _reason(shown: Shown) -> Samples:
    if shown.status.reason is not None:
        yield (shown.status.reason.code,), 1.0


def _condition(shown: Shown) -> Samples:
    for condition in shown.status.conditions:
        yield (condition.type, condition.status), 1.0


def _slots(shown: Shown) -> Samples:
    for name, slot in shown.status.slots.items():
        yield (name, slot.role, slot.version or "", shown.workloads.get(name, "")), 1.0


def _weight(shown: Shown) -> Samples:
    for name, slot in shown.status.slots.items():
        for kind, weight in (("desired", slot.weight.desired), ("observed", slot.weight.observed)):
            if weight is not None:
                yield (name, slot.role, kind), weight


def _step(shown: Shown) -> Samples:
    yield (), shown.status.attempt.step + 1 if shown.status.attempt else 0


def _number(shown: Shown) -> Samples:
    yield (), shown.status.attempt_count


def _events(shown: Shown) -> Samples:
    attempt, ended = shown.status.attempt, shown.status.attempts
    started = attempt.started_at if attempt is not None else ended[0].started_at if ended else None
    if started is not None:
        yield ("Started",), started
    if attempt is not None and attempt.step_started_at is not None:
        yield ("Step",), attempt.step_started_at
    if attempt is not None and attempt.left_at is not None:
        yield ("Retreated",), attempt.left_at
    seen = set()
    for record in ended:  # newest first
        if record.outcome not in seen:
            seen.add(record.outcome)
            yield (record.outcome,), record.traffic_off_at or record.ended_at


def _value(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        for role, value in (("canary", verdict.value), ("stable", verdict.stable_value)):
            if value is not None:
                yield (verdict.slo, role), value


def _objective(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        yield (verdict.slo,), verdict.objective


def _latency_limit(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        if verdict.limit_ms is not None:
            yield (verdict.slo,), verdict.limit_ms / 1000.0


def _requests(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        yield (verdict.slo, "canary"), verdict.requests
        yield (verdict.slo, "stable"), verdict.stable_requests


def _bad(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        yield (verdict.slo, "canary"), verdict.bad
        yield (verdict.slo, "stable"), verdict.stable_bad


def _verdict(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        yield (verdict.slo, verdict.verdict.value), 1.0


def _evidence(shown: Shown) -> Samples:
    for verdict in shown.status.verdicts:
        yield (verdict.slo,), 1.0 / max(verdict.false_alarm, 1e-300)


def _guard_value(shown: Shown) -> Samples:
    for guard in shown.status.guards:
        for role, value in (("canary", guard.value), ("stable", guard.stable_value)):
            if value is not None:
                yield (guard.guard, role), value


def _guard_limit(shown: Shown) -> Samples:
    for guard in shown.status.guards:
        yield (guard.guard,), guard.limit


def _guard_state(shown: Shown) -> Samples:
    for guard in shown.status.guards:
        yield (guard.guard, guard.state), 1.0


GAUGES = (
    Gauge("rollout_phase", "1 for the phase the rollout is in, 0 for the others", ("phase",), _phase),
    Gauge("rollout_reason", "1 for the code of the reason why it is there; the others are absent", ("reason",), _reason),
    Gauge(
        "rollout_condition",
        "1 for the status that each condition has; the others are absent",
        ("condition", "status"),
        _condition,
    ),
    Gauge(
        "rollout_slot_info",
        "1 for each slot: its role, the version it runs as far as known, and its workload (or host) as the mesh names it",
        ("slot", "role", "version", "workload"),
        _slots,
    ),
    Gauge(
        "rollout_weight",
        "Percent of the route's traffic: desired by us, observed on the route",
        ("slot", "role", "kind"),
        _weight,
    ),
    Gauge("rollout_step", "The attempt's step, from 1; 0: preparing, or no attempt", (), _step),
    Gauge("rollout_attempt_number", "Number of the attempt that is under way, or of the last one", (), _number),
    Gauge(
        "rollout_event_timestamp_seconds",
        "When it last happened: the attempt's start, step or retreat, or an end of that kind. Dashboards annotate with it",
        ("event",),
        _events,
    ),
    Gauge("rollout_slo_value", "Share of a role's requests that were bad in this attempt, 0 to 1", ("slo", "role"), _value),
    Gauge("rollout_slo_objective", "Largest share of bad requests that the objective allows, 0 to 1", ("slo",), _objective),
    Gauge(
        "rollout_slo_latency_limit_seconds", "Of a latency objective: a request slower than this is bad", ("slo",), _latency_limit
    ),
    Gauge("rollout_slo_requests", "Requests of a role that were judged in this attempt", ("slo", "role"), _requests),
    Gauge("rollout_slo_bad_requests", "Bad ones among them", ("slo", "role"), _bad),
    Gauge("rollout_verdict", "1 for the verdict on each objective; the others are absent", ("slo", "verdict"), _verdict),
    Gauge("rollout_evidence", "Evidence of harm: 1 / anytime-valid p-value; 1 is none", ("slo",), _evidence),
    Gauge("rollout_guard_value", "What a guard watches, 0 to 1 where the guard is a share", ("guard", "role"), _guard_value),
    Gauge("rollout_guard_limit", "More than this is over the guard's limit", ("guard",), _guard_limit),
    Gauge("rollout_guard_state", "1 for the state of each guard; the others are absent", ("guard", "state"), _guard_state),
)
