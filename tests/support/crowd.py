"""Many rollouts on a real API server, with traffic that a real Prometheus counts and no server serves: its figures are made up.

Deploys are external, so nothing of a Triton is needed but its word that it is ready.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_VERSION
from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube
from tests.contract.documents import policy, rollout, virtual_service
from tests.support.prometheus import Exporter, RealPrometheus, find_prometheus, prometheus
from tests.support.replicas import Stage
from tests.support.watching import soon
from tests.support.world import World
from tests.unit.triton.wire_triton import WireTriton, serve

MERGE = "application/merge-patch+json"
SLOTS = ("blue", "green")
BEAT_S = 0.25
PER_BEAT = 10
"""Requests of each slot in a beat: 40 a second."""
RISE = (10, 100)
PATIENT = {"duration": "30s"}
"""Nobody starts a controller anew here: an API server that a busy machine keeps from answering for a while must not end it."""


class Tritons(WireTriton):
    """The Triton of each slot, by the host in its URL: `down` are the hosts that say they are not ready."""

    def __init__(self) -> None:
        super().__init__()
        self.down: set[str] = set()

    def answer(self, verb: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        host = path.split("/")[1]
        return (503, {"error": "down"}) if host in self.down else (200, None)


class Traffic:
    """What the slots' users get, as an exporter shows it: all goes well, until `bad` has a host, half of whose requests fail."""

    def __init__(self, hosts: list[str]) -> None:
        self._world, self._hosts = World(), hosts
        self.bad: frozenset[str] = frozenset()
        self.exporter = Exporter(self._world.text)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            for host in self._hosts:
                failing = PER_BEAT // 2 if host in self.bad else 0
                self._world.serve(host, PER_BEAT - failing)
                self._world.serve(host, failing, status="5")

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self.exporter.close()


class Crowd:
    """`count` rollouts, each with a route of its own; version 1 runs in every blue slot and has all traffic."""

    def __init__(self, made: Stage, names: list[str], traffic: Traffic, tritons: Tritons, server: RealPrometheus) -> None:
        self.stage, self.kube, self.namespace, self.names = made, made.kube, made.namespace, names
        self.traffic, self.tritons, self.prometheus = traffic, tritons, server

    def ask(self, version: str) -> None:
        """CI's way, of all of them."""
        self._annotate(ANNOTATION_VERSION, version)

    def command(self, text: str) -> None:
        """Verb and id, to all of them."""
        self._annotate(ANNOTATION_COMMAND, text)

    def _annotate(self, annotation: str, text: str) -> None:
        for name in self.names:
            patch = {"metadata": {"annotations": {annotation: text}}}
            self.kube.api.call("PATCH", self.kube.api.path_of(rollout(self.namespace, name)), patch, content_type=MERGE)

    def statuses(self) -> dict[str, dict[str, Any]]:
        path = self.kube.api.path_of(rollout(self.namespace, self.names[0])).rpartition("/")[0]
        return {item["metadata"]["name"]: item.get("status") or {} for item in self.kube.api.get(path)["items"]}

    def phases(self) -> Counter[str]:
        return Counter(status.get("phase", "none") for status in self.statuses().values())

    def weights(self) -> dict[str, tuple[int, int]]:
        """Blue's and green's, by rollout, in their VirtualServices."""
        path = self.kube.api.path_of(virtual_service(self.namespace)).rpartition("/")[0]
        routes = {item["metadata"]["name"]: item["spec"]["http"][0]["route"] for item in self.kube.api.get(path)["items"]}
        return {name: (blue.get("weight", 0), green.get("weight", 0)) for name, (blue, green) in routes.items()}

    def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.kube.api.get(f"/apis/events.k8s.io/v1/namespaces/{self.namespace}/events")["items"]
        return found

    def wait_weights(self, blue: int, green: int, within_s: float) -> None:
        self._wait(lambda: set(self.weights().values()) == {(blue, green)}, within_s)

    def wait_phase(self, phase: str, within_s: float) -> None:
        count = len(self.names)
        self._wait(lambda: self.phases()[phase] == count, within_s)

    def _wait(self, so: Callable[[], bool], within_s: float) -> None:
        """Seldom: all documents are read at each look."""
        soon(so, within_s, lambda: f"{self.phases()}\n{self.stage.logs()}", most_s=0.5)

    def go_bad(self) -> float:
        """Every green slot fails half of its requests from now on; the time of that, in seconds since 1970."""
        self.traffic.bad = frozenset(hosts(self.names, "green"))
        return time.time()


def hosts(names: list[str], *slots: str) -> list[str]:
    return [f"triton-{slot}-{name}" for name in names for slot in slots or SLOTS]


def documents(namespace: str, name: str) -> tuple[Raw, Raw]:
    """A rollout and its route."""
    made, route = rollout(namespace, name), virtual_service(namespace, name)
    del made["metadata"]["annotations"]
    made["spec"]["route"] = {"virtualService": name, "http": "resnet50"}
    made["spec"]["slots"] = {slot: {"host": f"triton-{slot}-{name}"} for slot in SLOTS}
    for slot, share in zip(SLOTS, route["spec"]["http"][0]["route"], strict=True):
        share["destination"]["host"] = f"triton-{slot}-{name}"
    return made, route


def rules(namespace: str, tolerance: Mapping[str, str], *, retreat: Raw | str = "off") -> Raw:
    """Errors and latency; a first step that lasts until it is ended by harm, or by a person."""
    made = policy(namespace)
    latency = {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}}
    made["spec"] |= {
        "steps": [{"weight": weight} for weight in RISE],
        "slos": [*made["spec"]["slos"], latency],
        "hold": {"min": "20m", "minRequests": 30, "timeout": "1h"},
        "undecided": {"after": "30m"},
        "judge": {"tolerance": dict(tolerance)},
        "retreat": retreat,
    }
    return made


@contextmanager
def crowd(
    kube: Kube,
    namespace: str,
    folder: Path,
    count: int,
    *,
    window_s: int,
    tolerance: str,
    scrape: str = "1s",
    retreat: Raw | str = "off",
) -> Iterator[Crowd]:
    """All of it, with one controller that acts."""
    names = [f"r-{number:03d}" for number in range(count)]
    traffic = Traffic(hosts(names))
    try:
        with (
            serve(Tritons()) as tritons,
            prometheus(find_prometheus(), folder / "prometheus", [traffic.exporter.target], scrape=scrape) as server,
        ):
            assert isinstance(tritons, Tritons)
            config = {
                "prometheus": {"url": server.url, "window": f"{window_s}s", "lag": "1s"},
                "triton": {"url": tritons.url + "/{host}"},
                "lease": PATIENT,
            }
            made = Stage(kube, namespace, folder, **config)
            try:
                kube.apply(rules(namespace, {"errors": tolerance, "latency": tolerance}, retreat=retreat))
                kube.apply(*(document for name in names for document in documents(namespace, name)))
                made.replica("a").wait_acting()
                yield Crowd(made, names, traffic, tritons, server)
            finally:
                made.close()
    finally:
        traffic.close()
