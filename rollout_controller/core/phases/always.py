"""What every turn does, whatever its phase: answer commands nobody can obey, keep stable's version, say what was refused."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import RolloutStatus, StableLoss
from rollout_controller.core import fights
from rollout_controller.core.conditions import ACCEPTED
from rollout_controller.core.drift import find
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import SlotState
from rollout_controller.core.phases.endings import at, new_command, record, refused
from rollout_controller.core.plan import LoadVersion, Tell
from rollout_controller.core.states import Event
from rollout_controller.core.turn import Decision, Turn

VERBS = ("pause", "resume", "promote", "promote-full", "abort")
FIRST_AGAIN_S, LONGEST_AGAIN_S = 15.0, 300.0
"""A lost stable version is loaded again after this long, doubled each time up to the longest."""


def before(turn: Turn) -> Turn:
    """The turn with a command answered that cannot be obeyed in any phase: an unknown verb, or no id."""
    command = new_command(turn)
    if command is None:
        return turn
    verb, ident = command
    if verb not in VERBS:
        why = f"there is no command {verb[:40]!r}; there are {', '.join(VERBS[:-1])} and {VERBS[-1]}"
    elif not ident:
        why = f"a command needs an id of its own, for example '{verb} 7f3a': it is how the same command is told from the last one"
    else:
        return turn
    return at(turn, refused(turn.status, verb, ident, why))


def unfit(turn: Turn) -> Decision | None:
    """The spec's slots are others than those that the status knows, and the old spec is not known any more (a restart)."""
    status, slots = turn.status, turn.rollout.spec.slots
    named = (status.stable_slot, status.attempt.slot if status.attempt else None)
    missing = next((name for name in named if name is not None and name not in slots), None)
    if missing is None:
        return None
    forgotten: dict[str, object] = {"stable_slot": None, "stable_version": None, "stable_loss": None, "drift": None, "slots": {}}
    if status.attempt is None:
        idle = explain.reason(Code.IDLE, "the slots are others now: which one is stable is read from the route anew")
        return Decision(evolve(status, **forgotten), status.reason or idle, turn.now)
    reason = explain.spec_changed(status.attempt.version, missing)
    ended = record(turn, turn.go(Event.BLOCKED), "Failed", reason)
    return Decision(evolve(ended, **forgotten), reason, turn.now, tells=(turn.tell(reason, warning=True),))


def after(turn: Turn, decision: Decision) -> Decision:
    """The phase's decision with what goes beside it. Nothing here is done before traffic was moved."""
    decision = _keep_stable(turn, decision)
    status = decision.status
    if status.drift is not None and decision.drift is None and turn.route_is(status) and find(at(turn, status)) is None:
        status = evolve(status, drift=fights.settled(status.drift, turn.now))
    return replace(decision, status=status, tells=(*decision.tells, *_answers(turn, status)))


def _answers(turn: Turn, status: RolloutStatus) -> tuple[Tell, ...]:
    """What must be said of commands that were refused and of input that cannot be used: once, when it is new."""
    tells: list[Tell] = []
    stored = turn.rollout.status
    if status.observed_command not in {stored.observed_command, None} and not status.command_done:
        reason = explain.refused_command(status.command_result or "")
        tells.append(turn.tell(reason, warning=True, about=status.observed_command or "", news=True))
    known = next((condition for condition in status.conditions if condition.type == ACCEPTED), None)
    if turn.refused is not None and (known is None or known.message != turn.refused.sentence):
        tells.append(turn.tell(turn.refused, warning=True, about=turn.refused.sentence, again=True, news=True))
    return tuple(tells)


def _keep_stable(turn: Turn, decision: Decision) -> Decision:
    """Load stable's version again when its Triton has lost it (restarted, unloaded by hand).

    A Triton that does not answer is left alone: a prober that cannot reach it says nothing about what it runs.
    """
    status = decision.status
    if status.stable_slot is None or turn.rollout.spec.deploy.model_repository is None:
        return decision
    state = turn.seen.slots.get(status.stable_slot, SlotState())
    wanted = status.stable_version or state.version
    if state.problem is not None or state.loading is not None or wanted is None:
        return replace(decision, status=evolve(status, stable_version=wanted))
    if state.version == wanted:
        return replace(decision, status=evolve(status, stable_version=wanted, stable_loss=None))
    loss = status.stable_loss
    restore = state.version is None or turn.policy is None or turn.policy.drift.then == "Restore"
    due = restore and (loss is None or turn.now >= loss.next_at)
    if loss is not None and not due:
        return decision
    tries = loss.tries if loss else 0
    again_s = min(FIRST_AGAIN_S * 2**tries, LONGEST_AGAIN_S)
    loss = StableLoss(since=loss.since if loss else turn.now, tries=tries + restore, next_at=turn.now + again_s)
    reason = explain.stable_lost(
        status.stable_slot, wanted, state.version, "it is loaded again" if restore else "left as it is, as the policy says"
    )
    return replace(
        decision,
        status=evolve(status, stable_loss=loss),
        does=(*decision.does, LoadVersion(status.stable_slot, wanted)) if restore else decision.does,
        tells=(*decision.tells, turn.tell(reason, warning=True, again=True)) if tries == 0 else decision.tells,
        look_again=min(decision.look_again, loss.next_at),
    )
