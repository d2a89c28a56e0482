"""How long a rollback takes in a real lab: from the last sample used to weight 0 in Envoy, and what users saw of the bad version.

python -m benchmarks.rollback [--runs 20] [--rps 100]

Versions 3 (5 % errors), 4 (p95 too high) and 5 (dies) in turn, each asked for by a request id of its own, on the demo's policy
(windows of 1 s). "Weight 0 in Envoy" is `last_updated` of the route configuration in Envoy's own dump; what users saw is read
from Envoy's access log.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout_controller.api.quantities import parse_instant
from tests.lab.service import Service, running

VERSIONS = ("3", "4", "5")
CANARY, STABLE = "triton-green", "triton-blue"
LIMIT_MS = 100


@dataclass(frozen=True)
class Rollback:
    """One bad version. Seconds; `exposed_s`: from the first bad answer to the start of the last request the canary got."""

    version: str
    code: str
    sample_to_envoy_s: float
    exposed_s: float
    requests: int
    bad: int
    took_s: float


def roll_back(service: Service, version: str) -> Rollback:
    """Ask for a bad version and wait until the controller has brought it back."""
    began = time.time()
    done = service.trigger(version)
    if done.returncode != 3:
        raise SystemExit(f"version {version} was not rolled back (exit code {done.returncode}):\n{done.stdout}{done.stderr}")
    took_s = time.time() - began
    record = service.status()["attempts"][0]
    if service.envoy_weights() != {STABLE: 100}:
        raise SystemExit(f"Envoy still says {service.envoy_weights()} after the rollback of version {version}")
    moved_at = routes_since(service)
    time.sleep(1.0)  # Envoy flushes its access log
    served = service.served(began).get(CANARY, [])
    bad = [entry for entry in served if is_bad(entry)]
    answered = [float(entry["start"]) + entry["duration_ms"] / 1000 for entry in bad]
    return Rollback(
        version=version,
        code=record["reason"]["code"],
        sample_to_envoy_s=moved_at - parse_instant(record["lastSampleAt"]),
        exposed_s=max(float(entry["start"]) for entry in served) - min(answered) if bad else 0.0,
        requests=len(served),
        bad=len(bad),
        took_s=took_s,
    )


def routes_since(service: Service) -> float:
    """Since when Envoy has the routes it has now, by its own word; seconds since 1970."""
    status, text = service.get(f"{service.info.envoy_admin}/config_dump?resource=dynamic_route_configs")
    if status != 200:
        raise SystemExit(f"Envoy's config_dump answered {status}")
    return max(parse_instant(config["last_updated"]) for config in json.loads(text)["configs"])


def is_bad(entry: dict[str, Any]) -> bool:
    """As the policy counts: failed, or slower than its limit."""
    return int(entry["code"]) >= 500 or int(entry["code"]) == 0 or int(entry["duration_ms"]) > LIMIT_MS


def summary(name: str, values: Sequence[float], unit: str) -> str:
    return f"{name:<62} p50 {statistics.median(values):>7.2f}   max {max(values):>7.2f} {unit}"


def report(found: Sequence[Rollback]) -> None:
    print(f"\n{len(found)} rollbacks")
    groups = {"all": found} | {f"version {v}": [r for r in found if r.version == v] for v in VERSIONS}
    for name, group in groups.items():
        if group:
            print(f"\n{name} ({len(group)})")
            print(summary("last sample used to weight 0 in Envoy", [r.sample_to_envoy_s for r in group], "s"))
            print(summary("first bad answer to the last request that reached the canary", [r.exposed_s for r in group], "s"))
            print(summary("bad answers that users saw", [float(r.bad) for r in group], ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--rps", type=float, default=100)
    arguments = parser.parse_args()
    found: list[Rollback] = []
    with tempfile.TemporaryDirectory(prefix="rollouts-bench-") as folder, running(Path(folder), rps=arguments.rps) as service:
        service.until(lambda: service.status().get("phase") == "Idle", 30, "Idle")
        for number in range(arguments.runs):
            found.append(roll_back(service, VERSIONS[number % len(VERSIONS)]))
            last = found[-1]
            print(
                f"{number + 1:>2}/{arguments.runs} version {last.version} {last.code:<16}"
                f" sample to Envoy {last.sample_to_envoy_s:5.2f} s, exposed {last.exposed_s:5.1f} s,"
                f" {last.bad} bad of {last.requests}, attempt {last.took_s:4.1f} s",
                flush=True,
            )
    report(found)


if __name__ == "__main__":
    main()
