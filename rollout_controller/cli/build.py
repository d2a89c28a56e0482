"""Raw documents and a moment -> Info. Pure; takes what is there and stumbles over nothing that is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rollout_controller.api.names import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION
from rollout_controller.cli.info import AskInfo, AttemptInfo, CheckInfo, Info, PastInfo, SlotInfo, StepInfo, Urgency
from rollout_controller.cli.words import seconds_of, seconds_since_1970

ACTIVE = frozenset({"Preparing", "Progressing", "Retreated", "Paused", "Promoting", "RollingBack"})
"""Phases in which an attempt is going on."""

LATE_AFTER_S = 10.0
"""`nextCheckAt` is a promise: the status is written again by then. Ten seconds more for slow machines and clocks."""

BLOCKS = frozenset({"RouteUnreadable", "RolesUnclear", "PolicyInvalid", "InvalidSpec", "InvalidVersion", "SlotInvalid", "Drift"})
"""Codes of a Stalled that keeps an ask from being taken up, and ends when its cause does: as in core/explain/codes.py."""

_STATES: dict[str, Literal["fine", "violated", "undecided", "unknown"]] = {
    "Satisfied": "fine",
    "Violated": "violated",
    "Undecided": "undecided",
    "Unknown": "unknown",
}


def build(rollout: Mapping[str, Any], policy: Mapping[str, Any] | None, now: float) -> Info:
    """What there is to show about a TritonRollout at `now`; `policy` is its RolloutPolicy, where there is one."""
    metadata, status = _map(rollout.get("metadata")), _map(rollout.get("status"))
    spec = _map(_map(policy).get("spec"))
    phase = str(status.get("phase") or "Idle")
    attempt = _attempt(_map(status.get("attempt")), spec, [_map(v) for v in _list(status.get("verdicts"))], phase, now)
    slots = _slots(_map(_map(rollout.get("spec")).get("slots")), _map(status.get("slots")))
    stable = status.get("stableSlot")
    late_s = _late(status, phase, now)
    drifted = any(s.wanted_percent is not None and s.seen_percent not in {None, s.wanted_percent} for s in slots)
    deadline_at, then = _deadline(rollout, _map(status.get("attempt")), spec, phase)
    reason = _map(status.get("reason"))
    ask = _ask(_map(metadata.get("annotations")), status)
    refused = _refused(status)
    return Info(
        namespace=str(metadata.get("namespace") or "default"),
        name=str(metadata.get("name") or ""),
        phase=phase,
        urgency=_urgency(phase, ask, attempt, late=late_s is not None or bool(refused), drifted=drifted),
        code=str(reason.get("code") or ""),
        sentence=str(reason.get("sentence") or ""),
        refused=refused,
        ask=ask,
        attempt=attempt,
        stable_slot=stable,
        stable_version=next((s.version for s in slots if s.name == stable), None),
        slots=slots,
        checks=_checks(status, now),
        late_s=late_s,
        deadline_at=deadline_at,
        deadline_s=None if deadline_at is None else deadline_at - now,
        deadline_then=then,
        drifted=drifted,
        history=tuple(_past(_map(record), now) for record in _list(status.get("attempts"))),
    )


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else []


def _urgency(phase: str, ask: AskInfo, attempt: AttemptInfo | None, *, late: bool, drifted: bool) -> Urgency:
    if phase in {"Stalled", "RolledBack", "Paused"} or late:
        return "person"
    held_up = attempt is not None and (attempt.blind_s is not None or attempt.stuck_s is not None)
    if phase == "Retreated" or drifted or (phase in ACTIVE and held_up):
        return "watch"
    return "busy" if phase in ACTIVE or not ask.taken_up else "calm"


def _refused(status: Mapping[str, Any]) -> str:
    """Said in the conditions only: phase and reason go on to say what the rollout is at."""
    for condition in map(_map, _list(status.get("conditions"))):
        if condition.get("type") == "Stalled" and condition.get("reason") == "Refused" and condition.get("status") == "True":
            return str(condition.get("message") or "")
    return ""


def _ask(annotations: Mapping[str, Any], status: Mapping[str, Any]) -> AskInfo:
    version = str(annotations.get(ANNOTATION_VERSION) or "").strip() or None
    request = str(annotations.get(ANNOTATION_REQUEST) or "").strip()[:128] or None
    command = " ".join(str(annotations.get(ANNOTATION_COMMAND) or "").split()) or None
    return AskInfo(
        version=version,
        request=request,
        command=command,
        taken_up=version is None or taken_up(status, version, request),
        command_taken_up=command is None or status.get("observedCommand") == command,
        command_result=status.get("commandResult"),
        command_done=bool(status.get("commandDone")),
    )


def taken_up(status: Mapping[str, Any], version: str, request: str | None) -> bool:
    """Whether the status answers this ask. A request id that was taken away asks for nothing."""
    return status.get("observedVersion") == version and request in {None, status.get("observedRequest")}


def _slots(spec: Mapping[str, Any], status: Mapping[str, Any]) -> tuple[SlotInfo, ...]:
    """Canary first, then stable: the one people ask about stands on top."""
    rank = {"canary": 0, "stable": 1}
    slots = []
    for name in [*status, *(n for n in spec if n not in status)]:
        slot = _map(status.get(name))
        weight = _map(slot.get("weight"))
        slots.append(
            SlotInfo(
                name=str(name),
                version=slot.get("version"),
                role=str(slot.get("role") or "idle"),
                wanted_percent=weight.get("desired"),
                seen_percent=weight.get("observed"),
                ready=slot.get("ready"),
                message=str(slot.get("message") or ""),
            )
        )
    return tuple(sorted(slots, key=lambda s: rank.get(s.role, 2)))


def _checks(status: Mapping[str, Any], now: float) -> tuple[CheckInfo, ...]:
    verdicts = [_verdict(_map(v)) for v in _list(status.get("verdicts"))]
    return (*verdicts, *(_guard(_map(g), now) for g in _list(status.get("guards"))))


def _verdict(raw: Mapping[str, Any]) -> CheckInfo:
    low, high = _list(raw.get("interval")) or (None, None)
    return CheckInfo(
        name=str(raw.get("slo")),
        kind="latency" if raw.get("kind") == "latency" else "errors",
        state="both miss" if raw.get("commonCause") else _STATES.get(str(raw.get("verdict")), "unknown"),
        unknown_code=raw.get("unknown"),
        value_share=raw.get("value"),
        low_share=low,
        high_share=high,
        limit_share=float(raw.get("objective") or 0.0),
        limit_ms=raw.get("limitMs"),
        requests=int(raw.get("requests") or 0),
        bad=int(raw.get("bad") or 0),
        stable_share=raw.get("stableValue"),
        stable_requests=int(raw.get("stableRequests") or 0),
        stable_bad=int(raw.get("stableBad") or 0),
        requests_needed=raw.get("requestsNeeded"),
        false_alarm_share=raw.get("falseAlarm"),
        over_s=None,
        sentence=str(raw.get("sentence") or ""),
    )


def _guard(raw: Mapping[str, Any], now: float) -> CheckInfo:
    since = seconds_since_1970(raw.get("overSince"))
    state = str(raw.get("state"))
    return CheckInfo(
        name=str(raw.get("guard")),
        kind="gauge",
        state=state if state in {"fine", "over"} else "unknown",  # type: ignore[arg-type]
        unknown_code=None,
        value_share=raw.get("value"),
        low_share=None,
        high_share=None,
        limit_share=float(raw.get("limit") or 0.0),
        limit_ms=None,
        requests=0,
        bad=0,
        stable_share=raw.get("stableValue"),
        stable_requests=0,
        stable_bad=0,
        requests_needed=None,
        false_alarm_share=None,
        over_s=None if since is None else max(now - since, 0.0),
        sentence=str(raw.get("sentence") or ""),
    )


def _attempt(
    raw: Mapping[str, Any], policy: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]], phase: str, now: float
) -> AttemptInfo | None:
    if not raw:
        return None
    index = int(raw.get("step", -1))
    started = seconds_since_1970(raw.get("startedAt"))
    return AttemptInfo(
        number=int(raw.get("number") or 0),
        id=str(raw.get("id") or ""),
        version=str(raw.get("version") or ""),
        request=raw.get("request"),
        slot=str(raw.get("slot") or ""),
        started_at=started,
        elapsed_s=_since(started, now) or 0.0,
        weight_percent=int(raw.get("weight") or 0),
        step=index + 1,
        steps=_steps(raw, policy, phase, now),
        requests_per_s=_rate(raw, verdicts, now),
        paused_s=_since(seconds_since_1970(raw.get("pausedAt")), now),
        blind_s=_since(seconds_since_1970(raw.get("unknownSince")), now),
        stuck_s=_since(seconds_since_1970(raw.get("stuckSince")), now),
    )


def _rate(raw: Mapping[str, Any], verdicts: Sequence[Mapping[str, Any]], now: float) -> float | None:
    """Canary requests a second in this step."""
    lasted = _since(seconds_since_1970(raw.get("stepStartedAt")), now)
    counted = max([int(verdict.get("requests") or 0) for verdict in verdicts], default=0)
    seen = counted - int(raw.get("requestsBeforeStep") or 0)
    return round(seen / lasted, 6) if lasted and seen > 0 else None


def _since(at: float | None, now: float) -> float | None:
    return None if at is None else max(now - at, 0.0)


def _done(raw: Mapping[str, Any]) -> tuple[StepInfo, ...]:
    return tuple(
        StepInfo(int(s.get("weight") or 0), "done", float(s.get("seconds") or 0.0), bool(s.get("unproven")))
        for s in map(_map, _list(raw.get("stepsDone")))
    )


def _steps(raw: Mapping[str, Any], policy: Mapping[str, Any], phase: str, now: float) -> tuple[StepInfo, ...]:
    """Behind, now, to come. What is to come is read from the policy by weight, so a policy changed meanwhile does no harm."""
    done = _done(raw)
    reached = max((step.weight_percent for step in done), default=0)
    present: tuple[StepInfo, ...] = ()
    if phase in ACTIVE and int(raw.get("step", -1)) >= 0 and int(raw.get("weight") or 0) > reached:
        reached = int(raw["weight"])
        present = (StepInfo(reached, "now", _since(seconds_since_1970(raw.get("stepStartedAt")), now)),)
    weights = [int(_map(step).get("weight") or 0) for step in _list(policy.get("steps"))]
    return (*done, *present, *(StepInfo(weight, "to come") for weight in weights if weight > reached))


def _past(raw: Mapping[str, Any], now: float) -> PastInfo:
    started, ended = seconds_since_1970(raw.get("startedAt")), seconds_since_1970(raw.get("endedAt"))
    sample, off = seconds_since_1970(raw.get("lastSampleAt")), seconds_since_1970(raw.get("trafficOffAt"))
    first, reason = seconds_since_1970(raw.get("firstTrafficAt")), _map(raw.get("reason"))
    return PastInfo(
        number=int(raw.get("number") or 0),
        id=str(raw.get("id") or ""),
        version=str(raw.get("version") or ""),
        from_version=raw.get("fromVersion"),
        request=raw.get("request"),
        slot=str(raw.get("slot") or ""),
        outcome=str(raw.get("outcome") or ""),
        code=str(reason.get("code") or ""),
        sentence=str(reason.get("sentence") or ""),
        started_at=started,
        ended_at=ended,
        took_s=max((ended or 0.0) - (started or ended or 0.0), 0.0),
        on_traffic_s=_since(first, off or ended or now),
        ended_ago_s=_since(ended, now) or 0.0,
        steps=_done(raw),
        weight_percent=int(raw.get("weight") or 0),
        requests=int(raw.get("requests") or 0),
        bad=int(raw.get("bad") or 0),
        traffic_off_s=max(off - sample, 0.0) if off is not None and sample is not None else None,
    )


def _late(status: Mapping[str, Any], phase: str, now: float) -> float | None:
    """Seconds since the last sign of a controller, where it has broken its promise to write again."""
    promised = seconds_since_1970(status.get("nextCheckAt"))
    if phase not in ACTIVE or promised is None or now - promised <= LATE_AFTER_S:
        return None
    return now - (seconds_since_1970(status.get("judgeWrittenAt")) or promised)


def _deadline(
    rollout: Mapping[str, Any], attempt: Mapping[str, Any], policy: Mapping[str, Any], phase: str
) -> tuple[float | None, str | None]:
    """When the present hold ends at the latest and what then, by the policy's words or its defaults."""

    def rule(name: str, after: float, then: str) -> tuple[float, str]:
        given = _map(policy.get(name))
        return seconds_of(given.get("after"), after), str(given.get("then") or then)

    def at(field: str) -> float | None:
        return seconds_since_1970(attempt.get(field))

    started, blind, step_began = at("startedAt"), at("unknownSince"), at("stepStartedAt")
    if phase == "Preparing" and started is not None:
        return started + seconds_of(_map(_map(rollout.get("spec")).get("deploy")).get("timeout"), 600.0), "GiveUp"
    step = next((s for s in map(_map, _list(policy.get("steps"))) if s.get("weight") == attempt.get("weight")), {})
    if phase == "Paused":
        timed = attempt.get("resumeTo") == "next" and _map(_map(step).get("pause")).get("duration") is not None
        return at("pauseEndsAt"), "Resume" if timed else rule("paused", 86400.0, "Rollback")[1]
    if phase == "Progressing" and policy and blind is not None:
        after, then = rule("unknown", 600.0, "Rollback")
        return blind + after, then
    if phase == "Progressing" and policy and step_began is not None:
        after, then = rule("undecided", 360.0, "Advance")
        return step_began + seconds_of(_map(step).get("maxHold"), after), then
    return None, None
