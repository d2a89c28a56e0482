"""How an attempt is left: traffic off the canary first, then the record of it."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import AttemptRecord, Outcome, Reason, RolloutStatus
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import RouteState
from rollout_controller.core.states import Event
from rollout_controller.core.turn import Decision, Turn

KEPT_ATTEMPTS = 10
TAKEN_BACK = ("RolledBack", "Aborted", "Superseded")
"""Attempts that end so were seen without traffic. One that failed may have some yet: nobody could move it."""


def leave(turn: Turn, ending: Outcome, reason: Reason) -> Decision:
    """Take the traffic off the canary; the first action of the plan moves it (safety rule 1)."""
    status = turn.go(Event.LEAVE, attempt=evolve(turn.attempt, ending=ending, stuck_since=None))
    tell = turn.tell(reason, warning=ending != "Superseded")
    return Decision(status, reason, turn.now, move=turn.set_weights(status, reason), back=True, tells=(tell,))


def record(turn: Turn, status: RolloutStatus, outcome: Outcome, reason: Reason) -> RolloutStatus:
    """`status` without its attempt, which goes into the history."""
    attempt = turn.attempt
    bad = max((v.bad for v in status.verdicts), default=0)
    entry = AttemptRecord(
        id=attempt.id,
        number=attempt.number,
        version=attempt.version,
        from_version=turn.stable_version,
        request=attempt.request,
        slot=attempt.slot,
        started_at=attempt.started_at,
        first_traffic_at=attempt.first_traffic_at,
        ended_at=turn.now,
        outcome=outcome,
        reason=reason,
        steps_done=attempt.steps_done,
        weight=attempt.weight,
        requests=max((v.requests for v in status.verdicts), default=0),
        bad=bad,
        last_sample_at=attempt.last_sample_at,
        traffic_off_at=turn.now if outcome in TAKEN_BACK and attempt.first_traffic_at is not None else None,
    )
    return evolve(status, attempt=None, judge=None, attempts=(entry, *status.attempts)[:KEPT_ATTEMPTS])


def interrupted(turn: Turn) -> Decision | None:
    """What people ask for in the middle of an attempt: another version, or an end. None: nothing of that kind."""
    attempt, asked = turn.attempt, turn.rollout.asked_version
    if turn.asks and asked is not None and asked != attempt.version:
        if asked == turn.stable_version:
            return leave(turn, "Aborted", explain.asked_back(attempt.version, asked))
        return leave(turn, "Superseded", explain.superseded(attempt.version, asked))
    command = new_command(turn)
    if command and command[0] == "abort":
        ident = command[1]
        reason = explain.aborted(ident)
        decision = leave(turn, "Aborted", reason)
        return Decision(
            echoed(decision.status, "abort", ident, reason.sentence),
            decision.reason,
            decision.look_again,
            move=decision.move,
            back=True,
            tells=decision.tells,
        )
    return None


def adopted_request(turn: Turn) -> RolloutStatus:
    """The same version asked with a new request id while it is being tried: the attempt goes on and answers to that id."""
    if not turn.asks or turn.rollout.asked_version != turn.attempt.version:
        return turn.status
    request = turn.rollout.asked_request
    return evolve(turn.status, observed_request=request, attempt=evolve(turn.attempt, request=request))


def new_command(turn: Turn) -> tuple[str, str] | None:
    """(verb, id) of a command that was not taken up yet."""
    command = turn.rollout.command
    return command if command and f"{command[0]} {command[1]}".strip() != turn.status.observed_command else None


def echoed(status: RolloutStatus, verb: str, ident: str, result: str, *, done: bool = True) -> RolloutStatus:
    """The status with the command taken up and what became of it."""
    return evolve(status, observed_command=f"{verb} {ident}".strip(), command_done=done, command_result=result)


def refused(status: RolloutStatus, verb: str, ident: str, why: str) -> RolloutStatus:
    """The status with the command answered: it cannot be done now."""
    return echoed(status, verb, ident, explain.command_refused(verb, why), done=False)


def refuse_command(turn: Turn, why: str) -> Turn:
    """The turn with a pending command answered: it cannot be done now."""
    command = new_command(turn)
    if command is None:
        return turn
    return at(turn, refused(turn.status, *command, why))


def at(turn: Turn, status: RolloutStatus) -> Turn:
    """The same turn with a newer status."""
    return replace(turn, status=status)


def route_weights(turn: Turn) -> dict[str, int] | None:
    """The weights as seen, or None when the route cannot be read."""
    return dict(turn.seen.route.weights) if isinstance(turn.seen.route, RouteState) else None
