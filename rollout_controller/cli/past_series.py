"""The SLIs of both slots over an attempt's time, counted from Prometheus as the controller counts them."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.quantities import format_duration
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cli.past import Past
from rollout_controller.core.explain.numbers import milliseconds, percent_exact
from rollout_controller.report.model import Line, Panel, Role
from rollout_controller.slo.batch import Batch, CountBatch
from rollout_controller.slo.decode import counter
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.sources import CountSource, Sources
from rollout_controller.slo.wants import Want, wants_of

POINTS = 120
"""About so many points has a line."""
STEPS_S = (2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
"""Lengths of a window; one must be longer than the scrape interval to hold anything."""
ASK_S = 30.0
"""All questions together have this long."""


def panels(
    past: Past, rollout: TritonRollout, policy: RolloutPolicy, server: Prometheus, *, window_s: float, sources: Sources
) -> tuple[list[Panel], list[str]]:
    """A panel for each SLO, and what could not be read, in words. `window_s`: no window is shorter."""
    start, end = past.shown
    step_s = next((s for s in STEPS_S if s >= window_s and (end - start) / s <= POINTS), STEPS_S[-1])
    deadline = time.monotonic() + ASK_S
    found, problems = [], []
    for want in wants_of(rollout, policy, sources):
        source = sources[want.question.source]
        if not isinstance(source, CountSource):
            continue
        batch = CountBatch(
            source,
            want.question.kind,
            frozenset(want.identities.values()),
            frozenset(),
            frozenset({want.question.edge_ms} if want.question.kind == "latency" else ()),
            int(start // step_s) + 1,
            int(end // step_s),
        )
        fetched = Batch(server, step_s).fetch(batch, deadline)
        if fetched.problem is not None:
            problems.append(fetched.problem.sentence)
            continue
        count = counter(source, want.question)
        lines = []
        for role, slot in _roles(past, rollout):
            pairs = [(k * step_s, count(fetched.tallies.get((want.identities[slot], k)))) for k in _all(batch)]
            lines.append(Line(role, role, tuple((at, _share(pair)) for at, pair in pairs if _had(past, role, at, step_s))))
        found.append(_panel(policy, want, tuple(lines), step_s))
    return found, problems


def _all(batch: CountBatch) -> range:
    return range(batch.first, batch.last + 1)


def _had(past: Past, role: Role, at: float, step_s: float) -> bool:
    """Whether a slot had its role at a time: the canary's was stable before the attempt, or is after a promotion."""
    record = past.record
    return role == "stable" or (
        record.started_at <= at - step_s and (record.outcome != "Promoted" or at <= record.ended_at + step_s)
    )


def _share(pair: tuple[int, int]) -> float | None:
    """Bad ones of all; None: no requests, or not known."""
    total, bad = pair
    return bad / total if total > 0 else None


def _roles(past: Past, rollout: TritonRollout) -> Iterator[tuple[Role, str]]:
    """Which slot was what in this attempt. A slot's name that the spec does not have any more has no line."""
    canary = past.record.slot
    if canary in rollout.spec.slots:
        yield "stable", rollout.spec.other(canary)
        yield "canary", canary


def _panel(policy: RolloutPolicy, want: Want, lines: tuple[Line, ...], step_s: float) -> Panel:
    slo = next(slo for slo in policy.spec.slos if slo.name == want.name)
    every = format_duration(step_s)
    if slo.latency is not None:
        limit, what = 1 - slo.latency.quantile, f"slower than {milliseconds(want.question.edge_ms)}"
        title = f"{slo.name}: {what}, every {every}"
    else:
        assert slo.error_rate is not None
        limit, title = slo.error_rate.max, f"{slo.name}: failed, every {every}"
    return Panel(title, "percent", lines, limit, f"at most {percent_exact(round(limit, 12))}")
