"""Whether anybody serves on the canary's slot: the version that is tried, by a pod at least."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.status import Phase, Reason
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain import pods
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import SlotState, WorkloadState
from rollout_controller.core.phases import retreat
from rollout_controller.core.phases.endings import at, leave
from rollout_controller.core.turn import Decision, Turn

LOST_S = 3.0
"""Seconds for which a slot may say that it does not run the version that is tried, or has no pod that serves."""
GONE_S = 90.0
"""Without a retreat, or without a policy, so long may no pod serve before the attempt goes back for good."""


def keep_canary(turn: Turn) -> tuple[Turn, Decision | None]:
    """Go back when the slot has lost the version, or its last pod; a reload by somebody else, or a probe, may take a moment."""
    lost, attempt = _lost(turn), turn.attempt
    gone = None if lost is not None else _without_pods(turn)
    if lost is None and gone is None:
        return at(turn, evolve(turn.status, attempt=evolve(attempt, lost_since=None))), None
    since = attempt.lost_since if attempt.lost_since is not None else turn.now
    if turn.now - since >= LOST_S:
        if lost is not None:
            return turn, leave(turn, "RolledBack", lost)
        if (decision := _out_of_the_way(turn, gone or "", since)) is not None:
            return turn, decision
    status = evolve(turn.status, attempt=evolve(attempt, lost_since=since))
    waiting = explain.waiting(gone or "the slot to run the version again", None, "")
    return at(turn, status), Decision(status, waiting, max(since, turn.now) + LOST_S)


def _lost(turn: Turn) -> Reason | None:
    """The slot answers and says that it does not run the version that is being tried: who is sent there is not served.

    A Triton that lost its model (restarted, unloaded by hand) answers 404, which no count of 5xx sees. A workload whose image
    somebody else set would be judged under a wrong name. A Triton that does not answer at all is left to the counts: a prober
    that cannot reach it is no evidence against the version.
    """
    attempt = turn.attempt
    state = turn.seen.slots.get(attempt.slot, SlotState())
    deploy = turn.rollout.spec.deploy
    if (deploy.model_repository is None and deploy.image is None) or state.problem is not None or state.loading is not None:
        return None
    if state.version == attempt.version:
        return None
    return explain.canary_lost(attempt.version, attempt.slot, state.version)


def _without_pods(turn: Turn) -> str | None:
    """In words that no pod serves who is sent to the canary; None: some do, or nobody can tell.

    Counts may never say it: Istio's metrics name no workload for a request that found no healthy pod, so that its failures are
    nobody's.
    """
    state = turn.seen.slots.get(turn.attempt.slot, SlotState()).workload
    if turn.attempt.weight == 0 or turn.status.phase not in (Phase.PROGRESSING, Phase.PAUSED):
        return None
    if not isinstance(state, WorkloadState) or not state.settled or state.ready > 0:
        return None
    return pods.none_serves(turn.attempt.slot, state)


def _out_of_the_way(turn: Turn, gone: str, since: float) -> Decision | None:
    """Users away from a slot without pods: for a while where the policy retreats, else for good when it lasts."""
    if (decision := retreat.from_empty_slot(turn, gone)) is not None:
        return decision
    longest = turn.policy.judge.tolerance.errors if turn.policy is not None else GONE_S
    return leave(turn, "RolledBack", explain.reason(Code.CANARY_LOST, gone)) if turn.now - since >= longest else None
