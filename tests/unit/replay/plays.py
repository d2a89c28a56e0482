"""Plays for tests: a policy, a world, a harm, as documents."""

from __future__ import annotations

from typing import Any

from rollout_controller.api.meta import parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.replay.attempt import Play
from rollout_controller.replay.simulate import play_of
from rollout_controller.replay.world import Harm, World
from rollout_controller.slo.sources import load_sources

SLOS = [
    {"name": "errors", "source": "istio", "errorRate": {"max": "1%"}},
    {"name": "latency", "source": "istio", "latency": {"quantile": 0.95, "max": "100ms"}},
]


def policy(**changes: Any) -> RolloutPolicy:
    """Short steps, so that an attempt is played in a moment."""
    spec = {
        "steps": [{"weight": weight} for weight in (10, 50, 100)],
        "slos": SLOS,
        "hold": {"min": "1m", "minRequests": 0},
        "undecided": {"after": "1m"},
        "compareToStable": {"tolerance": "10%"},
        **changes,
    }
    raw = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "short"}, "spec": spec}
    return parse(RolloutPolicy, raw)


def a_play(
    harm: dict[str, Any] | None = None, rules: dict[str, Any] | None = None, *, insist: bool = False, **world: Any
) -> Play:
    made = World.model_validate({"rps": 20, "scrape": "15s", **world})
    return play_of(policy(**rules or {}), made, Harm.model_validate(harm or {}), load_sources(), insist=insist)
