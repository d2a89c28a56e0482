"""Small worlds for the judge's tests: a policy, windows of counts, and whole attempts played through `assess`."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge import Assessment, StepView, assess
from rollout_controller.core.observation import Counts, SliReading, Window

T0 = 1_800_000_000.0
WEIGHTS = (10, 25, 50, 100)
MANY = 30.0
"""A binomial count whose standard deviation is more requests than this is normal to within a request or two."""


def policy(
    *, tolerance: str = "60s", slos: Sequence[str] = ("errors", "latency"), grace: str | None = None, **judge: Any
) -> PolicySpec:
    asked: dict[str, dict[str, Any]] = {
        "errors": {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}},
        "latency": {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}},
    }
    if grace is not None:
        asked["latency"]["grace"] = grace
    return PolicySpec.model_validate(
        {
            "steps": [{"weight": weight} for weight in WEIGHTS],
            "slos": [asked[name] for name in slos],
            "judge": {"tolerance": {"errors": tolerance, "latency": tolerance}, **judge},
        }
    )


def step(index: int = 0, started: float | None = 0.0, *, first: float | None = 0.0, planned: float = 1440.0) -> StepView:
    """Step `index`, with its times in seconds after T0."""
    return StepView(
        attempt_started_at=T0,
        first_traffic_at=None if first is None else T0 + first,
        step=index,
        step_started_at=None if started is None else T0 + started,
        weight=WEIGHTS[index],
        next_weight=WEIGHTS[min(index + 1, len(WEIGHTS) - 1)],
        planned_s=planned,
    )


def window(start: float, end: float, canary: tuple[int, int], stable: tuple[int, int] = (0, 0)) -> Window:
    """Counts as (total, bad); times in seconds after T0."""
    return Window(T0 + start, T0 + end, Counts(*canary), Counts(*stable))


def row(counts: Iterable[tuple[tuple[int, int], tuple[int, int]]], seconds: float, start: float = 0.0) -> tuple[Window, ...]:
    """Windows in a row, each (canary, stable)."""
    return tuple(
        window(start + i * seconds, start + (i + 1) * seconds, canary, stable) for i, (canary, stable) in enumerate(counts)
    )


def readings(**windows: Sequence[Window]) -> dict[str, SliReading]:
    return {name: SliReading(tuple(each)) for name, each in windows.items()}


def play(
    spec: PolicySpec, view: StepView, windows: Sequence[Window], state: JudgeState | None = None, name: str = "errors"
) -> Assessment:
    """One window a call, as live."""
    result = assess(spec, view, state, {}, T0)
    for each in windows:
        result = assess(spec, view, result.state, readings(**{name: [each]}), each.end)
    return result


def draw(rng: random.Random, total: int, share: float) -> int:
    """A binomial count; quick where the share is small (waiting times) or the count large (normal)."""
    if share <= 0 or total == 0:
        return 0
    if share >= 1:
        return total
    spread = math.sqrt(total * share * (1 - share))
    if spread > MANY:
        return min(max(round(rng.gauss(total * share, spread)), 0), total)
    if share > 0.2:
        return sum(rng.random() < share for _ in range(total))
    hits, at, scale = -1, 0, math.log1p(-share)
    while at <= total:
        hits += 1
        at += 1 + int(math.log(1 - rng.random()) / scale)
    return hits


def poisson(rng: random.Random, mean: float) -> int:
    return draw(rng, max(int(mean * 50), 1), mean / max(int(mean * 50), 1))


@dataclass(frozen=True)
class World:
    """A service of `rps` requests a second whose bad shares may depend on time (seconds after the first traffic)."""

    rps: float
    canary: Callable[[float], float]
    stable: Callable[[float], float]
    scrape_s: float = 15.0
    step_s: float = 360.0


@dataclass(frozen=True)
class Run:
    harm_at: float | None
    """Seconds after the first traffic."""
    bad: int
    """Bad canary requests until then."""


def attempt(spec: PolicySpec, world: World, seed: int, name: str = "errors") -> Run:
    """A whole attempt, judged window by window, no early advance."""
    rng = random.Random(seed)
    state: JudgeState | None = None
    bad = 0
    per_step = round(world.step_s / world.scrape_s)
    for index, weight in enumerate(WEIGHTS):
        view = step(index, index * world.step_s, planned=world.step_s * len(WEIGHTS))
        for k in range(per_step):
            start = index * world.step_s + k * world.scrape_s
            arm = [world.rps * world.scrape_s * share for share in (weight / 100, 1 - weight / 100)]
            n_c, n_s = (poisson(rng, mean) if mean > 0 else 0 for mean in arm)
            b_c, b_s = draw(rng, n_c, world.canary(start)), draw(rng, n_s, world.stable(start))
            bad += b_c
            each = window(start, start + world.scrape_s, (n_c, b_c), (n_s, b_s))
            result = assess(spec, view, state, readings(**{name: [each]}), each.end)
            state = result.state
            if result.harm_at is not None:
                return Run(result.harm_at - T0, bad)
    return Run(None, bad)


def with_effect(view: StepView, design_effect: float) -> StepView:
    return replace(view, design_effect=design_effect)
