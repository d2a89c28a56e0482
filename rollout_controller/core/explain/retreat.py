"""The sentences about a retreat: what happened, that users are safe, and when it is tried again."""

from __future__ import annotations

from rollout_controller.api.evidence import Alarm
from rollout_controller.api.policy import Slo
from rollout_controller.api.status import Reason
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.explain.numbers import clock, count, milliseconds
from rollout_controller.core.explain.phase import reason, span


def what_happened(alarm: Alarm, slo: Slo) -> str:
    """Say it as `12 of 12 canary requests failed within 5 s`."""
    did = "failed" if slo.latency is None else f"took longer than {milliseconds(round(slo.latency.max * 1000, 6))}"
    return f"{count(alarm.bad)} of {count(alarm.total)} canary requests {did} within {span(alarm.seconds)}"


def retreat(what: str, weight: int, returns_at: float, strike: int, strikes: int) -> Reason:
    again = f"Trying {weight} % again at {clock(returns_at)} ({strike} of {strikes})"
    return reason(Code.RETREAT, f"users are back on stable: {what}. {again}")


def still_away(weight: int, returns_at: float) -> Reason:
    return reason(Code.RETREAT, f"users are back on stable. Trying {weight} % again at {clock(returns_at)}")


def returned(weight: int, number: int) -> Reason:
    return reason(Code.RETURNED, f"trying {weight} % again after retreat {number}")


_TIMES = {1: "once", 2: "twice"}


def struck_out(what: str, strikes: int) -> Reason:
    if strikes == 1:
        return reason(Code.HARM_CAME_BACK, f"{what}, and the policy takes that for harm at once")
    again = f"harm came back at once, {_TIMES.get(strikes - 1, f'{strikes - 1} times')}, after the traffic had been taken away"
    return reason(Code.HARM_CAME_BACK, f"{what}: {again}")
