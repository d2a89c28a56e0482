"""What a rollout wants to know of its sources: which question about which identities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.slo.sources import Identity, Sources, limit_ms


class Question(NamedTuple):
    """One question to one source: failed answers of these classes, answers slower than an edge, or the state of a gauge.

    A tuple, because thousands are looked up by it in each window.
    """

    source: str
    kind: Literal["errors", "latency", "gauge"]
    codes: tuple[str, ...] = ()
    edge_ms: float = 0.0


@dataclass(frozen=True)
class Want:
    """A question of an SLO or guard, by its name, and the identity of each of the two slots."""

    name: str
    question: Question
    identities: Mapping[str, Identity]
    """By slot name."""


def wants_of(rollout: TritonRollout, policy: RolloutPolicy, sources: Sources) -> tuple[Want, ...]:
    """All that an active rollout needs to be read. The policy must have passed `check_policy`.

    Raises:
        KeyError: a source that is not there.
    """
    wants = []
    for slo in policy.spec.slos:
        if slo.error_rate is not None:
            question = Question(slo.source, "errors", codes=tuple(sorted(slo.error_rate.codes)))
        else:
            assert slo.latency is not None
            question = Question(slo.source, "latency", edge_ms=limit_ms(slo.latency.max))
        wants.append((slo.name, question))
    wants += [(guard.name, Question(guard.source, "gauge")) for guard in policy.spec.guards]
    namespace = rollout.metadata.namespace
    return tuple(
        Want(name, q, {slot: sources[q.source].identify(spec, namespace) for slot, spec in rollout.spec.slots.items()})
        for name, q in wants
    )
