"""How long `rollouts --local DIR status` takes, from the start of the process to its end. Goal: under 0.3 s.

python -m benchmarks.startup [--runs 20]
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import ROLLOUT

GOAL_S = 0.3


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


def timed(command: list[str], *, terminal: bool) -> float:
    """Seconds; `terminal`: stdout is a terminal, so that colours are paid for."""
    if not terminal:
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began
    ours, theirs = pty.openpty()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=theirs, stdin=theirs, env={**os.environ, "TERM": "xterm-256color"})
    os.close(theirs)
    try:
        while os.read(ours, 65536):
            pass
    except OSError:  # the other side was closed: the process has ended
        pass
    code = process.wait(timeout=30)
    took = time.perf_counter() - began
    os.close(ours)
    if code != 0:
        raise SystemExit(f"{command} exited {code}")
    return took


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    slow = False
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(Path(folder) / "rollouts.db")
        for number in range(20):
            store.create(ROLLOUT, document(f"model-{number}"))
        store.close()
        base = [sys.executable, "-m", "rollout_controller", "--local", folder]
        for name, argv in (("status NAME", ["status", "model-7"]), ("list of 20", ["list"])):
            for terminal in (False, True):
                times = sorted(timed([*base, *argv], terminal=terminal) for _ in range(runs))
                where = "terminal" if terminal else "pipe"
                p95 = times[min(round(0.95 * runs), runs - 1)]
                print(f"{name:<12} {where:<9} median {statistics.median(times):.3f} s   p95 {p95:.3f} s   ({runs} runs)")
                slow |= statistics.median(times) > GOAL_S
    print(f"goal {GOAL_S} s: {'missed' if slow else 'met'}")
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
