"""Whole attempts with pods behind the slots, as transcripts (tests/golden/stories)."""

from __future__ import annotations

import pytest

from rollout_controller.api.status import Phase
from tests import kubelet
from tests.unit.core.story import Story
from tests.world import Behaviour, World, policy

GOOD = Behaviour(errors=0.001, slow=0.01, load_s=20.0)
WORLD = {
    "1": GOOD,
    "2": GOOD,
    "3": Behaviour(errors=0.05, slow=0.01, load_s=20.0),
    "7": Behaviour(fails_to_load="CrashLoopBackOff"),
}


def story(blue: int = 4, green: int = 0, rules: dict[str, object] | None = None, **changes: object) -> Story:
    told = Story(World(behaviours=dict(WORLD)), policy(**(rules or {})), kubelet.spec(**changes))
    told.deploy_pods(blue=blue, green=green)
    told.settle()
    return told


def replicas(told: Story) -> dict[str, int]:
    return {slot: document["spec"]["replicas"] for slot, document in told.workloads.items()}


def test_an_image_is_brought_up_sized_by_its_weight_promoted_and_the_old_one_scaled_down_later() -> None:
    told = story()
    told.ask("2", "run-1")
    told.settle()
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert told.weights == {"blue": 0, "green": 100}
    assert replicas(told) == {"blue": 4, "green": 4}, "the way back is kept"
    told.run(100)
    assert replicas(told) == {"blue": 4, "green": 4}
    told.run(60)
    assert replicas(told) == {"blue": 0, "green": 4}
    told.check("image-good")


def test_a_bad_image_is_rolled_back_at_once_and_scaled_down_later() -> None:
    told = story()
    told.ask("3")
    told.settle()
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.weights == {"blue": 100, "green": 0}
    assert replicas(told) == {"blue": 4, "green": 1}
    told.run(150)
    assert replicas(told) == {"blue": 4, "green": 0}
    told.check("image-harm")
