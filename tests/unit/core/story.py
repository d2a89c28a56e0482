"""Tells an attempt as a story: events in, plans out, one transcript that a person can read."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

from rollout_controller import workload
from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, Raw, evolve, parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.cluster.patch import apply_patch
from rollout_controller.controller.senses import both, by_triton
from rollout_controller.core.decide import decide
from rollout_controller.core.observation import Mark, Observation, RouteState, SlotState, Unknown
from rollout_controller.core.plan import LoadVersion, Plan, Scale, SetImage, SetWeights, Tell, WarmUp, WriteStatus
from rollout_controller.core.states import RESTING
from tests import kubelet
from tests.world import T0, World, policy

GOLDEN = Path(__file__).parents[2] / "golden" / "stories"


class Story:
    """One rollout in a pretend world; `tick` is one reconcile."""

    def __init__(self, world: World | None = None, rules: RolloutPolicy | None = None, spec: Raw | None = None) -> None:
        """`spec`: parts of the rollout's spec that are others than usual; with workloads, `deploy_pods` makes them."""
        self.world = world or World()
        self.world.weights = lambda: self.weights
        self.policy: RolloutPolicy | Unknown = rules or policy()
        self.weights: dict[str, int] = {"blue": 100, "green": 0}
        self.mark: Mark | None = None
        self.route_problem: Unknown | None = None
        self.stored = RolloutStatus()
        self.memory: RolloutStatus | None = None
        self.annotations: dict[str, str] = {}
        self.lines: list[str] = []
        self.plans: list[Plan] = []
        self.spec: Raw = spec or {}
        self.kubelet = kubelet.Kubelet(self.world)
        self.workloads: dict[str, Raw] = {}
        self._said = ""
        self._told: set[str] = set()
        self._asked: tuple[tuple[dict[str, str], Raw], TritonRollout] | None = None

    def deploy_pods(self, **replicas: int) -> None:
        """Deployments for both slots, with pods that are up."""
        for slot, count in replicas.items():
            document = kubelet.deployment(slot, replicas=count)
            document["metadata"]["generation"] = 1
            self.workloads[slot] = document
            self.kubelet.begin(slot, document)
        self.play_kubernetes()

    def play_kubernetes(self) -> None:
        for slot, document in self.workloads.items():
            document["status"] = self.kubelet.status(slot, document)

    def change(self, slot: str, operations: list[Raw]) -> None:
        """A JSON Patch of a slot's Deployment, as the API server takes it."""
        document = apply_patch(self.workloads[slot], operations, slot)
        document["metadata"]["generation"] += document["spec"] != self.workloads[slot]["spec"]
        self.workloads[slot] = document

    def slot(self, name: str) -> SlotState:
        """The slot as the feeders would see it now."""
        if name not in self.workloads:
            return self.world.slot(name)
        rollout = self.rollout()
        pods = workload.read_slot(rollout.spec.deploy, dict(self.workloads[name]))  # what was seen gets no other status later
        if not by_triton(rollout.spec, name):
            return pods
        off = SlotState(problem=Unknown("no-answer", f"http://triton-{name}:8000: connection refused"))
        return both(self.world.slot(name) if pods.ready else off, pods)

    # --- what people do --------------------------------------------------------------------------------------

    def ask(self, version: str, request: str | None = None) -> None:
        self.annotations[ANNOTATION_VERSION] = version
        if request:
            self.annotations[ANNOTATION_REQUEST] = request
        self._line("ask", f"version {version}" + (f" ({request})" if request else ""))

    def command(self, verb: str, ident: str) -> None:
        self.annotations[ANNOTATION_COMMAND] = f"{verb} {ident}"
        self._line("command", f"{verb} {ident}")

    def somebody_sets(self, **weights: int) -> None:
        self.weights = dict(weights)
        self._line("somebody", "sets " + ", ".join(f"{k} {v} %" for k, v in weights.items()))

    def note(self, text: str) -> None:
        self._line("note", text)

    def restart(self) -> None:
        """The controller dies; the next one knows only what was stored."""
        self.memory = None
        self._line("restart", "a new controller, with the stored status only")

    # --- turning the wheel -----------------------------------------------------------------------------------

    def rollout(self) -> TritonRollout:
        """The document as it is stored; what people write in it is read anew only when it has changed."""
        asked = (dict(self.annotations), self.spec)
        if self._asked is None or self._asked[0] != asked:
            self._asked = (copy.deepcopy(asked), self._parsed())
        return evolve(self._asked[1], status=self.stored)

    def _parsed(self) -> TritonRollout:
        raw: dict[str, Any] = {
            "apiVersion": "rollouts.triton.dev/v1alpha1",
            "kind": "TritonRollout",
            "metadata": {"name": "resnet50", "namespace": "vision", "annotations": dict(self.annotations)},
            "spec": {
                "policy": "story",
                "route": {"virtualService": "triton"},
                "slots": {"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}},
                "deploy": {"modelRepository": {"model": "resnet50"}},
                **self.spec,
            },
        }
        return parse(TritonRollout, raw)

    def observe(self, status: RolloutStatus) -> Observation:
        canary = status.attempt.slot if status.attempt else "green"
        spec = self.policy.spec if isinstance(self.policy, RolloutPolicy) else None
        ends = {name: slo.window_end or 0.0 for name, slo in status.judge.slos.items()} if status.judge else {}
        began = status.attempt.started_at if status.attempt else 0.0
        return Observation(
            route=self.route_problem or RouteState({}, dict(self.weights), self.mark),
            slots={name: self.slot(name) for name in self.world.running},
            windows={s.name: self.world.reading(s.kind, canary, ends.get(s.name, began)) for s in spec.slos} if spec else {},
            gauges={guard.name: self.world.gauge(canary) for guard in spec.guards} if spec else {},
        )

    def tick(self) -> Plan:
        """One turn at the world's time."""
        self.play_kubernetes()
        rollout = self.rollout()
        status = self.memory or rollout.status
        plan = decide(rollout, self.policy, self.observe(status), self.world.now, status)
        self._write_down(status, plan)
        self.plans.append(plan)
        for action in plan.actions:
            self.perform(action, plan)
        self.memory = plan.status
        return plan

    def perform(self, action: object, plan: Plan) -> None:
        match action:
            case WriteStatus():
                self.stored = RolloutStatus.model_validate(plan.status.to_raw())
            case SetWeights(weights=weights, mark=mark):
                self.weights, self.mark = dict(weights), mark
            case LoadVersion(slot=slot, version=version):
                if slot not in self.workloads or self.slot(slot).problem is None:  # else nobody answers
                    self.world.load(slot, version)
            case WarmUp(slot=slot, version=version):
                self.world.warm_up(slot, version)
            case SetImage(slot=slot, version=version):
                deploy = self.rollout().spec.deploy
                self.change(slot, workload.patch_image(deploy, self.workloads[slot], version))
            case Scale(slot=slot, replicas=replicas, note=note):
                self.change(slot, workload.patch_replicas(self.workloads[slot], replicas, note))
            case Tell(dedup=dedup):
                self._told.add(dedup)

    def settle(self, limit: int = 20) -> Plan:
        """Turn until nothing more happens at this instant."""
        for _ in range(limit):
            plan = self.tick()
            if not any(not isinstance(action, Tell) for action in plan.actions) or plan.look_again > self.world.now:
                return plan
        raise AssertionError(f"{limit} turns at one instant: a hot loop")

    def run(self, seconds: float, step: float | None = None) -> None:
        """Let time pass, with a turn each `step` (a window's length unless told)."""
        end = self.world.now + seconds
        step = step or self.world.window_s
        while self.world.now < end:
            self.world.advance(self.world.now + step)
            self.settle()

    def run_until_rest(self, limit_s: float = 3600) -> Phase:
        end = self.world.now + limit_s
        while self.world.now < end:
            self.world.advance(self.world.now + self.world.window_s)
            self.settle()
            if self.status.phase in RESTING:
                return self.status.phase
        raise AssertionError(f"not at rest after {limit_s} s: {self.status.phase} {self.status.reason}")

    @property
    def status(self) -> RolloutStatus:
        return self.memory or self.stored

    # --- the transcript --------------------------------------------------------------------------------------

    def _line(self, what: str, text: str) -> None:
        self.lines.append(f"t={self.world.now - T0:<7.1f} {what:<9}{text}".rstrip())

    def _write_down(self, before: RolloutStatus, plan: Plan) -> None:
        actions = "; ".join(_name(action) for action in plan.actions if not isinstance(action, Tell))
        moved = before.phase is not plan.status.phase
        told = (SetWeights, SetImage, Scale)
        news = moved or plan.reason.code != self._said or any(isinstance(a, told) for a in plan.actions)
        if not news:
            return
        self._said = plan.reason.code
        self._line("seen", self._seen(before))
        head = f"{before.phase} -> {plan.status.phase}" if moved else f"{plan.status.phase}"
        self.lines.append(f"{'':10}{head:<28}{plan.reason.code:<18}{actions}")
        self.lines.append(f"{'':12}{plan.reason.sentence}")

    def _seen(self, status: RolloutStatus) -> str:
        parts = [
            f"{slot} {self.world.running[slot] or '-'} {self.weights.get(slot, 0)} %{self._pods(slot)}"
            for slot in sorted(self.world.running)
        ]
        return ", ".join(parts) + (f"; {self.route_problem.sentence}" if self.route_problem else "")

    def _pods(self, slot: str) -> str:
        if slot not in self.workloads:
            return ""
        document = self.workloads[slot]
        return f" on {document['status'].get('availableReplicas', 0)}/{document['spec']['replicas']} pods"

    def check(self, name: str) -> None:
        """Compare with the golden file; ROLLOUTS_REGENERATE=1 writes it anew, on purpose."""
        text = "\n".join(self.lines) + "\n"
        path = GOLDEN / f"{name}.txt"
        if os.environ.get("ROLLOUTS_REGENERATE") == "1":
            path.write_text(text)
        assert path.exists(), f"no golden file {path.name}: make it with ROLLOUTS_REGENERATE=1"
        assert text == path.read_text()


def _name(action: object) -> str:
    match action:
        case SetWeights(weights=weights):
            return "weights " + "/".join(f"{slot} {weight}" for slot, weight in sorted(weights.items()))
        case WriteStatus():
            return "status"
        case LoadVersion(slot=slot, version=version):
            return f"load {version} into {slot}"
        case WarmUp(slot=slot, version=version):
            return f"warm up {version} in {slot}"
        case SetImage(slot=slot, version=version):
            return f"image of {version} into {slot}"
        case Scale(slot=slot, replicas=replicas):
            return f"scale {slot} to {replicas}"
    return type(action).__name__
