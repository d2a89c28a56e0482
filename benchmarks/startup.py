"""How long `rollouts status` takes, from the start of the process to its end: on a folder, and on a real API server.

Goals: under 0.3 s on a folder, under 0.5 s on a cluster (interpreter, imports, TLS, the answers).

python -m benchmarks.startup [--runs 20] [--only folder|cluster]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import pty
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.light import LightTransport
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, ROLLOUT, ObjectStore
from rollout_controller.lab.kube import Kube

GOALS_S = {"folder": 0.3, "cluster": 0.5}
WARM_UP = 5
"""Runs that are not counted: files are read for the first time, and an API server is busy with itself just after its start."""
CRDS = Path(__file__).parents[1] / "helm" / "rollout-controller" / "crds"
POLICY_SPEC = {
    "steps": [{"weight": 10}, {"weight": 100}],
    "slos": [{"name": "errors", "source": "istio", "errorRate": {"max": "1%"}}],
}


def document(name: str) -> dict[str, object]:
    return {
        "apiVersion": ROLLOUT.api_version,
        "kind": ROLLOUT.name,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "policy": "balanced",
            "route": {"virtualService": "triton"},
            "slots": {"blue": {"host": "b"}, "green": {"host": "g"}},
        },
    }


def fill(store: ObjectStore) -> None:
    """20 rollouts and their policy."""
    metadata = {"name": "balanced", "namespace": "default"}
    store.create(POLICY, {"apiVersion": POLICY.api_version, "kind": POLICY.name, "metadata": metadata, "spec": POLICY_SPEC})
    for number in range(20):
        store.create(ROLLOUT, document(f"model-{number}"))


def timed(command: list[str], *, terminal: bool) -> tuple[float, float]:
    """Seconds by the clock, and of CPU; `terminal`: stdout is a terminal, so that colours are paid for."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    if terminal:
        on_a_terminal(command)
    else:
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def on_a_terminal(command: list[str]) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(command, stdout=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm-256color"})
    os.close(theirs)
    try:
        while os.read(ours, 65536):
            pass
    except OSError:  # the other side was closed: the process has ended
        pass
    code = process.wait(timeout=30)
    os.close(ours)
    if code != 0:
        raise SystemExit(f"{command} exited {code}")


def measure(where: str, options: list[str], runs: int) -> bool:
    """Whether the goal was missed."""
    missed = False
    base = [sys.executable, "-m", "rollout_controller", *options]
    for name, argv in (("status NAME", ["status", "model-7"]), ("list of 20", ["list"])):
        for terminal in (False, True):
            for _ in range(WARM_UP):
                timed([*base, *argv], terminal=terminal)
            both = [timed([*base, *argv], terminal=terminal) for _ in range(runs)]
            times = sorted(took for took, _ in both)
            median, p95 = statistics.median(times), times[min(round(0.95 * runs), runs - 1)]
            cpu = statistics.median(used for _, used in both)
            place = f"{where:<8} {name:<12} {'terminal' if terminal else 'pipe':<9}"
            print(f"{place} median {median:.3f} s   p95 {p95:.3f} s   CPU {cpu:.3f} s   ({runs} runs)", flush=True)
            missed |= median > GOALS_S[where]
    print(f"goal on a {where} {GOALS_S[where]} s: {'missed' if missed else 'met'}")
    return missed


def on_a_folder(runs: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder) / "rollouts.db")
        fill(store)
        store.close()
        return measure("folder", ["--local", folder], runs)


def on_a_cluster(runs: int) -> bool:
    with tempfile.TemporaryDirectory() as folder, Kube(Path(folder), say=print) as kube:
        kube.apply(CRDS)
        connection = LightTransport(kube.admin)
        fill(KubernetesStore(connection))
        connection.close()
        return measure("cluster", ["--kubeconfig", str(kube.admin)], runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--only", choices=tuple(GOALS_S))
    args = parser.parse_args()
    for module in ("rollout_controller.cli.main", "lightkube"):
        spec = importlib.util.find_spec(module)
        if spec is None or spec.cached is None or not Path(spec.cached).exists():
            print(f"{module} is not compiled here (make install does it): each start below compiles it anew")
    missed = [
        measured(args.runs)
        for where, measured in (("folder", on_a_folder), ("cluster", on_a_cluster))
        if args.only in {None, where}
    ]
    return int(any(missed))


if __name__ == "__main__":
    sys.exit(main())
