"""PURE: what is said about a turn whose action was refused: forbidden, invalid, a route that cannot take the weights."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.core.conditions import with_phase
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.plan import Plan, SetWeights, Tell, WriteStatus
from rollout_controller.core.turn import headline

SLOW_S = 30.0
"""Only a person can change a refusal, so there is no hurry, except:"""
HURRY_S = 2.0
"""Users wait for their way back."""
BACK = frozenset({Phase.ROLLING_BACK, Phase.RETREATED})


def _said(status: RolloutStatus) -> tuple[str, ...]:
    return tuple(c.message for c in status.conditions if c.type == "Stalled" and c.reason == "Refused")


def once_more(rollout: TritonRollout, plan: Plan, now: float) -> Plan:
    """The plan of a turn after a refusal: until the weights are taken, the conditions go on to say that they were refused.

    A step forward writes its status before its weights: taking the refusal back there would bring it on again, at every try.
    Nor is a status written again that says nothing new. When no weights are to be moved any more, the refusal is over.
    """
    stored, status = rollout.status, plan.status
    if not _said(stored):
        return plan
    others = tuple(action for action in plan.actions if not isinstance(action, WriteStatus))
    if not any(isinstance(action, SetWeights) for action in others):
        over = evolve(status, conditions=with_phase(status, plan.reason, rollout.metadata.generation, now))
        return Plan(over, (WriteStatus(), *others), plan.look_again, plan.reason)
    status = evolve(status, conditions=stored.conditions)
    fresh = (status.judge_written_at or 0.0) - (stored.judge_written_at or 0.0) < SLOW_S
    actions = others if fresh and headline(status) == headline(stored) else plan.actions
    return Plan(status, actions, 0.0, plan.reason)


def obstacle(rollout: TritonRollout, plan: Plan, words: str, now: float) -> Plan:
    """What to do instead of the rest of `plan`: say so, once, in the conditions, and look again.

    Phase, attempt and reason stay as they are stored, so that the attempt goes on when the refusal ends. Conditions are those
    of Stalled; the next turn that succeeds writes those of the phase.
    """
    back = plan.status.phase in BACK and any(isinstance(action, SetWeights) for action in plan.actions)
    wait_s = HURRY_S if back else SLOW_S
    status = rollout.status
    reason = explain.refused(words, wait_s)
    if reason.sentence in _said(status):
        return Plan(status, (), now + wait_s, reason)
    generation = rollout.metadata.generation
    status = evolve(status, conditions=with_phase(status, reason, generation, now, like=Phase.STALLED))
    about = f"{status.attempt.id if status.attempt else f'rest/{status.attempt_count}'}/{reason.code}/{words}"
    tell = Tell(code=reason.code, sentence=reason.sentence, dedup=about, warning=True)
    return Plan(status, (WriteStatus(), tell), now + wait_s, reason)
