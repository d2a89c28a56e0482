"""A canary that hangs completes nothing and so is never counted: its share of completed requests is compared with its weight.

H0: the canary completes at least 0.7 of its requests and stable all, so that with a weight w (0 to 1) a completed request is the
canary's with probability at least 0.7 w / (1 - 0.3 w). Three smaller parts are bet on, from any window of the step on;
W <- min((W + pi) exp(l), limit), and too few are completed while the mean of W is 100 or more.
"""

from __future__ import annotations

from functools import lru_cache
from math import exp, log, log1p

from rollout_controller.api.evidence import Routing
from rollout_controller.api.meta import unchecked
from rollout_controller.core.explain.numbers import count, percent
from rollout_controller.core.judge import mixture
from rollout_controller.core.judge.step import StepView
from rollout_controller.core.observation import Unknown, Window
from rollout_controller.core.rounding import rounded

CODE = "routing-or-hanging"
FIRST_S = 10.0
"""After a change of weight: so long are requests of before still on their way."""
_AT_LEAST = 0.7
_PARTS = (0.5, 0.2, 0.02)
"""Of its requests."""
_STARTS = 0.02
"""Of the bet that is left, what starts with each window."""
_THRESHOLD, _LIMIT = log(100), log(10_000)
"""The limit makes it end soon after its cause."""


def remember(memory: Routing, window: Window, step: StepView) -> Routing:
    """Add a window of this step."""
    if step.step_started_at is None or window.start < step.step_started_at + FIRST_S:
        return memory
    canary, stable = window.canary.total, window.stable.total
    if not 0 < step.weight < 100 or canary + stable == 0:
        return memory
    if memory.step != step.step or memory.weight != step.weight:
        memory = Routing()
    ratios = [canary * of_canary + stable * of_stable for of_canary, of_stable in _log_ratios(step.weight)]
    log_weights = mixture.grown(memory.log_weights, memory.left * _STARTS, ratios)
    if max(log_weights) > _LIMIT:
        log_weights = tuple([min(value, _LIMIT) for value in log_weights])
    fields = {
        "step": step.step,
        "weight": step.weight,
        "log_weights": log_weights,
        "left": rounded(memory.left * (1 - _STARTS), 1e12),
        "canary": memory.canary + canary,
        "stable": memory.stable + stable,
    }
    return unchecked(Routing, fields)


def least_share(weight: int) -> float:
    """The canary's share of the completed requests of a window that says nothing against it; 0 where shares say nothing."""
    return _share(_AT_LEAST, weight) if 0 < weight < 100 else 0.0


def _share(completed: float, weight: int) -> float:
    """Of the completed requests, while the canary completes this part of its own, and stable all."""
    return completed * weight / (100 - (1 - completed) * weight)


@lru_cache(maxsize=101)
def _log_ratios(weight: int) -> tuple[tuple[float, float], ...]:
    """By share that is bet on: what a request of the canary and one of stable say."""
    least = least_share(weight)
    shares = [_share(part, weight) for part in _PARTS]
    return tuple((log(share / least), log1p(-share) - log1p(-least)) for share in shares)


def problem(memory: Routing, step: StepView) -> Unknown | None:
    """Why the canary cannot be judged: what it does not complete is not counted."""
    if memory.step != step.step or memory.weight != step.weight or not memory.log_weights:
        return None
    if max(memory.log_weights) < _THRESHOLD - 1 or _mean(memory) < exp(_THRESHOLD):
        return None
    total = memory.canary + memory.stable
    share = f"{count(memory.canary)} of {count(total)} completed requests ({percent(memory.canary / total)})"
    return Unknown(CODE, f"the canary has {share} at a weight of {step.weight} %: it hangs, or requests do not get there")


def _mean(memory: Routing) -> float:
    return sum([exp(value) for value in memory.log_weights]) / len(_PARTS) + memory.left
