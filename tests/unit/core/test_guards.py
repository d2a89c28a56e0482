"""Guards by their names, whatever was read of them so far."""

from __future__ import annotations

from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import GuardReading
from rollout_controller.core.guards import tripped
from rollout_controller.core.observation import GaugeReading, Observation, Unknown

GPU = {"name": "gpu", "source": "dcgm", "above": "90%", "for": "2m", "then": "Rollback"}
POLICY = PolicySpec.model_validate(
    {
        "steps": [{"weight": 10}, {"weight": 100}],
        "slos": [{"name": "e", "source": "istio", "errorRate": {"max": "1%"}}],
        "guards": [GPU],
    }
)
SEEN = Observation(Unknown("not-found", ""), {}, {}, {"gpu": GaugeReading(0.97, 0.5, 1000.0)})


def test_before_the_canary_had_traffic_no_guard_trips_and_no_turn_fails() -> None:
    """A status that was written before weights that were not: every later turn failed, for good."""
    assert tripped(POLICY, (), SEEN) is None


def test_a_guard_is_found_by_its_name() -> None:
    others = GuardReading(guard="other", state="fine", limit=0.5)
    over = GuardReading(guard="gpu", state="over", value=0.97, stable_value=0.5, limit=0.9, over_since=800.0)
    assert tripped(POLICY, (others, over), SEEN) is over
