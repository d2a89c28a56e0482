"""From step to step: the next weight once its pods are there, the promotion after the last, and pauses in between."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec, Step
from rollout_controller.api.status import Attempt, Reason, StepDone
from rollout_controller.core import capacity
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain import pods
from rollout_controller.core.phases.endings import at
from rollout_controller.core.states import Event
from rollout_controller.core.turn import ACTIVE_LOOK_S, TRAFFIC_LOOK_S, Decision, Turn

GIVE_UP_S = 600.0
"""Seconds without a usable policy or a readable route after which an attempt goes back."""


def advance(turn: Turn, *, unproven: bool) -> Decision:
    """The next step, or the promotion after the last."""
    attempt, policy = turn.attempt, turn.policy
    assert policy is not None
    weight = next_weight(policy, attempt.weight)
    weight = 100 if weight is not None and attempt.go_full else weight
    if weight is not None and turn.rollout.spec.scale is not None and (lacking := capacity.missing(turn, weight)) is not None:
        return _grow(turn, weight, lacking)
    done = StepDone(weight=attempt.weight, seconds=round(held(turn), 3), unproven=unproven)
    attempt = evolve(attempt, steps_done=(*attempt.steps_done, done))
    if weight is None:
        status = turn.go(Event.LAST_STEP_DONE, attempt=attempt)
        reason = explain.promoting(attempt.version, attempt.slot)
        return Decision(status, reason, turn.now, move=turn.set_weights(status, reason))
    return _to_weight(turn, attempt, weight, Event.STEP)


def _grow(turn: Turn, weight: int, lacking: str) -> Decision:
    """The step waits for its pods; a pause when they do not come, because no time makes traffic go where nobody serves."""
    attempt, timeout = turn.attempt, turn.rollout.spec.deploy.timeout
    since = attempt.growing_since if attempt.growing_since is not None else turn.now
    if turn.now - since >= timeout:
        return pause(turn, pods.no_pods(lacking, weight, turn.now - since), to_next=True)
    status = evolve(turn.status, attempt=evolve(attempt, next_weight=weight, growing_since=since))
    reason = pods.growing(lacking, weight, since + timeout)
    look = min(turn.now + ACTIVE_LOOK_S, since + timeout)
    return Decision(status, reason, look, tells=(turn.tell(reason, about=str(weight)),))


def held(turn: Turn) -> float:
    """Seconds that the step has lasted, those in a retreat not counted."""
    started = turn.attempt.step_started_at
    return turn.attempt.held_before + (turn.now - started if started is not None else 0.0)


def first_step(turn: Turn) -> Decision:
    """The first traffic of an attempt."""
    assert turn.policy is not None
    return _to_weight(turn, turn.attempt, turn.policy.steps[0].weight, Event.READY)


def _to_weight(turn: Turn, attempt: Attempt, weight: int, event: Event) -> Decision:
    assert turn.policy is not None
    weights = [step.weight for step in turn.policy.steps]
    attempt = evolve(
        attempt,
        step=weights.index(weight),
        weight=weight,
        weight_set_at=turn.now,
        step_started_at=None,
        left_at=None,
        held_before=0.0,
        unknown_since=None,
        stuck_since=None,
        go_next=False,
        next_weight=None,
        growing_since=None,
    )
    status = turn.go(event, attempt=attempt)
    reason = explain.step_begun(attempt.version, attempt.slot, weight, attempt.step + 1, len(weights))
    tell = at(turn, status).tell(reason)
    return Decision(status, reason, turn.now, move=turn.set_weights(status, reason), tells=(tell,))


def current_step(policy: PolicySpec, weight: int) -> Step:
    """The step of a weight; of the nearest lower one when the policy was edited in the meantime."""
    lower = [step for step in policy.steps if step.weight <= weight]
    return lower[-1] if lower else policy.steps[0]


def next_weight(policy: PolicySpec, weight: int) -> int | None:
    return next((step.weight for step in policy.steps if step.weight > weight), None)


def pause(turn: Turn, reason: Reason, *, to_next: bool, for_s: float | None = None) -> Decision:
    """Hold the weight until a person goes on; bounded by `for_s`, else by the policy."""
    bound = for_s if for_s is not None else turn.policy.paused.after if turn.policy else GIVE_UP_S
    attempt = evolve(
        turn.attempt,
        paused_at=turn.now,
        pause_ends_at=turn.now + bound,
        resume_to="next" if to_next else "step",
        step_pause=for_s is not None,
        go_next=False,
        next_weight=None,
        growing_since=None,
    )
    status = turn.go(Event.PAUSE, attempt=attempt)
    end = "resumed" if pause_then(at(turn, status)) == "Resume" else "rolled back"
    sentence = f"{reason.sentence} Paused at {attempt.weight} %; {end} by itself at {explain.end_of(bound, turn.now + bound)}."
    reason = Reason(code=reason.code, sentence=sentence)
    return Decision(status, reason, turn.now + TRAFFIC_LOOK_S, tells=(turn.tell(reason, warning=True),))


def pause_then(turn: Turn) -> str:
    """What ends a pause that nobody ends: a step's own pause with a duration goes on, others do what the policy says."""
    if turn.policy is None:
        return "Rollback"
    return "Resume" if turn.attempt.step_pause else turn.policy.paused.then
