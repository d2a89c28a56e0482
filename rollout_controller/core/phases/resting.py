"""No attempt is under way: keep traffic where it was left, and take up what CI asks for."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api import images
from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Attempt, Outcome, Phase, Reason, RolloutStatus
from rollout_controller.core.drift import Drift, find, meet
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import BLOCKS, Code
from rollout_controller.core.explain.pods import slot_problem
from rollout_controller.core.observation import RouteState, SlotState, Unknown
from rollout_controller.core.phases.endings import at, refuse_command
from rollout_controller.core.plan import Deed, LoadVersion, SetImage
from rollout_controller.core.states import Event
from rollout_controller.core.turn import RESTING_LOOK_S, Decision, Turn

ENDED: dict[Phase, Outcome] = {
    Phase.SUCCEEDED: "Promoted",
    Phase.ROLLED_BACK: "RolledBack",
    Phase.ABORTED: "Aborted",
    Phase.STALLED: "Failed",
}
"""Which outcome of the last attempt a phase at rest stands for."""
UNPROVEN = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.RETREATED, Phase.ROLLING_BACK})
"""Phases of a mark under which its slot is not stable, whatever its weight."""


def rest(turn: Turn) -> Decision:
    """One turn of a phase in which no attempt is under way."""
    turn = refuse_command(turn, "no attempt is under way")
    route = turn.seen.route
    if isinstance(route, RouteState) and turn.status.stable_slot is None:
        adopted = _adopt(turn, route)
        if isinstance(adopted, Decision):
            return adopted
        turn = at(turn, adopted)
    if (drift := find(turn)) is not None:
        return _put_back(turn, drift)
    if isinstance(route, Unknown):
        return _wait(turn) if route.code == "not-read-yet" else _blocked(turn, explain.route_problem(route.sentence))
    if turn.refused is not None:
        return _refuse(turn, turn.refused)
    if turn.policy is None:
        return _wait(turn)
    return _begin(turn) if turn.asks else _stay(turn)


def _wait(turn: Turn) -> Decision:
    """Documents or slots are still being read after a start: that is over soon, and until then nothing is news."""
    return Decision(turn.status, turn.status.reason or _rested(turn, turn.status), turn.now + 1.0)


def _stay(turn: Turn) -> Decision:
    """Nothing to do. What was in the way, if anything, is so no more."""
    status, before = turn.status, turn.status.reason
    if before is not None and before.code in BLOCKS:
        ended = _ended(status)
        if status.phase is Phase.STALLED and ended is None:
            status = turn.go(Event.UNBLOCKED)
        before = ended
    if status.phase is Phase.IDLE or before is None:
        before = _rested(turn, status)
    return Decision(status, before, turn.now + RESTING_LOOK_S)


def _ended(status: RolloutStatus) -> Reason | None:
    """The reason of the attempt whose end the phase stands for; None where it stands for something else."""
    last = status.attempts[0] if status.attempts else None
    if last is None or last.outcome != ENDED.get(status.phase) or last.version != status.observed_version:
        return None
    return last.reason


def _rested(turn: Turn, status: RolloutStatus) -> Reason:
    if status.stable_slot is None:
        return explain.reason(Code.IDLE, "not read yet")
    if status.phase is Phase.SUCCEEDED and status.observed_version is not None:
        return explain.already_served(turn.stable, status.observed_version)
    return explain.idle(turn.stable, turn.stable_version)


def _blocked(turn: Turn, reason: Reason) -> Decision:
    """Something only a person can mend. The phase changes only when that keeps an ask from being taken up."""
    status = turn.go(Event.BLOCKED) if turn.asks and turn.status.phase is not Phase.STALLED else turn.status
    return Decision(status, reason, turn.now + RESTING_LOOK_S, tells=(turn.tell(reason, warning=True, again=True),))


def _refuse(turn: Turn, reason: Reason) -> Decision:
    """What a person wrote cannot be used. A text that is no version is echoed: whoever waits for it hears at once."""
    decision = replace(_blocked(turn, reason), tells=())
    text = turn.rollout.asked_text
    if reason.code != Code.INVALID_VERSION or text is None:
        return decision
    request = turn.rollout.asked_request
    if (text, request) == (turn.status.observed_version, turn.status.observed_request):
        return decision
    echo = {"observed_version": text, "observed_request": request, "verdicts": (), "guards": ()}
    return replace(decision, status=turn.go(Event.BLOCKED, **echo))


def _adopt(turn: Turn, route: RouteState) -> RolloutStatus | Decision:
    """First contact: the slot with all the traffic is stable. A half-done attempt without its status goes back.

    That it has all the traffic proves nothing of a version whose last step was under way, as the mark says.
    """
    full = [slot for slot, weight in route.weights.items() if weight == 100]
    if full and not (route.mark is not None and route.mark.slot in full and route.mark.phase in UNPROVEN):
        return evolve(turn.status, stable_slot=full[0])
    if route.mark is None or route.mark.slot not in turn.rollout.spec.slots:
        return _blocked(turn, explain.roles_unclear(route.weights))
    stable = turn.rollout.spec.other(route.mark.slot)
    status = evolve(turn.status, stable_slot=stable)
    reason = explain.half_done_found(route.mark.slot, stable)
    tell = turn.tell(reason, warning=True)
    return Decision(status, reason, turn.now, move=turn.set_weights(status, reason), back=True, tells=(tell,))


def _put_back(turn: Turn, drift: Drift) -> Decision:
    """The route is not as we left it."""
    restore = turn.policy is None or turn.policy.drift.then == "Restore" or _is_stuck(turn.status)
    then = "restored" if restore else "left as it is, as the policy says"
    met = meet(turn, drift, then, repaired=restore and drift.mendable)
    if not (restore and drift.mendable):
        return replace(_blocked(met.turn, met.reason), tells=met.tells, drift=met.reason)
    status = met.turn.status
    keep = status.reason or met.reason
    move = turn.set_weights(status, keep)
    return Decision(status, keep, turn.now, move=move, back=True, tells=met.tells, drift=met.reason)


def _is_stuck(status: RolloutStatus) -> bool:
    """Traffic of the last attempt could not be moved: that is no hand of somebody else's, and is made up for when it can be."""
    last = status.attempts[0] if status.attempts else None
    return status.phase is Phase.STALLED and last is not None and last.reason.code == Code.STUCK


def _begin(turn: Turn) -> Decision:
    """Take up the ask: echo it, and start an attempt unless stable serves that version already."""
    version, request = turn.rollout.asked_version, turn.rollout.asked_request
    assert version is not None
    stable = turn.seen.slots.get(turn.stable, SlotState())
    if stable.problem and stable.problem.code == "not-read-yet":  # the prober answers within its own time limit
        return _wait(turn)
    echo = {"observed_version": version, "observed_request": request, "verdicts": (), "guards": ()}
    if turn.stable_version == version:
        reason = explain.already_served(turn.stable, version)
        return Decision(turn.go(Event.ALREADY_SERVED, **echo), reason, turn.now + RESTING_LOOK_S, tells=(turn.tell(reason),))
    for name, state in turn.seen.slots.items():
        if state.problem is not None and state.problem.code in ("invalid", "refused"):
            return _blocked(turn, slot_problem(name, state.problem.sentence))
    number = turn.status.attempt_count + 1
    slot = turn.rollout.spec.other(turn.stable)
    attempt = Attempt(
        id=f"{number}-{int(turn.now):x}", number=number, version=version, request=request, slot=slot, started_at=turn.now
    )
    status = turn.go(Event.ASKED, **echo, attempt=attempt, attempt_count=number, judge=None, judge_written_at=None)
    reason = explain.preparing(version, slot, "asked for" + (f" by {request}" if request else ""))
    return Decision(status, reason, turn.now + 1.0, does=_first_deed(turn, slot, version), tells=(at(turn, status).tell(reason),))


def _first_deed(turn: Turn, slot: str, version: str) -> tuple[Deed, ...]:
    """What is done at once; everything else, and whatever goes wrong with it, is for Preparing."""
    deploy, state = turn.rollout.spec.deploy, turn.seen.slots.get(slot, SlotState())
    if deploy.model_repository is not None:
        return (LoadVersion(slot, version),)
    if deploy.image is None or state.problem is not None or state.version == version:
        return ()
    return (SetImage(slot, version),) if images.is_image(images.image_of(deploy.image, version)) else ()
