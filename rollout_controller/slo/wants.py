"""What a rollout wants to know of its sources: which question about which identities."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.slo.sources import CountSource, Identity, Source, Sources, limit_ms

BELOW, ABOVE = 2, 1
"""Edges beside the objective's at which latency is compared with stable."""


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
    beside: tuple[Question, ...] = ()
    """The same question at the edges beside its own, for the comparison with stable; the same query reads them all."""


def question_of(asked: Slo | Guard) -> Question:
    """What a source is asked for an SLO or a guard."""
    if isinstance(asked, Guard):
        return Question(asked.source, "gauge")
    if asked.error_rate is not None:
        return Question(asked.source, "errors", codes=tuple(sorted(asked.error_rate.codes)))
    assert asked.latency is not None
    return Question(asked.source, "latency", edge_ms=limit_ms(asked.latency.max))


def wants_of(rollout: TritonRollout, policy: RolloutPolicy, sources: Sources) -> tuple[Want, ...]:
    """All that an active rollout needs to be read. The policy must have passed `check_policy`.

    Raises:
        KeyError: a source that is not there.
    """
    wants: list[tuple[str, Question, tuple[Question, ...]]] = []
    for slo in policy.spec.slos:
        beside: tuple[Question, ...] = ()
        question = question_of(slo)
        if slo.latency is not None and policy.spec.compare_to_stable is not None:
            beside = tuple(question._replace(edge_ms=edge) for edge in edges_beside(sources[slo.source], question.edge_ms))
        wants.append((slo.name, question, beside))
    wants += [(guard.name, question_of(guard), ()) for guard in policy.spec.guards]
    namespace = rollout.metadata.namespace
    return tuple(
        Want(name, q, {slot: sources[q.source].identify(spec, namespace) for slot, spec in rollout.spec.slots.items()}, beside)
        for name, q, beside in wants
    )


def edges_beside(source: Source, edge_ms: float) -> tuple[float, ...]:
    """The two edges below the objective's and the one above: a canary that is a little slower shows there first."""
    assert isinstance(source, CountSource)
    assert source.latency is not None
    edges = source.latency.edges_ms
    return (*[edge for edge in edges if edge < edge_ms][-BELOW:], *[edge for edge in edges if edge > edge_ms][:ABOVE])
