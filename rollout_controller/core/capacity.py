"""How many pods the slots need in a status: enough before traffic moves, fewer only long after it has gone."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Phase
from rollout_controller.core.explain import pods as explain
from rollout_controller.core.observation import SlotState, Unknown, WorkloadState
from rollout_controller.core.plan import Deed, Scale, SetImage
from rollout_controller.core.states import ON_TRAFFIC, RESTING
from rollout_controller.core.turn import Decision, Turn


def needed(share: int, full: int) -> int:
    """Pods for `share` percent of a traffic that `full` pods carry: rounded up, and never none."""
    return max(1, -(-full * share // 100))


def missing(turn: Turn, weight: int) -> str | None:
    """What pods the canary lacks for `weight` percent of the traffic, in words; None: nothing is lacking."""
    workload = _workload(turn, turn.attempt.slot)
    if workload is None:
        return None
    if isinstance(workload, Unknown):
        return workload.sentence
    ours = turn.rollout.spec.scale is not None
    count = _canary(turn, weight) if ours else max(workload.replicas, 1)
    if count is None:
        stable = _workload(turn, turn.stable)
        return stable.sentence if isinstance(stable, Unknown) else "the size of stable is not known"
    if workload.settled and workload.ready >= count:
        return None
    return explain.missing(workload, count, ours=ours)


def sized(turn: Turn, decision: Decision) -> Decision:
    """The decision with the replicas that its status needs.

    A turn that moves traffic scales nothing: pods come in a turn before, and go in a turn long after.
    """
    scale = turn.rollout.spec.scale
    if scale is None or decision.status.stable_slot is None:
        return decision
    status, after = decision.status, replace(turn, status=decision.status)
    if status.attempt is not None and (full := _full(after)) != status.attempt.stable_replicas:
        status = evolve(status, attempt=evolve(status.attempt, stable_replicas=full))
        decision, after = replace(decision, status=status), replace(turn, status=status)
    if decision.move is not None:
        return decision
    if status.attempt is not None:
        return replace(decision, does=(*decision.does, *_up(after, decision.does)))
    due = _idle_at(after)
    if due is None:
        return decision
    if turn.now < due:
        return replace(decision, look_again=min(decision.look_again, due))
    down, since = _down(after), status.attempts[0].ended_at
    tells = tuple(after.tell(explain.scaled_down(each.slot, turn.now - since, each.replicas)) for each in down)
    return replace(decision, does=(*decision.does, *down), tells=(*decision.tells, *tells))


def _up(turn: Turn, does: tuple[Deed, ...]) -> tuple[Scale, ...]:
    """In an attempt the canary only grows: with nobody else's replicas is fought, and a way back keeps its pods."""
    attempt = turn.attempt
    weight = max(attempt.weight, attempt.next_weight or 0)
    if turn.status.phase is Phase.PREPARING:
        if _stands_for_another(turn) and not any(isinstance(deed, SetImage) for deed in does):
            return ()
        weight = turn.policy.steps[0].weight if turn.policy else 1
    elif turn.status.phase not in ON_TRAFFIC:
        return ()
    workload, count = _workload(turn, attempt.slot), _canary(turn, weight)
    if not isinstance(workload, WorkloadState) or count is None or workload.replicas >= count:
        return ()
    return (Scale(attempt.slot, count, f"{count} canary {attempt.id}"),)


def _stands_for_another(turn: Turn) -> bool:
    """Whether the canary's pods would come up with another version: nobody needs those."""
    deploy, version = turn.rollout.spec.deploy, turn.seen.slots.get(turn.attempt.slot, SlotState()).version
    if deploy.model_repository is not None or version == turn.attempt.version:
        return False
    return deploy.image is not None or version is not None


def _idle_at(turn: Turn) -> float | None:
    """When the slot without traffic may be scaled to its idle size; None: not now."""
    status, scale = turn.status, turn.rollout.spec.scale
    if scale is None or status.phase not in RESTING or not status.attempts or not turn.route_is(status):
        return None
    stable = _workload(turn, turn.stable)
    if not isinstance(stable, WorkloadState) or stable.ready == 0:  # whoever carries the traffic must be able to
        return None
    return status.attempts[0].ended_at + scale.idle_after


def _down(turn: Turn) -> tuple[Scale, ...]:
    """Once after each attempt: who changes the replicas after that is not fought."""
    assert turn.rollout.spec.scale is not None
    slot, idle = turn.rollout.spec.other(turn.stable), turn.rollout.spec.scale.idle
    workload = _workload(turn, slot)
    note = f"{idle} idle {turn.status.attempts[0].id}"
    if not isinstance(workload, WorkloadState) or workload.replicas == idle or workload.note == note:
        return ()
    return (Scale(slot, idle, note),)


def _canary(turn: Turn, weight: int) -> int | None:
    full = _full(turn)
    if full is None:
        return None
    return needed(weight if turn.rollout.spec.canary_by_weight else 100, full)


def _full(turn: Turn) -> int | None:
    """Pods that carry all the traffic: the most that stable had in this attempt.

    An autoscaler takes pods from a stable whose traffic moves away; the canary needs what stable needed for all of it.
    """
    stable = _workload(turn, turn.stable)
    now = stable.replicas if isinstance(stable, WorkloadState) else None
    known = turn.status.attempt.stable_replicas if turn.status.attempt else None
    return max((size for size in (now, known) if size is not None), default=None)


def _workload(turn: Turn, slot: str) -> WorkloadState | Unknown | None:
    return turn.seen.slots.get(slot, SlotState()).workload
