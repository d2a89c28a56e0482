"""The live senses and hands: Prometheus' counts, GPU gauges and Tritons, aimed at the rollouts that need them."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import Key
from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.rollout import RolloutSpec, TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.controller.observe import watched_from
from rollout_controller.controller.tritons import Tritons
from rollout_controller.controller.workloads import Workloads
from rollout_controller.core.calm import Calm
from rollout_controller.core.observation import GaugeReading, SliReading, SlotState, Unknown
from rollout_controller.core.states import RESTING
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import Sources
from rollout_controller.slo.wants import question_of, wants_of
from rollout_controller.triton.prober import Prober


class LiveSenses:
    """Reads the feeders' memory; `aim` tells them what to keep fresh."""

    def __init__(self, reader: SliReader, prober: Prober, sources: Sources, tritons: Tritons, workloads: Workloads) -> None:
        self._reader, self._prober, self._sources = reader, prober, sources
        self._tritons, self._workloads = tritons, workloads
        self._aimed: dict[Key, tuple[RolloutSpec, RolloutPolicy | Unknown, bool, str | None]] = {}
        """At what the feeders are aimed: as long as that is the same, there is nothing to do."""

    def looks(self, rollout: TritonRollout) -> None:
        """Its slots are about to be read, and things to be asked of them: those of this spec, never those of an earlier one."""
        before = self._aimed.get(rollout.metadata.key)
        if before is None or (before[0].slots, before[0].deploy) != (rollout.spec.slots, rollout.spec.deploy):
            self._aim_prober(rollout, active=False, tried=None)

    def aim(self, rollout: TritonRollout, policy: RolloutPolicy | Unknown, status: RolloutStatus) -> None:
        """Keep fresh what the next turns of this rollout need, and nothing else."""
        key = rollout.metadata.key
        active = status.phase not in RESTING
        aimed = (rollout.spec, policy, active, status.attempt.id if status.attempt else None)
        before = self._aimed.get(key)
        if before is not None and before[0] is aimed[0] and before[1] is aimed[1] and before[2:] == aimed[2:]:
            return
        self._aimed[key] = aimed
        self._aim_prober(rollout, active=active, tried=status.attempt.slot if status.attempt else None)
        if not active or status.attempt is None or isinstance(policy, Unknown):
            self._reader.forget(key)
            return
        ends = [slo.window_end for slo in status.judge.slos.values() if slo.window_end is not None] if status.judge else []
        since = min(ends) if ends else watched_from(status, status.attempt)
        self._reader.want(key, wants_of(rollout, policy, self._sources), since)

    def _aim_prober(self, rollout: TritonRollout, *, active: bool, tried: str | None) -> None:
        """`tried`: the slot of the attempt that is `active`; None: any."""
        key, model = rollout.metadata.key, rollout.spec.deploy.model_repository
        asked = set()
        for name, slot in rollout.spec.slots.items():
            url = self._tritons(key.namespace, slot.host)
            if by_triton(rollout.spec, name) and not isinstance(url, Unknown):
                asked.add(name)
                self._prober.want(key, name, url, model.model if model else None, active=active and tried in (None, name))
        self._prober.keep(key, asked)

    def forget(self, key: Key) -> None:
        """The rollout is gone."""
        self._aimed.pop(key, None)
        self._reader.forget(key)
        self._prober.forget(key)
        self._workloads.forget(key)

    def reading(self, rollout: TritonRollout, slo: Slo, canary: str, since: float) -> SliReading:
        if not self._asks(rollout, slo):
            return SliReading(problem=Unknown("not-read-yet", f"{slo.name} is not read yet: the policy has changed"))
        return self._reader.reading(rollout.metadata.key, slo.name, canary, since)

    def seen_to(self, key: Key, calm: Calm) -> float | None:
        """Up to when its windows are there, if all that is new can wait; None: it cannot."""
        read = self._reader
        windows = {n: read.reading(key, n, calm.canary, quiet.judged_to, edges=False) for n, quiet in calm.slos.items()}
        if not calm.covers(windows, {name: read.gauge(key, name, calm.canary) for name in calm.guards}):
            return None
        return min([windows[n].windows[-1].end if windows[n].windows else quiet.judged_to for n, quiet in calm.slos.items()])

    def gauge(self, rollout: TritonRollout, guard: Guard, canary: str) -> GaugeReading | Unknown:
        if not self._asks(rollout, guard):
            return Unknown("not-read-yet", f"{guard.name} is not read yet: the policy has changed")
        return self._reader.gauge(rollout.metadata.key, guard.name, canary)

    def _asks(self, rollout: TritonRollout, asked: Slo | Guard) -> bool:
        """Whether the reader is aimed at this: what was counted for an earlier policy says nothing about the objective of now."""
        aimed = self._aimed.get(rollout.metadata.key)
        if aimed is None or not isinstance(aimed[1], RolloutPolicy):
            return True  # nothing is read, and the reader says so
        known: tuple[Slo | Guard, ...] = (*aimed[1].spec.slos, *aimed[1].spec.guards)
        before = next((each for each in known if each.name == asked.name), None)
        return before is asked or (before is not None and question_of(before) == question_of(asked))

    def slot(self, rollout: TritonRollout, slot: str) -> SlotState:
        if rollout.spec.slots[slot].workload is None:
            return self._triton(rollout, slot)
        pods = self._workloads.state(rollout, slot)
        return both(self._triton(rollout, slot), pods) if by_triton(rollout.spec, slot) else pods

    def _triton(self, rollout: TritonRollout, slot: str) -> SlotState:
        url = self._tritons(rollout.metadata.namespace, rollout.spec.slots[slot].host)
        if isinstance(url, Unknown):
            return SlotState(problem=url)
        return self._prober.state(rollout.metadata.key, slot)

    def load(self, rollout: TritonRollout, slot: str, version: str) -> None:
        self._prober.load(rollout.metadata.key, slot, version)

    def warm_up(self, rollout: TritonRollout, slot: str, version: str) -> None:
        self._prober.warm_up(rollout.metadata.key, slot, version)

    def answered(self, rollout: TritonRollout, slot: str, version: str | None, refusal: str | None) -> None:
        self._workloads.answered(rollout, slot, version, refusal)


def by_triton(spec: RolloutSpec, slot: str) -> bool:
    """Whether a slot's Triton is asked what it runs; else its workload says it, and its pods' probes ask Triton."""
    return spec.deploy.model_repository is not None or spec.slots[slot].workload is None


def both(triton: SlotState, pods: SlotState) -> SlotState:
    """A slot whose version is Triton's and whose pods are a workload's."""
    state = replace(triton, workload=pods.workload)
    if pods.problem is not None and pods.problem.code == "invalid":
        return replace(state, ready=False, problem=pods.problem)
    if pods.failed is not None:
        return replace(state, failed=pods.failed, failed_version=pods.failed_version, failed_at=pods.failed_at)
    return state
