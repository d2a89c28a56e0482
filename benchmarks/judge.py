"""What one update of the judge costs: `python -m benchmarks.judge` prints microseconds per SLO and window, and a fleet's CPU.

Each row is a policy: the objectives alone, with the comparison to stable (latency at three bucket edges), and with the retreat.
One call takes in one window of each of two SLOs, with the verdicts and without new words, as a turn between two writes does.
CPU time, the best of five, with Python's garbage collector set as the controller's process sets it. The fleet: 5,000 rollouts
with 3 SLOs, a memory of its own for each, and a window of 10 s every 10 s.
"""

from __future__ import annotations

import gc
import json
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Verdict
from rollout_controller.controller.process import GARBAGE
from rollout_controller.core.judge import StepView, assess
from rollout_controller.core.observation import Counts, SliReading, Slower, Window

START = 1_800_000_000.0
BEFORE_S = 600.0
STEP = StepView(
    attempt_started_at=START,
    first_traffic_at=START + BEFORE_S,
    step=0,
    step_started_at=START + BEFORE_S,
    weight=10,
    next_weight=25,
    planned_s=1440.0,
)
SPEC: dict[str, Any] = {
    "steps": [{"weight": weight} for weight in (10, 25, 50, 100)],
    "slos": [
        {"name": "errors", "source": "istio", "errorRate": {"max": "1%"}},
        {"name": "latency", "source": "istio", "latency": {"quantile": 0.95, "max": "100ms"}},
    ],
}
SLOW: dict[str, Any] = {"name": "slow", "source": "istio", "latency": {"quantile": 0.99, "max": "250ms"}}
FLEET, TICK_S, MOST_CORES = 5000, 10.0, 0.4
COMPARED = {"compareToStable": {"tolerance": "10%"}}
POLICIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("objectives alone", {"retreat": "off"}),
    ("compared with stable", {**COMPARED, "retreat": "off"}),
    ("compared, with retreat", COMPARED),
)


def main() -> None:
    gc.set_threshold(*GARBAGE)
    for name, more in POLICIES:
        policy = PolicySpec.model_validate({**SPEC, **more})
        for seconds in (30, 10, 5):
            best, state = min((_cost(policy, seconds) for _ in range(5)), key=lambda pair: pair[0])
            size = len(json.dumps(state.to_raw(), separators=(",", ":")))
            print(f"{name:24} windows of {seconds:2} s: {best:6.1f} us per SLO and window; state of 2 SLOs {size:,} bytes")
    for name, more in POLICIES:
        policy = PolicySpec.model_validate({**SPEC, **more, "slos": [*SPEC["slos"], SLOW]})
        cores = fleet_cores(policy)
        met = "met" if cores <= MOST_CORES else "MISSED"
        print(f"{name:24} {FLEET:,} rollouts x 3 SLOs, every {TICK_S:.0f} s: {cores:.2f} of a core (goal {MOST_CORES}: {met})")


def fleet_cores(policy: PolicySpec, ticks: int = 4) -> float:
    """Cores that a fleet in mid-attempt takes: the mean tick after the first, in which each memory becomes its own."""
    step = replace(STEP, retreat=policy.retreat != "off")
    made = _windows(TICK_S, 120 + ticks)
    state: JudgeState | None = None
    said: Sequence[Verdict] = ()
    for tick in range(120):
        found = assess(policy, step, state, _readings(made[tick]), made[tick][0].end, said=said)
        state, said = found.state, found.verdicts
    fleet = [(state, said)] * FLEET
    began = 0.0
    for tick in range(120, 120 + ticks):
        if tick == 121:
            began = time.process_time()
        for number, (mine, words) in enumerate(fleet):
            found = assess(policy, step, mine, _readings(made[tick]), made[tick][0].end, said=words)
            fleet[number] = found.state, found.verdicts
    return (time.process_time() - began) / (ticks - 1) / TICK_S


def _readings(windows: tuple[Window, Window]) -> dict[str, SliReading]:
    errors, latency = windows
    return {"errors": SliReading((errors,)), "latency": SliReading((latency,)), "slow": SliReading((latency,))}


def _cost(policy: PolicySpec, seconds: float, count: int = 600) -> tuple[float, JudgeState]:
    step = replace(STEP, retreat=policy.retreat != "off")
    made = _windows(seconds, count)
    state: JudgeState | None = None
    said: Sequence[Verdict] = ()
    begin = time.process_time()
    for errors, latency in made:
        found = assess(policy, step, state, _readings((errors, latency)), errors.end, said=said)
        state, said = found.state, found.verdicts
    assert state is not None
    return (time.process_time() - begin) / (2 * count) * 1e6, state


def _windows(seconds: float, count: int) -> list[tuple[Window, Window]]:
    rng = random.Random(0)
    made = []
    for i in range(count):
        start, end = START + i * seconds, START + (i + 1) * seconds
        canary, stable = (200, rng.randint(0, 2)), (1800, rng.randint(0, 20))
        slower = (
            Slower(50.0, rng.randint(20, 40), rng.randint(250, 290)),
            Slower(25.0, rng.randint(90, 110), rng.randint(890, 910)),
        )
        window = Window(start, end, Counts(*canary), Counts(*stable))
        made.append((window, window._replace(slower=slower)))
    return made


if __name__ == "__main__":
    main()
