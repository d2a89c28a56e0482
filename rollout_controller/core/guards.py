"""Guards: gauges with a limit and a time, one step of their memory per tick."""

from __future__ import annotations

from typing import Literal

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import Guard, PolicySpec
from rollout_controller.api.quantities import format_duration
from rollout_controller.api.status import GuardReading
from rollout_controller.core.explain.phase import span
from rollout_controller.core.observation import GaugeReading, Observation, Unknown

_NOT_READ = Unknown("not-read-yet", "not read yet")


def read_guards(
    policy: PolicySpec, before: tuple[GuardReading, ...], seen: Observation, *, brief: bool = False
) -> tuple[GuardReading, ...]:
    """The guards as they stand now. A gauge that cannot be read is `unknown` and forgets how long it was over.

    `brief`: words are kept while a guard's state and limit are what they were.
    """
    known = {reading.guard: reading for reading in before}
    return tuple(
        [_read(guard, known.get(guard.name), seen.gauges.get(guard.name, _NOT_READ), brief=brief) for guard in policy.guards]
    )


def _read(guard: Guard, before: GuardReading | None, gauge: GaugeReading | Unknown, *, brief: bool) -> GuardReading:
    if isinstance(gauge, Unknown):
        return GuardReading(guard=guard.name, state="unknown", limit=guard.above, sentence=f"{guard.name}: {gauge.sentence}")
    over = gauge.canary > guard.above
    since = (before.over_since if before and before.over_since is not None else gauge.at) if over else None
    state: Literal["over", "fine"] = "over" if over else "fine"
    if brief and before is not None and (before.state, before.limit) == (state, guard.above):
        return evolve(before, value=gauge.canary, stable_value=gauge.stable, over_since=since)
    return GuardReading(
        guard=guard.name,
        state=state,
        value=gauge.canary,
        stable_value=gauge.stable,
        limit=guard.above,
        over_since=since,
        sentence=_sentence(guard, gauge, since),
    )


def _sentence(guard: Guard, gauge: GaugeReading, since: float | None) -> str:
    stable = "" if gauge.stable is None else f", stable {gauge.stable * 100:.0f} %"
    if since is None:
        return f"{guard.name} {gauge.canary * 100:.0f} %, at most {guard.above * 100:g} %{stable}"
    both = "; stable is over the limit too: going back would not help" if stable_over(gauge.stable, guard.above) else ""
    return (
        f"canary {guard.name} {gauge.canary * 100:.0f} % for {span(gauge.at - since)}, at most {guard.above * 100:g} %"
        f" for {format_duration(guard.for_)}{stable}{both}"
    )


def stable_over(value: float | None, limit: float) -> bool:
    return value is not None and value > limit


def tripped(policy: PolicySpec, readings: tuple[GuardReading, ...], seen: Observation) -> GuardReading | None:
    """The first guard that was over its limit for the whole of its `for`, says Rollback, and has a stable that is not."""
    known = {reading.guard: reading for reading in readings}  # none before the canary had traffic
    for guard in policy.guards:
        reading, gauge = known.get(guard.name), seen.gauges.get(guard.name)
        if (
            reading is not None
            and reading.over_since is not None
            and isinstance(gauge, GaugeReading)
            and gauge.at - reading.over_since >= guard.for_
            and guard.then == "Rollback"
            and not stable_over(reading.stable_value, guard.above)
        ):
            return reading
    return None
