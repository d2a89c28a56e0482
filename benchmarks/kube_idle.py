"""What an idle controller asks of a real API server, by verb and resource, and the memory that TritonRollouts at rest cost.

python -m benchmarks.kube_idle [--rollouts 100] [--minutes 3] [--many 1000]

A leader and a follower with the chart's rights for the whole cluster. Calls are counted in the API server's audit log: first with
`--rollouts`, each with a VirtualService of its own, then memory with `--many`. The Tritons are one small server that plays their
repository API.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.process import cpu_s, memory_mib
from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.ports import free_ports
from tests.contract.documents import policy, virtual_service
from tests.support.chart import install_chart, make_namespace
from tests.support.controller_process import ControllerProcess
from tests.support.watching import soon

NAMESPACE = "rollout-system"
SPACES = 10
SETTLE_S = 90.0
"""All are looked at once a minute: after this long nothing is new."""
LONG_S = 900.0


def documents(number: int, space: str) -> tuple[Raw, Raw]:
    """A rollout at rest and its route."""
    name = f"r{number:04}"
    hosts = {slot: f"{name}-{slot}-triton" for slot in ("blue", "green")}
    route = virtual_service(space, name)
    for share, host in zip(route["spec"]["http"][0]["route"], hosts.values(), strict=True):
        share["destination"]["host"] = host
    spec = {
        "policy": "balanced",
        "route": {"virtualService": name},
        "slots": {slot: {"host": host} for slot, host in hosts.items()},
        "deploy": {"modelRepository": {"model": "resnet50"}},
    }
    kind = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "TritonRollout"}
    return route, {**kind, "metadata": {"name": name, "namespace": space}, "spec": spec}


def fill(kube: Kube, first: int, last: int) -> None:
    for number in range(first, last):
        kube.apply(*documents(number, f"team-{number % SPACES}"))


def calls(processes: dict[str, ControllerProcess]) -> dict[str, Counter[tuple[str, str]]]:
    return {name: process.kube.calls(process.user) for name, process in processes.items()}


def count(processes: dict[str, ControllerProcess], minutes: float) -> None:
    before, used = calls(processes), {name: cpu_s(p.process.pid) for name, p in processes.items()}
    time.sleep(60 * minutes)
    after = calls(processes)
    for name, process in processes.items():
        grown = after[name] - before[name]
        each = ", ".join(f"{verb} {resource} {n / minutes:.1f}" for (verb, resource), n in grown.most_common())
        share = 100 * (cpu_s(process.process.pid) - used[name]) / (60 * minutes)
        print(f"{name:<9} {sum(grown.values()) / minutes:.0f} calls a minute: {each}; CPU {share:.1f} % of one", flush=True)


def rests(kube: Kube, count: int) -> bool:
    items: list[Raw] = kube.api.get("/apis/rollouts.triton.dev/v1alpha1/tritonrollouts")["items"]
    resting = [item for item in items if (item.get("status") or {}).get("phase") == "Idle"]
    return len(resting) == count


@contextmanager
def tritons() -> Iterator[int]:
    """The port of the server that plays all of them."""
    (port,) = free_ports(1)
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.scale_tritons", str(port)])
    try:
        yield port
    finally:
        server.terminate()
        server.wait(20)


@contextmanager
def replicas(kube: Kube, folder: Path, port: int) -> Iterator[dict[str, ControllerProcess]]:
    """The leader and the follower; both are the chart's service account under a name of their own."""
    installed = install_chart(kube, namespace=NAMESPACE)
    binding = next(d for d in installed.documents if d["kind"] == "ClusterRoleBinding")
    leader = next(d for d in installed.documents if d["kind"] == "RoleBinding")
    config: dict[str, Any] = {"triton": {"url": f"http://127.0.0.1:{port}/{{host}}"}, "metrics": {"host": "127.0.0.1", "port": 0}}
    path = installed.config_with(folder / "config.yaml", config)
    running: list[ControllerProcess] = []
    for user in ("first", "second"):
        subject = {"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}
        for given in (binding, leader):
            name = f"{given['metadata']['name']}-{user}"
            kube.apply({**given, "metadata": {**given["metadata"], "name": name}, "subjects": [subject]})
        running.append(ControllerProcess(kube, user, kube.user(user, namespace=NAMESPACE), path, folder / f"{user}.log"))
    try:
        for process in running:
            process.wait_ready()
        soon(lambda: any(process.acts() for process in running), 60)
        running.sort(key=lambda process: not process.acts())
        yield dict(zip(("leader", "follower"), running, strict=True))
    finally:
        for process in running:
            process.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--many", type=int, default=1000)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="rollouts-bench-") as folder,
        Kube(Path(folder) / "kube") as kube,
        tritons() as port,
    ):
        kube.apply_istio_crds("virtualservices")
        install_chart(kube, namespace=NAMESPACE)
        for number in range(SPACES):
            make_namespace(kube, f"team-{number}")
            kube.apply(policy(f"team-{number}"))
        fill(kube, 0, arguments.rollouts)
        with replicas(kube, Path(folder), port) as running:
            soon(lambda: rests(kube, arguments.rollouts), LONG_S)
            time.sleep(SETTLE_S)
            print(f"{arguments.rollouts} rollouts at rest, {arguments.minutes:g} minutes", flush=True)
            count(running, arguments.minutes)
            fill(kube, arguments.rollouts, arguments.many)
            soon(lambda: rests(kube, arguments.many), LONG_S)
            time.sleep(SETTLE_S)
            for name, process in running.items():
                pid = process.process.pid
                now, most = memory_mib(pid), memory_mib(pid, "VmHWM")
                print(f"{name:<9} {arguments.many} rollouts at rest: {now:.0f} MiB, most ever {most:.0f}", flush=True)


if __name__ == "__main__":
    main()
