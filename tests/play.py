"""The product's own reconcile over a real SQLite store, in the pretend world: everything but the network is real."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from rollout_controller import mesh
from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, Key, Model, Raw, parse
from rollout_controller.api.policy import Guard, RolloutPolicy, Slo
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Condition, Phase, RolloutStatus
from rollout_controller.cluster.codec import quick
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import (
    DEPLOYMENT,
    POLICY,
    ROLLOUT,
    VIRTUAL_SERVICE,
    AlreadyExists,
    Kind,
    NotFound,
    ObjectStore,
)
from rollout_controller.controller.apply import Applier, Teller
from rollout_controller.controller.news import Carrier, News
from rollout_controller.controller.observe import Observer, Sight
from rollout_controller.controller.pace import EvidencePace
from rollout_controller.controller.reconcile import Reconciler
from rollout_controller.controller.reference import Reference
from rollout_controller.controller.senses import both, by_triton
from rollout_controller.controller.workloads import Workloads
from rollout_controller.core.observation import GaugeReading, SliReading, SlotState, Unknown
from rollout_controller.core.plan import Plan, Tell
from rollout_controller.core.states import RESTING
from rollout_controller.slo.sources import load_sources
from tests import kubelet
from tests.world import Behaviour, World, policy

M = TypeVar("M", bound=Model)
KEY = Key("vision", "resnet50")
SOURCES = load_sources()
ROUTE = Key("vision", "triton")


def documents(key: Key = KEY, route_name: str = ROUTE.name) -> tuple[Raw, Raw, Raw]:
    """The rollout, its policy and its route, as a user applies them."""
    rollout: Raw = {
        "apiVersion": "rollouts.triton.dev/v1alpha1",
        "kind": "TritonRollout",
        "metadata": {"name": key.name, "namespace": key.namespace},
        "spec": {
            "policy": "story",
            "route": {"virtualService": route_name},
            "slots": {"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}},
            "deploy": {"modelRepository": {"model": "resnet50"}},
        },
    }
    rules = policy().to_raw()
    rules["metadata"] = {"name": "story", "namespace": key.namespace}
    destinations = [
        {"destination": {"host": "triton-blue"}, "weight": 100},
        {"destination": {"host": "triton-green"}, "weight": 0},
    ]
    route: Raw = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": route_name, "namespace": key.namespace, "labels": {"team": "vision"}},
        "spec": {"hosts": ["*"], "http": [{"name": "resnet50", "route": destinations, "timeout": "2s"}]},
    }
    return rollout, rules, route


class Play:
    """A rollout in a store and a world; `start` makes a new controller, which knows only what the store knows.

    Without a `teller` what is told is only collected in `told`.
    """

    def __init__(
        self,
        place: Path | ObjectStore,
        world: World,
        spec: Raw | None = None,
        *,
        namespace: str = KEY.namespace,
        name: str = KEY.name,
        route: str = ROUTE.name,
        rules: Raw | None = None,
        teller: Teller | None = None,
        carrier: Carrier | None = None,
    ) -> None:
        """In a local store at a path, or in another one.

        `spec`: parts of the rollout's spec that are others than usual; with workloads, `deploy_pods` makes them. `rules`:
        the same of the policy's.
        """
        self.store: ObjectStore = LocalStore(place, codec=quick()) if isinstance(place, Path) else place
        self.namespace, self.key, self.route = namespace, Key(namespace, name), Key(namespace, route)
        self.world, self.teller, self.carrier = world, teller, carrier
        rollout, policy_document, virtual_service = documents(self.key, route)
        rollout["spec"].update(spec or {})
        policy_document["spec"].update(rules or {})
        self.kubelet, self._pods = kubelet.Kubelet(world), False
        with suppress(AlreadyExists):
            self.store.create(POLICY, policy_document)
        self.store.create(VIRTUAL_SERVICE, virtual_service)
        self.store.create(ROLLOUT, rollout)
        self._spec = parse(TritonRollout, rollout).spec
        self.world.weights = self.weights
        self.told: list[Tell] = []
        self.invalid_documents: list[InvalidDocument] = []
        self.refusals: list[Exception] = []
        self._looked: dict[type[Model], tuple[Raw, Model]] = {}
        self.start(self.store)

    def start(self, store: ObjectStore) -> None:
        """A new controller over `store`."""
        self.workloads = Workloads(self, lambda: self.world.now)
        self._held: dict[tuple[Kind, Key], Raw] = {}
        self._read: tuple[ObjectStore, int, dict[tuple[Kind, Key], Raw]] | None = None
        observer = Observer(self, self, SOURCES)
        applier = Applier(store, self, self, written=self._wrote)
        news = News(self.carrier)
        pace = EvidencePace(monotonic=lambda: self.world.now)
        self.reconciler = Reconciler(self, observer, applier, self, lambda: self.world.now, news=news, pace=pace)

    # --- documents, straight from the store ------------------------------------------------------------------

    def get(self, kind: Kind, key: Key) -> Raw | None:
        """As the controller's caches give it: the same object until it has changed."""
        try:
            document = self._stored(kind, key)
        except NotFound:
            return None
        self._held[kind, key] = document
        return document

    def _stored(self, kind: Kind, key: Key) -> Raw:
        """Not to be changed. A local store is read again only when something was written there; raises NotFound."""
        if isinstance(self.store, LocalStore):
            newest = self.store._database.newest()
            if self._read is None or self._read[:2] != (self.store, newest):
                self._read = self.store, newest, {}
            read = self._read[2]
        else:
            read = {}
        if (kind, key) not in read:
            document, held = self.store.get(kind, key), self._held.get((kind, key))
            read[kind, key] = held if held == document else document
        return read[kind, key]

    def _wrote(self, kind: Kind, document: Raw) -> None:
        self._held[kind, Key(document["metadata"]["namespace"], document["metadata"]["name"])] = document

    def synced(self, kind: Kind, namespace: str | None = None) -> bool:
        return True

    def refused(self, kind: Kind, namespace: str | None = None) -> str | None:
        return None

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        return tuple(Key(each["metadata"]["namespace"], each["metadata"]["name"]) for each in self.store.list(kind).items)

    def deploy_pods(self, **replicas: int) -> None:
        """Deployments for both slots, with pods that are up."""
        self._pods = True
        for slot, count in replicas.items():
            document = kubelet.deployment(slot, replicas=count, namespace=self.namespace)
            self.kubelet.begin(slot, self.store.create(DEPLOYMENT, document))
        self.play_kubernetes()

    def deployment(self, slot: str) -> Raw:
        return self.store.get(DEPLOYMENT, Key(self.namespace, f"triton-{slot}"))

    def play_kubernetes(self) -> None:
        """Bring pods and statuses up to the world's time."""
        if not self._pods:
            return
        for document in self.store.list(DEPLOYMENT, self.namespace).items:
            meta = document["metadata"]
            status = self.kubelet.status(meta["name"].removeprefix("triton-"), document)
            if status != document.get("status"):
                self.store.replace_status(DEPLOYMENT, Key(meta["namespace"], meta["name"]), status, meta["resourceVersion"])

    def weights(self) -> Mapping[str, int]:
        """What the route gives each slot; nothing where there is no route, or none that can be read."""
        with suppress(NotFound, InvalidDocument):
            self._spec = self.rollout().spec
        try:
            return mesh.read_weights(self._spec, self._stored(VIRTUAL_SERVICE, self.route))
        except (NotFound, mesh.RouteProblem):
            return {}

    def rollout(self) -> TritonRollout:
        return self._parsed(TritonRollout, self._stored(ROLLOUT, self.key))

    @property
    def status(self) -> RolloutStatus:
        return self._parsed(RolloutStatus, self._stored(ROLLOUT, self.key).get("status") or {})

    def _parsed(self, kind: type[M], raw: Raw) -> M:
        """As `parse`; tests look far more often than something changes."""
        before, model = self._looked.get(kind, (None, None))
        if not isinstance(model, kind) or (before is not raw and before != raw):
            model = parse(kind, raw)
            self._looked[kind] = raw, model
        return model

    @property
    def code(self) -> str:
        """The status' reason."""
        return self.status.reason.code if self.status.reason else ""

    def condition(self, name: str) -> Condition:
        return next(condition for condition in self.status.conditions if condition.type == name)

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

    def tell(self, about: Reference, message: Tell) -> None:
        if not message.quiet:
            self.told.append(message)
        if self.teller is not None:
            self.teller.tell(about, message)

    def looks(self, rollout: TritonRollout) -> None:
        pass

    def turned(self, rollout: TritonRollout, sight: Sight, plan: Plan) -> None:
        pass

    def turn_refused(self, rollout: TritonRollout, error: Exception) -> None:
        self.refusals.append(error)

    def gone(self, key: Key) -> None:
        pass

    def invalid(self, key: Key, error: InvalidDocument) -> None:
        self.invalid_documents.append(error)

    # --- what people do ----------------------------------------------------------------------------------------

    def annotate(self, **annotations: str | None) -> None:
        """Set the annotations version, request and command; None takes one away."""
        names = {"version": ANNOTATION_VERSION, "request": ANNOTATION_REQUEST, "command": ANNOTATION_COMMAND}

        def change(raw: Raw) -> None:
            there = dict(raw["metadata"].get("annotations") or {}) | {names[k]: text for k, text in annotations.items()}
            raw["metadata"]["annotations"] = {name: text for name, text in there.items() if text is not None}

        self.edit(ROLLOUT, self.key, change)

    def edit(self, kind: Kind, key: Key, change: Callable[[Raw], object]) -> Raw:
        """Read, change, write, as kubectl edit does."""
        raw = self.store.get(kind, key)
        change(raw)
        return self.store.replace(kind, raw)

    def edit_spec(self, change: Callable[[Raw], object]) -> Raw:
        return self.edit(ROLLOUT, self.key, lambda raw: change(raw["spec"]))

    def edit_policy(self, **changes: object) -> Raw:
        return self.edit(POLICY, Key(self.key.namespace, "story"), lambda raw: raw["spec"].update(changes))

    def edit_route(self, change: Callable[[Raw], object]) -> Raw:
        return self.edit(VIRTUAL_SERVICE, self.route, change)

    def destinations(self, change: Callable[[list[Raw]], object]) -> Raw:
        """Edit the list of destinations of the rollout's http route."""
        return self.edit_route(lambda raw: change(_ours(raw)["route"]))

    def set_weights(self, blue: int, green: int) -> Raw:
        def change(route: list[Raw]) -> None:
            for entry in route:
                entry["weight"] = blue if entry["destination"]["host"] == "triton-blue" else green

        return self.destinations(change)

    def delete_route(self) -> Raw:
        """Delete the VirtualService; gives it as it was."""
        raw = self.store.get(VIRTUAL_SERVICE, self.route)
        self.store.delete(VIRTUAL_SERVICE, self.route)
        return raw

    # --- turning -------------------------------------------------------------------------------------------------

    def settle(self, limit: int = 20) -> None:
        """Turn until it asks to look later than now."""
        for _ in range(limit):
            self.play_kubernetes()
            again = self.reconciler.reconcile(self.key)
            if again is None or again > self.world.now:
                return
        raise AssertionError(f"{limit} turns at one instant: a hot loop")

    def run(self, seconds: float) -> None:
        """Let time pass, with a turn a window."""
        end = self.world.now + seconds
        while self.world.now < end:
            self.world.advance(self.world.now + self.world.window_s)
            self.settle()

    def reach(self, phase: Phase, limit_s: float = 1200) -> None:
        end = self.world.now + limit_s
        while self.status.phase is not phase:
            assert self.world.now < end, f"never {phase}: {self.status.phase}, {self.status.reason}"
            self.run(self.world.window_s)

    def ask(self, version: str, request: str | None = None) -> None:
        self.annotate(version=version, request=request)
        self.settle()

    def run_until_rest(self, limit_s: float = 3600) -> None:
        end = self.world.now + limit_s
        while self.world.now < end:
            self.world.advance(self.world.now + self.world.window_s)
            self.settle()
            if self.status.phase in RESTING:
                return
        raise AssertionError(f"not at rest after {limit_s} s: {self.status.phase}")


GOOD = Behaviour(errors=0.001, slow=0.01)
FAILS = Behaviour(errors=0.05)
DEAD = Behaviour(errors=1.0)


def playing(
    store: ObjectStore,
    namespace: str,
    *,
    teller: Teller | None = None,
    carrier: Carrier | None = None,
    name: str = KEY.name,
    **rules: object,
) -> Play:
    """A rollout at rest: version 1 is stable on blue; 1, 2, 6 are good, 3 fails 5 % of its requests, 5 all, 7 does not load."""
    behaviours = {"1": GOOD, "2": GOOD, "6": GOOD, "3": FAILS, "5": DEAD, "7": Behaviour(fails_to_load="No such file")}
    world = World(behaviours=behaviours, window_s=10.0)
    route = f"triton-{name}"
    rules = {"hold": {"min": "30s", "minRequests": 30, "timeout": "10m"}, **rules}  # a turn is 10 s: three of them a step
    played = Play(store, world, namespace=namespace, name=name, route=route, rules=rules, teller=teller, carrier=carrier)
    played.settle()
    return played


def _ours(raw: Raw) -> Raw:
    route: Raw = next(route for route in raw["spec"]["http"] if "triton-" in str(route["route"]))
    return route


__all__ = ["DEAD", "FAILS", "GOOD", "KEY", "ROUTE", "Play", "RolloutPolicy", "playing"]
