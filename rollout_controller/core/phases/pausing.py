"""A pause: how it begins, and what ends it when nobody does."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec, Step
from rollout_controller.api.status import Reason
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.phases.endings import at
from rollout_controller.core.states import Event
from rollout_controller.core.turn import TRAFFIC_LOOK_S, Decision, Turn

GIVE_UP_S = 600.0
"""Seconds without a usable policy or a readable route after which an attempt goes back."""


def current_step(policy: PolicySpec, weight: int) -> Step:
    """The step of a weight; of the nearest lower one when the policy was edited in the meantime."""
    lower = [step for step in policy.steps if step.weight <= weight]
    return lower[-1] if lower else policy.steps[0]


def pause(turn: Turn, reason: Reason, *, to_next: bool, for_s: float | None = None) -> Decision:
    """Hold the weight until a person goes on; bounded by `for_s`, else by the policy."""
    bound = for_s if for_s is not None else turn.policy.paused.after if turn.policy else GIVE_UP_S
    attempt = evolve(turn.attempt, paused_at=turn.now, pause_ends_at=turn.now + bound, resume_to="next" if to_next else "step")
    status = turn.go(Event.PAUSE, attempt=attempt)
    end = "resumed" if pause_then(at(turn, status)) == "Resume" else "rolled back"
    sentence = f"{reason.sentence} Paused at {attempt.weight} %; {end} by itself at {explain.end_of(bound, turn.now + bound)}."
    reason = Reason(code=reason.code, sentence=sentence)
    return Decision(status, reason, turn.now + TRAFFIC_LOOK_S, tells=(turn.tell(reason, warning=True),))


def pause_then(turn: Turn) -> str:
    """What ends a pause that nobody ends: a step's own pause with a duration goes on, others do what the policy says."""
    if turn.policy is None:
        return "Rollback"
    step = current_step(turn.policy, turn.attempt.weight)
    if turn.attempt.resume_to == "next" and step.pause is not None and step.pause.duration is not None:
        return "Resume"
    return turn.policy.paused.then
