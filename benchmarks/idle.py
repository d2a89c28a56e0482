"""CPU and memory of the controller process in a real lab: at rest with one rollout, and in an attempt.

python -m benchmarks.idle [--seconds 60] [--repeats 3]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.process import cpu_s, memory_mib
from tests.lab.service import Service, running

LONG_STEPS = {"min": "20m", "minRequests": 30, "timeout": "40m"}


def measure(service: Service, name: str, seconds: float, repeats: int) -> None:
    """Shares of one CPU, user and system of all threads, over `repeats` spans."""
    assert service.controller is not None
    pid = service.controller.pid
    shares = []
    for _ in range(repeats):
        began, used = time.monotonic(), cpu_s(pid)
        time.sleep(seconds)
        shares.append(100 * (cpu_s(pid) - used) / (time.monotonic() - began))
    spread = f"{min(shares):.2f} to {max(shares):.2f}"
    print(
        f"{name:<24} CPU {statistics.median(shares):.2f} % of one (median of {repeats} x {seconds:.0f} s, {spread}),"
        f" RSS {memory_mib(pid):.0f} MiB",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    undecided = {"after": "30m", "then": "Advance"}
    with (
        tempfile.TemporaryDirectory(prefix="rollouts-bench-") as folder,
        running(Path(folder), hold=LONG_STEPS, undecided=undecided) as service,
    ):
        service.until(lambda: service.status().get("phase") == "Idle", 30, "Idle")
        time.sleep(5)
        measure(service, "one rollout at rest", arguments.seconds, arguments.repeats)
        service.ask("2")
        service.until(lambda: service.envoy_weights().get("triton-green") == 10, 30, "10 % on the canary")
        time.sleep(5)
        measure(service, "one rollout in an attempt", arguments.seconds, arguments.repeats)


if __name__ == "__main__":
    main()
