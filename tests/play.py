"""The product's own reconcile over a real SQLite store, in the pretend world: everything but the network is real."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rollout_controller import mesh
from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, Key, Raw, parse
from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import DEPLOYMENT, POLICY, ROLLOUT, VIRTUAL_SERVICE, Kind, NotFound, ObjectStore
from rollout_controller.controller.apply import Applier
from rollout_controller.controller.observe import Observer, Sight
from rollout_controller.controller.reconcile import Reconciler
from rollout_controller.controller.senses import both, by_triton
from rollout_controller.controller.workloads import Workloads
from rollout_controller.core.observation import GaugeReading, SliReading, SlotState, Unknown
from rollout_controller.core.plan import Plan, Tell
from rollout_controller.core.states import RESTING
from rollout_controller.slo.sources import load_sources
from tests import kubelet
from tests.world import World, policy

KEY = Key("vision", "resnet50")
ROUTE = Key("vision", "triton")


def documents(namespace: str = KEY.namespace) -> tuple[Raw, Raw, Raw]:
    """The rollout, its policy and its route, as a user applies them."""
    rollout: Raw = {
        "apiVersion": "rollouts.triton.dev/v1alpha1",
        "kind": "TritonRollout",
        "metadata": {"name": KEY.name, "namespace": namespace},
        "spec": {
            "policy": "story",
            "route": {"virtualService": "triton"},
            "slots": {"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}},
            "deploy": {"modelRepository": {"model": "resnet50"}},
        },
    }
    rules = policy().to_raw()
    rules["metadata"] = {"name": "story", "namespace": namespace}
    destinations = [
        {"destination": {"host": "triton-blue"}, "weight": 100},
        {"destination": {"host": "triton-green"}, "weight": 0},
    ]
    route: Raw = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "triton", "namespace": namespace, "labels": {"team": "vision"}},
        "spec": {"hosts": ["*"], "http": [{"name": "resnet50", "route": destinations, "timeout": "2s"}]},
    }
    return rollout, rules, route


class Play:
    """A rollout in a store and a world; `start` makes a new controller, which knows only what the store knows."""

    def __init__(
        self, place: Path | ObjectStore, world: World, spec: Raw | None = None, *, namespace: str = KEY.namespace
    ) -> None:
        """In a local store at a path, or in another one.

        `spec`: parts of the rollout's spec that are others than usual; with workloads, `deploy_pods` makes them.
        """
        self.store: ObjectStore = LocalStore(place) if isinstance(place, Path) else place
        self.namespace, self.key = namespace, Key(namespace, KEY.name)
        self.world = world
        rollout, rules, route = documents(namespace)
        rollout["spec"].update(spec or {})
        self.kubelet = kubelet.Kubelet(world)
        self.store.create(POLICY, rules)
        self.store.create(VIRTUAL_SERVICE, route)
        self.store.create(ROLLOUT, rollout)
        self.world.weights = self.weights
        self.told: list[Tell] = []
        self.invalid_documents: list[InvalidDocument] = []
        self.refusals: list[Exception] = []
        self.start(self.store)

    def start(self, store: ObjectStore) -> None:
        """A new controller over `store`."""
        self.workloads = Workloads(self, lambda: self.world.now)
        observer = Observer(self, self, load_sources())
        applier = Applier(store, self, self, written=lambda _kind, _document: None)
        self.reconciler = Reconciler(self, observer, applier, self, lambda: self.world.now)

    # --- documents, straight from the store ------------------------------------------------------------------

    def get(self, kind: Kind, key: Key) -> Raw | None:
        try:
            return self.store.get(kind, key)
        except NotFound:
            return None

    def synced(self, kind: Kind, namespace: str | None = None) -> bool:
        return True

    def refused(self, kind: Kind, namespace: str | None = None) -> str | None:
        return None

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        return tuple(Key(each["metadata"]["namespace"], each["metadata"]["name"]) for each in self.store.list(kind).items)

    def deploy_pods(self, **replicas: int) -> None:
        """Deployments for both slots, with pods that are up."""
        for slot, count in replicas.items():
            document = kubelet.deployment(slot, replicas=count, namespace=self.namespace)
            self.kubelet.begin(slot, self.store.create(DEPLOYMENT, document))
        self.play_kubernetes()

    def deployment(self, slot: str) -> Raw:
        return self.store.get(DEPLOYMENT, Key(self.namespace, f"triton-{slot}"))

    def play_kubernetes(self) -> None:
        """Bring pods and statuses up to the world's time."""
        for document in self.store.list(DEPLOYMENT, self.namespace).items:
            meta = document["metadata"]
            status = self.kubelet.status(meta["name"].removeprefix("triton-"), document)
            self.store.replace_status(DEPLOYMENT, Key(meta["namespace"], meta["name"]), status, meta["resourceVersion"])

    def weights(self) -> Mapping[str, int]:
        return mesh.read_weights(self.rollout().spec, self.store.get(VIRTUAL_SERVICE, Key(self.namespace, ROUTE.name)))

    def rollout(self) -> TritonRollout:
        return parse(TritonRollout, self.store.get(ROLLOUT, self.key))

    @property
    def status(self) -> RolloutStatus:
        return self.rollout().status

    # --- senses and hands: the world ---------------------------------------------------------------------------

    def reading(self, rollout: TritonRollout, slo: Slo, canary: str, since: float) -> SliReading:
        return self.world.reading(slo.kind, canary, since)

    def gauge(self, rollout: TritonRollout, guard: Guard, canary: str) -> GaugeReading | Unknown:
        return self.world.gauge(canary)

    def slot(self, rollout: TritonRollout, slot: str) -> SlotState:
        if rollout.spec.slots[slot].workload is None:
            return self.world.slot(slot)
        pods = self.workloads.state(rollout, slot)
        return both(self.world.slot(slot), pods) if by_triton(rollout.spec, slot) else pods

    def load(self, rollout: TritonRollout, slot: str, version: str) -> None:
        self.world.load(slot, version)

    def warm_up(self, rollout: TritonRollout, slot: str, version: str) -> None:
        self.world.warm_up(slot, version)

    def answered(self, rollout: TritonRollout, slot: str, version: str | None, refusal: str | None) -> None:
        self.workloads.answered(rollout, slot, version, refusal)

    def tell(self, rollout: TritonRollout, message: Tell) -> None:
        self.told.append(message)

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None:
        pass

    def turn_refused(self, rollout: TritonRollout, error: Exception) -> None:
        self.refusals.append(error)

    def gone(self, key: Key) -> None:
        pass

    def invalid(self, key: Key, error: InvalidDocument) -> None:
        self.invalid_documents.append(error)

    # --- what people do ----------------------------------------------------------------------------------------

    def annotate(self, **annotations: str) -> None:
        names = {"version": ANNOTATION_VERSION, "request": ANNOTATION_REQUEST, "command": ANNOTATION_COMMAND}
        raw: dict[str, Any] = self.store.get(ROLLOUT, self.key)
        mine = {names[short]: text for short, text in annotations.items()}
        raw["metadata"]["annotations"] = {**(raw["metadata"].get("annotations") or {}), **mine}
        self.store.replace(ROLLOUT, raw)

    # --- turning -------------------------------------------------------------------------------------------------

    def settle(self, limit: int = 20) -> None:
        """Turn until it asks to look later than now."""
        for _ in range(limit):
            self.play_kubernetes()
            again = self.reconciler.reconcile(self.key)
            if again is None or again > self.world.now:
                return
        raise AssertionError(f"{limit} turns at one instant: a hot loop")

    def run_until_rest(self, limit_s: float = 3600) -> None:
        end = self.world.now + limit_s
        while self.world.now < end:
            self.world.advance(self.world.now + self.world.window_s)
            self.settle()
            if self.status.phase in RESTING:
                return
        raise AssertionError(f"not at rest after {limit_s} s: {self.status.phase}")


__all__ = ["KEY", "ROUTE", "Play", "RolloutPolicy"]
