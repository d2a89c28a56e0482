"""One turn of the wheel as a value: the inputs of `decide`, what follows from them, and how a plan is put together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Attempt, Phase, Reason, RolloutStatus, SlotStatus, SlotWeight
from rollout_controller.core.conditions import TYPES, Finding, conditions
from rollout_controller.core.observation import Mark, Observation, RouteState, SlotState, Unknown, WorkloadState
from rollout_controller.core.plan import Deed, Plan, SetWeights, Tell, WriteStatus
from rollout_controller.core.states import ON_TRAFFIC, RESTING, Event, transition

REFRESH_S = 30.0
"""In an attempt the status (with the judge's evidence) is written at least this often: twice a step, where steps are
shorter than a minute."""
ACTIVE_LOOK_S = 5.0
"""While a version is brought up somebody looks at least this often."""
TRAFFIC_LOOK_S = 30.0
"""With traffic on the canary somebody looks at least this often, data or not. Data from which something may follow (`Plan.calm`),
a changed document or slot wakes the rollout anyhow."""
RESTING_LOOK_S = 60.0


@dataclass(frozen=True)
class Turn:
    """The inputs of one decision. `policy` None: it is missing or invalid. `policy_problem` says how, also where `policy` is the
    last one that could be used.
    """

    rollout: TritonRollout
    policy: PolicySpec | None
    policy_problem: str
    seen: Observation
    now: float
    status: RolloutStatus
    brief: bool = False
    """Words for people are not made anew: those of `status` are kept (see `decide`)."""
    refused: Reason | None = None
    """Why something that a person wrote (spec, policy, version) cannot be used; None: all of it can."""
    evidence_s: float = 0.0
    """The evidence is not written again sooner than this, whatever the policy (see `decide`)."""

    @property
    def attempt(self) -> Attempt:
        assert self.status.attempt is not None
        return self.status.attempt

    @property
    def stable(self) -> str:
        assert self.status.stable_slot is not None
        return self.status.stable_slot

    @property
    def stable_version(self) -> str | None:
        return self.version_in(self.stable) or self.status.stable_version

    def version_in(self, slot: str) -> str | None:
        """The version a slot runs: as seen now, else as remembered."""
        seen = self.seen.slots.get(slot, SlotState()).version
        known = self.status.slots.get(slot)
        return seen or (known.version if known else None)

    @property
    def look_s(self) -> float:
        """With traffic on the canary somebody looks at least this often; half as often where very many attempts are under way."""
        return min(max(TRAFFIC_LOOK_S, self.evidence_s), 2 * TRAFFIC_LOOK_S)

    @property
    def asks(self) -> bool:
        """CI asks for something that was not taken up yet.

        The same version again counts only with a new request id; a request id that went away asks for nothing.
        """
        version, request = self.rollout.asked_version, self.rollout.asked_request
        if version is None:
            return False
        if version != self.status.observed_version:
            return True
        return request is not None and request != self.status.observed_request

    def desired(self, status: RolloutStatus) -> Mapping[str, int]:
        """Percent of traffic by slot that `status` stands for; empty while nobody knows which slot is stable."""
        if status.stable_slot is None:
            return {}
        weight = status.attempt.weight if status.attempt and status.phase in ON_TRAFFIC else 0
        return {status.stable_slot: 100 - weight, self.rollout.spec.other(status.stable_slot): weight}

    def mark(self, status: RolloutStatus, reason: Reason, phase: Phase | None = None) -> Mark:
        """Our annotation for the VirtualService as it goes with `status`."""
        attempt = status.attempt
        weight = self.desired(status)
        canary = attempt.slot if attempt else self.rollout.spec.other(status.stable_slot or next(iter(self.rollout.spec.slots)))
        return Mark(
            attempt=attempt.id if attempt else "",
            step=attempt.step if attempt else -1,
            weight=weight.get(canary, 0),
            phase=phase or status.phase,
            slot=canary,
            code=reason.code,
            sentence=reason.sentence,
            ending=attempt.ending or "" if attempt else "",
            retreats=attempt.retreats if attempt else 0,
            strikes=attempt.strikes if attempt else 0,
        )

    def set_weights(self, status: RolloutStatus, reason: Reason) -> SetWeights:
        """The action that makes the route as `status` wants it."""
        return SetWeights(weights=self.desired(status), mark=self.mark(status, reason))

    def route_is(self, status: RolloutStatus) -> bool:
        """Whether the route's weights are seen to be those of `status`."""
        return isinstance(self.seen.route, RouteState) and dict(self.seen.route.weights) == dict(self.desired(status))

    def go(self, event: Event, **changes: Any) -> RolloutStatus:
        """The status after `event`."""
        return evolve(self.status, phase=transition(self.status.phase, event), **changes)

    def tell(
        self,
        reason: Reason,
        *,
        warning: bool = False,
        about: str = "",
        again: bool = False,
        news: bool = False,
        drift: bool = False,
        quiet: bool = False,
    ) -> Tell:
        """A message that is told once per attempt, step, code and `about`, or as a series where it may come `again`.

        Without `news` it is told only when its code was not the status' reason before this turn.
        """
        attempt = self.status.attempt
        place = f"{attempt.id}/{attempt.step}" if attempt else f"rest/{self.status.attempt_count}"
        dedup = f"{place}/{reason.code}/{about}"
        return Tell(
            reason.code,
            reason.sentence,
            dedup,
            warning=warning,
            again=again,
            news=news or drift or quiet,
            drift=drift,
            quiet=quiet,
            attempt=attempt.id if attempt else "",
        )


def headline(status: RolloutStatus) -> tuple[object, ...]:
    """What a person would care about: a change of it is written at once, everything else by its time.

    Conditions follow from phase and reason.
    """
    attempt = status.attempt
    return (
        status.phase,
        attempt and {**attempt.__dict__, "last_sample_at": None},
        status.reason and status.reason.code,
        status.observed_version,
        status.observed_request,
        status.observed_command,
        status.observed_generation,
        status.stable_slot,
        status.stable_version,
        status.stable_loss,
        status.slots,
        [(v.slo, v.verdict, v.unknown) for v in status.verdicts],
        [(g.guard, g.state, g.over_since) for g in status.guards],
        [(c.type, c.status, c.reason) for c in status.conditions if c.type not in TYPES],
        status.attempts[:1],
    )


def _role(status: RolloutStatus, slot: str) -> Literal["stable", "canary", "idle"]:
    if slot == status.stable_slot:
        return "stable"
    return "canary" if status.attempt and status.attempt.slot == slot else "idle"


def slots_of(turn: Turn, status: RolloutStatus) -> dict[str, SlotStatus]:
    """The slots as they are seen now."""
    route = turn.seen.route
    desired = turn.desired(status)
    slots = {}
    for name in turn.rollout.spec.slots:
        state = turn.seen.slots.get(name, SlotState())
        pods = state.workload if isinstance(state.workload, WorkloadState) else None
        observed = route.weights.get(name) if isinstance(route, RouteState) else None
        now = (
            turn.version_in(name),
            _role(status, name),
            desired.get(name),
            observed,
            None if isinstance(state.problem, Unknown) else state.ready,
            pods.replicas if pods else None,
            pods.ready if pods else None,
            _message(state),
        )
        before = status.slots.get(name)
        if before is not None and now == _slot_now(before):
            slots[name] = before  # one copy in memory, and quick to compare
        else:
            version, role, want, have, ready, replicas, up, message = now
            slots[name] = SlotStatus(
                version=version,
                role=role,
                weight=SlotWeight(desired=want, observed=have),
                ready=ready,
                replicas=replicas,
                ready_replicas=up,
                message=message,
            )
    return slots


def _slot_now(slot: SlotStatus) -> tuple[object, ...]:
    weight = slot.weight
    return (
        slot.version,
        slot.role,
        weight.desired,
        weight.observed,
        slot.ready,
        slot.replicas,
        slot.ready_replicas,
        slot.message,
    )


def _message(state: SlotState) -> str:
    """What there is to say about a slot: why a version did not come up, what cannot be read, what is in its pods' way."""
    if state.failed or state.problem is not None:
        return state.failed or (state.problem.sentence if state.problem else "")
    if isinstance(state.workload, Unknown):
        return state.workload.sentence
    return state.workload.trouble if state.workload is not None else ""


@dataclass(frozen=True)
class Decision:
    """What a phase's handler chose. `back`: traffic is taken off the canary, so the weights go first (safety rule 1)."""

    status: RolloutStatus
    reason: Reason
    look_again: float
    move: SetWeights | None = None
    back: bool = False
    does: tuple[Deed, ...] = ()
    tells: tuple[Tell, ...] = ()
    drift: Reason | None = None
    """The route was not as we wrote it in this turn."""


def _differs(status: RolloutStatus, turn: Turn) -> bool:
    """Whether a person would see something new: against the status in memory, and the stored one where that is another."""
    now, stored = headline(status), turn.rollout.status
    return now != headline(turn.status) or (stored is not turn.status and now != headline(stored))


def refresh_s(turn: Turn) -> float:
    """How often the evidence is written: who watches a step of four seconds wants to see it happen, of minutes few writes."""
    wanted = REFRESH_S if turn.policy is None else min(max(turn.policy.hold.min / 2, 1.0), REFRESH_S)
    return max(wanted, turn.evidence_s)


def refresh_due(turn: Turn, status: RolloutStatus) -> bool:
    """Whether the evidence of an attempt is to be written again, whatever else there is."""
    ago = turn.now - (status.judge_written_at or 0.0)
    return status.phase not in RESTING and not 0 <= ago < refresh_s(turn)  # less than 0: the clock was set back


def finish(turn: Turn, decision: Decision) -> Plan:
    """The decision as a plan: slots, conditions and echoes brought up to date, the actions in their one order.

    A step forward writes the status first, then traffic; a rollback writes traffic first (safety rules 1 and 3).
    """
    generation, before = turn.rollout.metadata.generation, turn.status
    reason, said = decision.reason, before.reason.code if before.reason else None
    if turn.brief and before.reason is not None and said == reason.code:
        reason = before.reason
    found = Finding(
        reason=reason,
        refused=turn.refused,
        policy_read=turn.policy is not None,
        drift=decision.drift,
        route=turn.seen.route,
        desired=turn.desired(decision.status),
    )
    same = reason is before.reason and decision.status.phase is before.phase and generation == before.observed_generation
    status = evolve(
        decision.status,
        reason=reason,
        observed_generation=generation,
        slots=slots_of(turn, decision.status),
        conditions=conditions(decision.status, found, generation, turn.now, brief=turn.brief and same),
    )
    write = refresh_due(turn, status) or _differs(status, turn)
    if write:
        check = turn.now + refresh_s(turn) if status.phase not in RESTING else None
        status = evolve(status, judge_written_at=turn.now, next_check_at=check)
    moves = (decision.move,) if decision.move else ()
    writes = (WriteStatus(),) if write else ()
    ordered = (*moves, *writes) if decision.back else (*writes, *moves)
    tells = tuple(tell for tell in decision.tells if tell.news or tell.code != said)
    return Plan(status, (*ordered, *tells, *decision.does), decision.look_again, reason)
