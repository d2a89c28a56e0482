"""The sources `istio` and `istio-grpc` count in a mesh what its users saw: answers, failures, slow ones."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rollout_controller.api.meta import Key
from rollout_controller.api.rollout import Slot
from rollout_controller.lab import istiod, tritons
from rollout_controller.lab.mesh import NAMESPACE, Mesh
from rollout_controller.lab.mesh_envoy import GRPC_PORT
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import CountSource, load_sources
from rollout_controller.slo.wants import Question, Want
from tests.support.world import wait_for

pytestmark = pytest.mark.mesh

KEY = Key(NAMESPACE, "classifier")
BLUE, GREEN = "triton-blue", "triton-green"
LIMIT_MS, SLOW_FROM_MS = 100.0, 110.0
"""Envoy keeps two digits of a duration: what is under 110 ms counts under `le="100"`."""
SETTLE_S = 4.0
"""A scrape, the lag of the reading and a window of a second, with room."""


class Reading:
    """A reader at work, asked from now on what both slots do."""

    def __init__(self, mesh: Mesh) -> None:
        sources = load_sources()
        self._reader = SliReader(Prometheus(mesh.info.prometheus, timeout_s=2), sources, window_s=1, lag_s=0.5, budget_s=4)
        wants = []
        for name in ("istio", "istio-grpc"):
            source = sources[name]
            assert isinstance(source, CountSource)
            slots = {slot: source.identify(Slot(host=slot), NAMESPACE) for slot in (BLUE, GREEN)}
            wants.append(Want(f"{name} errors", Question(name, "errors", codes=("5xx",)), slots))
            wants.append(Want(f"{name} latency", Question(name, "latency", edge_ms=LIMIT_MS), slots))
        self._reader.want(KEY, wants)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            self._reader.read(time.time())

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)

    def counts(self, name: str) -> dict[str, tuple[int, int]]:
        """Requests and bad ones by slot, green as the canary."""
        windows = self._reader.reading(KEY, name, GREEN).windows
        green = sum(w.canary.total for w in windows), sum(w.canary.bad for w in windows)
        blue = sum(w.stable.total for w in windows), sum(w.stable.bad for w in windows)
        return {slot: found for slot, found in ((GREEN, green), (BLUE, blue)) if found[0]}

    def until(self, name: str, expected: dict[str, tuple[int, int]]) -> None:
        wait_for(lambda: self.counts(name) == expected, 20)
        time.sleep(SETTLE_S)  # and it stays so
        assert self.counts(name) == expected


@pytest.fixture
def reading(mesh: Mesh) -> Iterator[Reading]:
    time.sleep(SETTLE_S)  # what other tests did is over
    reading = Reading(mesh)
    time.sleep(SETTLE_S)  # its first windows lie before what is counted
    yield reading
    reading.close()


def by_slot(entries: list[dict[str, Any]], is_bad: Callable[[dict[str, Any]], bool]) -> dict[str, tuple[int, int]]:
    total: Counter[str] = Counter()
    bad: Counter[str] = Counter()
    for entry in entries:
        slot = entry["cluster"].rpartition("|")[2].partition(".")[0]
        total[slot] += 1
        bad[slot] += is_bad(entry)
    return {slot: (count, bad[slot]) for slot, count in total.items()}


def failed(entry: dict[str, Any]) -> bool:
    return int(entry["code"]) >= 500


def send(mesh: Mesh, seconds: float, rps: float = 60.0) -> list[dict[str, Any]]:
    """That much load; what the load generator says of each second."""
    out = mesh.directory / f"load-{time.monotonic_ns()}.jsonl"
    running = mesh.load(rps=rps, out=out, seconds=seconds)
    assert running.handle.wait(timeout=seconds + 30) == 0
    time.sleep(0.5)  # the access log is flushed
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_istio_counts_each_answer_of_either_slot(mesh: Mesh, reading: Reading) -> None:
    tritons.load_version(mesh.info.triton[GREEN], 3)  # 5 % errors
    mesh.route({BLUE: 50, GREEN: 50})
    mesh.wait_weights({BLUE: 50, GREEN: 50})
    began = time.time()
    outcomes: Counter[str] = Counter()
    for second in send(mesh, 15):
        outcomes += Counter(second["outcomes"])
    seen = by_slot(mesh.served(began), failed)
    assert sum(total for total, _ in seen.values()) == outcomes.total() > 500
    assert sum(bad for _, bad in seen.values()) == outcomes.total() - outcomes["200"] == seen[GREEN][1] > 5
    reading.until("istio errors", seen)
    assert reading.counts("istio-grpc errors") == {}


def test_istio_counts_slow_answers(mesh: Mesh, reading: Reading) -> None:
    tritons.load_version(mesh.info.triton[GREEN], 4)  # 38 % take about 180 ms
    mesh.route({BLUE: 50, GREEN: 50})
    mesh.wait_weights({BLUE: 50, GREEN: 50})
    began = time.time()
    send(mesh, 15, rps=30)
    entries = mesh.served(began)
    fewest = by_slot(entries, lambda entry: entry["upstream_ms"] > SLOW_FROM_MS)
    most = by_slot(entries, lambda entry: entry["upstream_ms"] >= SLOW_FROM_MS - 1)
    totals = {slot: total for slot, (total, _) in fewest.items()}
    wait_for(lambda: {slot: total for slot, (total, _) in reading.counts("istio latency").items()} == totals, 20)
    for slot, (total, slow) in reading.counts("istio latency").items():
        assert total == totals[slot]
        assert fewest[slot][1] <= slow <= most[slot][1]  # whole milliseconds
    assert fewest[GREEN][1] > 20


def test_istio_counts_a_refused_connection_as_one_failure(mesh: Mesh, reading: Reading) -> None:
    """The sidecar tries a refused connection again, as Istio has it by default; the user gets one answer."""
    mesh.route({BLUE: 50, GREEN: 50})
    mesh.wait_weights({BLUE: 50, GREEN: 50})
    mesh.stop_one(GREEN)
    try:
        began = time.time()
        send(mesh, 6)
        seen = by_slot(mesh.served(began), failed)
    finally:
        mesh.start_one(GREEN)
    assert seen[GREEN][0] == seen[GREEN][1] > 50
    reading.until("istio errors", seen)


def test_istio_grpc_counts_by_the_grpc_status(mesh: Mesh, reading: Reading) -> None:
    """All of these answers are HTTP 200."""
    tritons.load_version(mesh.info.triton[GREEN], 3)
    host = "triton-grpc"
    front = istiod.service_entry(host, NAMESPACE, http=1, grpc=1)
    weights = {BLUE: 50, GREEN: 50}
    route = istiod.virtual_service(host, NAMESPACE, host=host, route="grpc", prefix="/inference.", weights=weights)
    mesh.kube.apply(front, route)
    mesh.wait_weights(weights, port=GRPC_PORT, host=host)
    authority = f"{istiod.full_name(host, NAMESPACE)}:{GRPC_PORT}"
    began = time.time()
    outcomes = grpc_requests(mesh.info.front_grpc, authority, 400)
    time.sleep(0.5)
    seen = by_slot(mesh.served(began), failed)
    assert sum(total for total, _ in seen.values()) == 400
    assert all(bad == 0 for _, bad in seen.values())
    assert 0 < outcomes["failed"] < 100
    expected = seen | {GREEN: (seen[GREEN][0], outcomes["failed"])}
    reading.until("istio-grpc errors", expected)
    assert {slot: total for slot, (total, _) in reading.counts("istio-grpc latency").items()} == {
        slot: total for slot, (total, _) in seen.items()
    }


def grpc_requests(address: str, authority: str, count: int) -> Counter[str]:
    """Inference requests one after the other; how they ended."""
    import numpy as np  # noqa: PLC0415  (with gRPC half a second that no other test needs)
    import tritonclient.grpc as triton  # noqa: PLC0415
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    image = triton.InferInput("IMAGE", [1, 3, 32, 32], "FP32")
    image.set_data_from_numpy(np.zeros((1, 3, 32, 32), dtype=np.float32))
    outcomes: Counter[str] = Counter()
    with triton.InferenceServerClient(address, channel_args=[("grpc.default_authority", authority)]) as client:
        for _ in range(count):
            try:
                client.infer("classifier", [image], client_timeout=10)
                outcomes["ok"] += 1
            except InferenceServerException:
                outcomes["failed"] += 1
    return outcomes
