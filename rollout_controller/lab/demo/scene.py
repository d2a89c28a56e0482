"""One moment of the play, as values: what the live view and the plain lines show."""

from __future__ import annotations

from dataclasses import dataclass

from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import GuardReading, Phase, Verdict
from rollout_controller.core.states import RESTING
from rollout_controller.lab.demo.record import Played, Record
from rollout_controller.lab.demo.script import Act
from rollout_controller.lab.demo.summary import Row, row
from rollout_controller.report.model import Told

LOOK_BACK_S = 5
"""Rates and quantiles are those of the last five whole seconds."""
SETTLED_S = 1.0
"""A request is in the access log this long after it came, if it is answered in time."""


@dataclass(frozen=True)
class SlotScene:
    """A slot now. Shares from 0 to 1; None: no requests."""

    name: str
    version: str | None
    role: str
    percent: int
    rps: float
    p95_ms: float | None
    failed_share: float | None


@dataclass(frozen=True)
class Limits:
    """What the policy allows; None: it has no such SLO. `quantile` is that of the latency."""

    errors_share: float | None
    latency_ms: float | None
    quantile: float


@dataclass(frozen=True)
class Scene:
    """Everything that is shown at one moment. `number`: of the act, from 1; 0 before the first."""

    elapsed_s: float
    number: int
    total: int
    act: Act | None
    phase: Phase
    step: tuple[int, int] | None
    """(step from 1, of so many) while the canary has traffic."""
    slots: tuple[SlotScene, ...]
    verdicts: tuple[Verdict, ...]
    guards: tuple[GuardReading, ...]
    sentence: str
    told: tuple[Told, ...]
    """Of the act that is being played, oldest first."""
    done: tuple[Row, ...]


def scene(record: Record, total: int, now: float) -> Scene:
    """The moment `now`, from what was read last."""
    played = record.played[-1] if record.played else None
    status = record.status
    active = status.phase not in RESTING
    attempt = status.attempt
    over = [one for one in record.played if one.record is not None]
    return Scene(
        elapsed_s=now - record.began_at,
        number=len(record.played),
        total=total,
        act=played.act if played else None,
        phase=status.phase,
        step=(attempt.step + 1, len(record.policy.steps)) if attempt and attempt.step >= 0 and record.policy else None,
        slots=slots(record, now),
        verdicts=status.verdicts if active else (),
        guards=status.guards if active else (),
        sentence=status.reason.sentence if status.reason else "",
        told=_told(record, played),
        done=tuple(row(one, record.toll_of(one)) for one in over),
    )


def slots(record: Record, now: float) -> tuple[SlotScene, ...]:
    """Canary first, then stable."""
    end = float(int(now - SETTLED_S))
    found = []
    for name, state in record.status.slots.items():
        seen = record.traffic.between(record.host(name), end - LOOK_BACK_S, end)
        found.append(
            SlotScene(
                name=name,
                version=state.version,
                role=state.role,
                percent=record.weights.get(name, 0),
                rps=seen.requests / LOOK_BACK_S,
                p95_ms=seen.quantile_ms(limits(record.policy).quantile),
                failed_share=seen.failed_share,
            )
        )
    return tuple(sorted(found, key=lambda slot: slot.role == "stable"))


def limits(policy: PolicySpec | None) -> Limits:
    """The first SLO of each kind."""
    slos = policy.slos if policy else ()
    errors = next((slo.error_rate for slo in slos if slo.error_rate), None)
    latency = next((slo.latency for slo in slos if slo.latency), None)
    return Limits(
        errors_share=errors.max if errors else None,
        latency_ms=latency.max * 1000 if latency else None,
        quantile=latency.quantile if latency else 0.95,
    )


def _told(record: Record, played: Played | None) -> tuple[Told, ...]:
    return tuple(told for told in record.told if played is not None and told.at >= played.asked_at)
