"""What one update of the judge costs: `python benchmarks/judge.py` prints microseconds per SLO and window."""

from __future__ import annotations

import random
import time

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge import StepView, assess
from rollout_controller.core.observation import Counts, SliReading, Window

START = 1_800_000_000.0
STEP = StepView(
    attempt_started_at=START,
    first_traffic_at=START,
    step=0,
    step_started_at=START,
    weight=10,
    next_weight=25,
    planned_s=1440.0,
)


def main() -> None:
    policy = PolicySpec.model_validate(
        {
            "steps": [{"weight": weight} for weight in (10, 25, 50, 100)],
            "slos": [
                {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}},
                {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}},
            ],
        }
    )
    for seconds, name in ((30, "judged at once (30 s)"), (5, "joined (5 s)")):
        for batch in (1, 20):
            best = min(_microseconds(policy, seconds, batch) for _ in range(5))
            print(f"{name:24} {batch:3} windows a call: {best:6.1f} us per SLO and window")


def _microseconds(policy: PolicySpec, seconds: float, batch: int, windows: int = 2000) -> float:
    rng = random.Random(0)
    made = [
        Window(START + i * seconds, START + (i + 1) * seconds, Counts(200, rng.randint(0, 2)), Counts(1800, rng.randint(0, 20)))
        for i in range(windows)
    ]
    calls = [tuple(made[i : i + batch]) for i in range(0, windows, batch)]
    state: JudgeState | None = None
    begin = time.perf_counter()
    for call in calls:
        readings = {slo.name: SliReading(call) for slo in policy.slos}
        state = assess(policy, STEP, state, readings, call[-1].end).state
    return (time.perf_counter() - begin) / (windows * len(policy.slos)) * 1e6


if __name__ == "__main__":
    main()
