"""No attempt is under way: keep traffic where it was left, and take up what CI asks for."""

from __future__ import annotations

from rollout_controller.api import images
from rollout_controller.api.meta import ANNOTATION_VERSION, evolve
from rollout_controller.api.status import Attempt, Phase, Reason, RolloutStatus
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.pods import slot_problem
from rollout_controller.core.observation import RouteState, SlotState, Unknown
from rollout_controller.core.phases.endings import at, refuse_command
from rollout_controller.core.plan import Deed, LoadVersion, SetImage
from rollout_controller.core.states import Event
from rollout_controller.core.turn import RESTING_LOOK_S, Decision, Turn

BLOCKS = frozenset({"RouteUnreadable", "RolesUnclear", "PolicyInvalid", "SlotInvalid"})
"""Reasons of a Stalled that ends when its cause does."""


def rest(turn: Turn) -> Decision:
    """One turn of a phase in which no attempt is under way."""
    turn = refuse_command(turn, "no attempt is under way")
    route = turn.seen.route
    if isinstance(route, Unknown):
        return _blocked(turn, explain.route_problem(route.sentence)) if route.code != "not-read-yet" else _stay(turn)
    if turn.status.stable_slot is None:
        adopted = _adopt(turn, route)
        if isinstance(adopted, Decision):
            return adopted
        turn = at(turn, adopted)
    if not turn.route_is(turn.status):
        return _put_back(turn, route)
    if turn.asks:
        return _begin(turn)
    text = turn.rollout.metadata.annotations.get(ANNOTATION_VERSION, "").strip()
    if text and turn.rollout.asked_version is None:
        return _stay(turn, explain.invalid_version(text))
    return _stay(turn)


def _stay(turn: Turn, reason: Reason | None = None) -> Decision:
    status = turn.status
    if status.phase is Phase.STALLED and status.reason and status.reason.code in BLOCKS:
        status = turn.go(Event.UNBLOCKED, reason=None)
    keep = status.reason if status.phase is not Phase.IDLE else None
    if reason is None and keep is not None and keep.code == "InvalidVersion":
        keep = None
    rested = explain.idle(turn.stable, turn.stable_version) if status.stable_slot else explain.reason("Idle", "not read yet")
    return Decision(status, reason or keep or rested, turn.now + RESTING_LOOK_S)


def _blocked(turn: Turn, reason: Reason) -> Decision:
    """Something only a person can mend. Said once; the phase changes only when that keeps an ask from being taken up."""
    if not turn.asks:
        return Decision(turn.status, reason, turn.now + RESTING_LOOK_S)
    status = turn.status if turn.status.phase is Phase.STALLED else turn.go(Event.BLOCKED)
    return Decision(status, reason, turn.now + RESTING_LOOK_S, tells=(turn.tell(reason, warning=True),))


def _adopt(turn: Turn, route: RouteState) -> RolloutStatus | Decision:
    """First contact: the slot with all the traffic is stable. A half-done attempt without its status goes back."""
    full = [slot for slot, weight in route.weights.items() if weight == 100]
    if full:
        return evolve(turn.status, stable_slot=full[0])
    if route.mark is None or route.mark.slot not in turn.rollout.spec.slots:
        return _blocked(turn, explain.roles_unclear(route.weights))
    stable = turn.rollout.spec.other(route.mark.slot)
    status = evolve(turn.status, stable_slot=stable)
    reason = explain.half_done_found(route.mark.slot, stable)
    tell = turn.tell(reason, warning=True)
    return Decision(status, reason, turn.now, move=turn.set_weights(status, reason), back=True, tells=(tell,))


def _put_back(turn: Turn, route: RouteState) -> Decision:
    """The weights are not the ones we left."""
    wanted = turn.desired(turn.status)
    restore = turn.policy is None or turn.policy.drift.then == "Restore"
    reason = explain.drift(route.weights, wanted, "restored" if restore else "left as it is, as the policy says")
    tell = turn.tell(reason, warning=True, about=explain.shares(route.weights))
    if not restore:
        return Decision(turn.status, reason, turn.now + RESTING_LOOK_S, tells=(tell,))
    keep = turn.status.reason or reason
    return Decision(turn.status, keep, turn.now, move=turn.set_weights(turn.status, keep), back=True, tells=(tell,))


def _begin(turn: Turn) -> Decision:
    """Take up the ask: echo it, and start an attempt unless stable serves that version already."""
    version, request = turn.rollout.asked_version, turn.rollout.asked_request
    assert version is not None
    stable = turn.seen.slots.get(turn.stable, SlotState())
    if stable.problem and stable.problem.code == "not-read-yet":  # the prober answers within its own time limit
        return Decision(turn.status, _stay(turn).reason, turn.now + 1.0)
    echo = {"observed_version": version, "observed_request": request, "verdicts": (), "guards": ()}
    if turn.stable_version == version:
        reason = explain.already_served(turn.stable, version)
        return Decision(turn.go(Event.ALREADY_SERVED, **echo), reason, turn.now + RESTING_LOOK_S, tells=(turn.tell(reason),))
    if turn.policy is None:
        return _blocked(turn, explain.policy_problem(turn.policy_problem))
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
