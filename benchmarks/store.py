"""The Kubernetes store on a real API server: lists, writes, and how soon a watch has told of a write.

python -m benchmarks.store [--rollouts 1000] [--writes 1000] [--threads 4]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.process import memory_mib
from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.cache import DocumentCache
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.cluster.store import ROLLOUT, VIRTUAL_SERVICE
from rollout_controller.lab.kube import Kube
from tests.contract.documents import rollout, virtual_service
from tests.support.crds import CRDS

NAMESPACE = "default"
WEIGHT = "/spec/http/0/route/0/weight"
VERDICT = {"kind": "errors", "verdict": "Satisfied", "objective": 0.01, "requests": 12345, "sentence": "y" * 150}
STATUS = {
    "phase": "Progressing",
    "reason": {"code": "StepHolds", "sentence": "x" * 200},
    "verdicts": [{**VERDICT, "slo": f"slo-{number}"} for number in range(3)],
}
"""About as long as a status in an attempt."""


def timed(call: Callable[[], object]) -> float:
    """Milliseconds."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def spread(name: str, times_ms: list[float]) -> None:
    ordered = sorted(times_ms)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    print(f"{name:<44} p50 {statistics.median(ordered):.1f} ms, p99 {p99:.1f} ms, max {ordered[-1]:.1f} ms", flush=True)


def fill(store: KubernetesStore, count: int) -> None:
    def make(numbers: range) -> None:
        for number in numbers:
            made = store.create(ROLLOUT, rollout(NAMESPACE, f"r{number:04}"))
            store.replace_status(ROLLOUT, Key(NAMESPACE, f"r{number:04}"), STATUS, made["metadata"]["resourceVersion"])

    threads = [threading.Thread(target=make, args=(range(start, count, 4),)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lists(store: KubernetesStore, count: int) -> None:
    held = store.list(ROLLOUT)
    assert len(held.items) == count
    assert len(held.items[0]["status"]["verdicts"]) == 3
    print(f"{'the process with such a list in memory':<44} {memory_mib(os.getpid()):.0f} MiB", flush=True)
    cpu = time.process_time()
    spread(f"list of {count} TritonRollouts", [timed(lambda: store.list(ROLLOUT)) for _ in range(10)])
    print(f"{'CPU of the client for one':<44} {100 * (time.process_time() - cpu):.0f} ms", flush=True)


def patches(store: KubernetesStore, writes: int, threads: int) -> None:
    """Weights of one VirtualService a thread, with a `test` each, as a step does it."""

    def write(name: str) -> None:
        for number in range(writes // threads):
            test = {"op": "test", "path": WEIGHT, "value": number % 100}
            store.patch(VIRTUAL_SERVICE, Key(NAMESPACE, name), [test, {**test, "op": "replace", "value": (number + 1) % 100}])

    names = [f"v{threads}-{index}" for index in range(threads)]
    for name in names:
        store.create(VIRTUAL_SERVICE, virtual_service(NAMESPACE, name, blue=0, green=100))
    workers = [threading.Thread(target=write, args=(name,)) for name in names]
    began, cpu = time.perf_counter(), time.process_time()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rate = writes / (time.perf_counter() - began)
    cpu_ms = 1000 * (time.process_time() - cpu) / writes
    print(
        f"{f'patches with a test, {threads} threads':<44} {rate:.0f} a second, {cpu_ms:.2f} ms CPU of the client each", flush=True
    )


def watch(store: KubernetesStore, writes: int) -> None:
    """From the answer to a write until the cache holds it."""
    store.create(VIRTUAL_SERVICE, virtual_service(NAMESPACE, "watched", blue=0, green=100))
    key = Key(NAMESPACE, "watched")
    seen: dict[str, float] = {}
    told = threading.Condition()

    def changed(_kind: object, changed_key: Key) -> None:
        document: Raw | None = cache.get(VIRTUAL_SERVICE, changed_key)
        if document is not None:
            with told:
                seen[document["metadata"]["resourceVersion"]] = time.perf_counter()
                told.notify()

    cache = DocumentCache(store, (VIRTUAL_SERVICE,), on_change=changed, on_death=print)
    cache.start()
    cache.wait_synced(10)
    delays = []
    for number in range(writes):
        written = store.patch(VIRTUAL_SERVICE, key, [{"op": "replace", "path": WEIGHT, "value": number % 100 + 1}])
        answered, version = time.perf_counter(), written["metadata"]["resourceVersion"]
        with told:
            assert told.wait_for(lambda version=version: version in seen, 10)  # type: ignore[misc]
        delays.append(1000 * (seen[version] - answered))
    cache.stop()
    spread("a write's answer to its place in the cache", [max(0.0, delay) for delay in delays])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=1000)
    parser.add_argument("--writes", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rollouts-bench-") as folder, Kube(Path(folder)) as kube:
        kube.apply_istio_crds("virtualservices")
        kube.apply(CRDS)
        transport = OfficialTransport(kube.admin)
        store = KubernetesStore(transport)
        fill(store, arguments.rollouts)
        lists(store, arguments.rollouts)
        patches(store, arguments.writes, 1)
        patches(store, arguments.writes, arguments.threads)
        watch(store, 200)
        transport.close()


if __name__ == "__main__":
    main()
