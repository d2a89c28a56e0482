"""Whole attempts with pods behind the slots, as transcripts (tests/golden/stories)."""

from __future__ import annotations

import pytest

from rollout_controller import workload
from rollout_controller.api.names import ANNOTATION_VERSION
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


def ask(told: Story, version: str, request: str | None = None) -> Story:
    told.ask(version, request)
    told.settle()
    return told


def until(told: Story, code: str, limit_s: float = 1200) -> None:
    """Until the controller gives this reason."""
    end = told.world.now + limit_s
    while told.status.reason is None or told.status.reason.code != code:
        assert told.world.now < end, f"never {code}: {told.status.reason}"
        told.run(told.world.window_s)


def replicas(told: Story) -> dict[str, int]:
    return {slot: document["spec"]["replicas"] for slot, document in told.workloads.items()}


def somebody_scales(told: Story, **counts: int) -> None:
    for slot, count in counts.items():
        told.change(slot, [{"op": "replace", "path": "/spec/replicas", "value": count}])
    told.note("an autoscaler sets " + ", ".join(f"{slot} to {count} pods" for slot, count in counts.items()))


def test_an_image_is_brought_up_sized_by_its_weight_promoted_and_the_old_one_scaled_down_later() -> None:
    told = ask(story(), "2", "run-1")
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert told.weights == {"blue": 0, "green": 100}
    assert replicas(told) == {"blue": 4, "green": 4}, "the way back is kept"
    told.run(100)
    assert replicas(told) == {"blue": 4, "green": 4}
    told.run(60)
    assert replicas(told) == {"blue": 0, "green": 4}
    told.check("image-good")


def test_a_version_asked_for_before_the_first_look_is_brought_up() -> None:
    told = Story(World(behaviours=dict(WORLD)), policy(), kubelet.spec())
    told.deploy_pods(blue=4, green=0)
    ask(told, "2")
    assert replicas(told) == {"blue": 4, "green": 1}
    assert told.status.attempt is not None
    assert told.status.attempt.stable_replicas == 4


def test_a_bad_image_is_rolled_back_at_once_and_scaled_down_later() -> None:
    told = ask(story(), "3")
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.weights == {"blue": 100, "green": 0}
    assert replicas(told) == {"blue": 4, "green": 1}
    told.run(150)
    assert replicas(told) == {"blue": 4, "green": 0}
    told.check("image-harm")


def test_the_canary_is_as_big_as_stable_from_the_start_when_full_is_asked() -> None:
    told = ask(story(scale={"canary": "full"}), "2")
    until(told, "Waiting")
    assert replicas(told) == {"blue": 4, "green": 4}


def test_without_scale_nobodys_replicas_are_touched() -> None:
    told = ask(story(green=2, scale=None), "2")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.run(1000)
    assert replicas(told) == {"blue": 4, "green": 2}


def test_without_scale_a_slot_without_pods_is_said_and_times_out() -> None:
    told = ask(story(green=0, scale=None), "2")
    assert told.status.reason is not None
    until(told, "LoadTimeout")
    assert told.status.reason.sentence == (
        "Version 2 was not ready in green after 5m 00s, no traffic was moved; last: triton-green has 0 replicas, and without"
        " spec.scale nobody here changes that."
    )


def test_pods_that_never_come_up_end_the_attempt_in_kubernetes_words_without_traffic_moved() -> None:
    told = ask(story(green=1), "7")
    assert told.run_until_rest() is Phase.STALLED
    assert told.mark is None, "nothing was ever written to the route"
    assert told.status.attempts[0].reason.code == "LoadFailed"
    told.run(30)
    ask(told, "7", "again")
    told.run(30)
    assert told.status.phase is Phase.PREPARING, "what Kubernetes said before is about the attempt before"
    ask(told, "2")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("image-fails")


def test_no_room_for_the_first_pod_times_out_without_traffic_moved() -> None:
    told = story()
    told.kubelet.nodes, told.kubelet.deadline_s = 4, 1e9
    ask(told, "2")
    until(told, "LoadTimeout")
    assert told.mark is None
    assert told.status.reason is not None
    assert "waiting for 1 of 1 pod of triton-green" in told.status.reason.sentence
    told.run(180)
    assert replicas(told) == {"blue": 4, "green": 0}, "pods that never came are not asked for for ever"


def test_no_room_for_a_steps_pods_pauses_and_a_person_goes_on() -> None:
    told = story()
    told.kubelet.nodes = 5
    ask(told, "2")
    until(told, "NoCapacity")
    assert told.weights == {"blue": 75, "green": 25}, "no traffic goes where nobody serves"
    told.kubelet.nodes = 8
    told.note("four more nodes")
    told.command("resume", "c1")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.check("image-no-room")


def test_a_persons_promotion_waits_for_pods_too() -> None:
    told = ask(story(), "2")
    until(told, "Waiting")
    told.command("promote-full", "c1")
    told.run(10)
    assert (told.weights["green"], replicas(told)["green"]) == (10, 4)
    told.run(20)
    assert told.weights["green"] == 100
    assert told.run_until_rest() is Phase.SUCCEEDED


def test_a_pause_while_pods_come_up_holds_and_a_rollback_does_not_wait() -> None:
    told = ask(story(), "2")
    until(told, "WaitingForPods")
    told.command("pause", "c1")
    told.run(60)
    assert told.status.phase is Phase.PAUSED
    assert told.weights["green"] == 25
    told.command("abort", "c2")
    told.tick()
    assert told.weights["green"] == 0


def test_an_autoscaler_is_not_fought_and_the_canary_gets_what_all_the_traffic_needed() -> None:
    told = ask(story(), "2")
    until(told, "Waiting")
    somebody_scales(told, green=3)
    told.run(60)
    assert replicas(told)["green"] == 3, "more than is needed is nobody's business"
    told.world.advance(told.world.now + 30)
    somebody_scales(told, blue=2)
    somebody_scales(told, green=1)
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert replicas(told) == {"blue": 2, "green": 4}, "stable shrank because its traffic moved; all of it needed four"
    told.run(150)
    assert replicas(told) == {"blue": 0, "green": 4}
    somebody_scales(told, blue=1)
    told.run(600)
    assert replicas(told) == {"blue": 1, "green": 4}, "scaled down once after an attempt, not again and again"
    told.check("image-autoscaler")


def test_an_idle_slot_keeps_its_pods_while_stable_has_none_that_serve() -> None:
    told = ask(story(), "3")
    assert told.run_until_rest() is Phase.ROLLED_BACK
    told.world.behaviours["1"] = Behaviour(fails_to_load="nodes are gone")
    told.kubelet.pods["blue"] = []
    told.run(600)
    assert replicas(told)["green"] == 1
    told.world.behaviours["1"] = GOOD
    told.run(60)
    assert replicas(told)["green"] == 0


def test_a_version_asked_again_soon_finds_its_pods() -> None:
    told = ask(story(), "2", "r1")
    told.run_until_rest()
    ask(told, "1", "r2")
    told.run(5)
    assert told.status.phase is Phase.PROGRESSING, "the old stable still runs it"
    assert told.run_until_rest() is Phase.SUCCEEDED
    assert told.weights == {"blue": 100, "green": 0}


def test_a_canary_whose_image_somebody_else_set_is_rolled_back() -> None:
    told = ask(story(), "2")
    until(told, "Waiting")
    deploy = told.rollout().spec.deploy
    told.change("green", workload.patch_image(deploy, told.workloads["green"], "9"))
    assert told.run_until_rest() is Phase.ROLLED_BACK
    assert told.status.attempts[0].reason.sentence == (
        "Green no longer runs version 2, it runs version 9: who is sent there is not served."
    )


def test_a_version_that_makes_no_image_is_refused_before_anything_is_done() -> None:
    told = ask(story(), "1.0+build7")
    told.run(5)
    assert told.status.attempts[0].reason.sentence == (
        "Version 1.0+build7 could not be loaded into green, no traffic was moved: 'registry.example.com/vision/triton:1.0+build7'"
        " is no image: version '1.0+build7' cannot stand in one."
    )
    assert replicas(told) == {"blue": 4, "green": 0}


def test_a_workload_that_cannot_take_an_image_stops_before_an_attempt_and_goes_on_when_mended() -> None:
    told = story()
    containers = told.workloads["green"]["spec"]["template"]["spec"]["containers"]
    containers.append({"name": "triton-debug", "image": "registry.example.com/vision/triton:debug"})
    ask(told, "2")
    assert told.status.phase is Phase.STALLED
    assert told.status.reason is not None
    assert told.status.reason.sentence == (
        "Slot green: Deployment 'triton-green': 2 containers could take the image (triton, triton-debug): name one in"
        " deploy.container."
    )
    told.spec["deploy"]["container"] = "triton"
    told.settle()
    assert told.run_until_rest() is Phase.SUCCEEDED


def test_a_model_repository_whose_triton_is_off_is_scaled_up_before_the_load() -> None:
    told = Story(
        World(behaviours=dict(WORLD)), policy(), kubelet.spec(deploy={"modelRepository": {"model": "resnet50"}, "timeout": "5m"})
    )
    told.kubelet.versions_by_image = False
    told.deploy_pods(blue=1, green=0)
    told.settle()
    ask(told, "2")
    assert told.run_until_rest() is Phase.SUCCEEDED
    told.run(150)
    assert replicas(told) == {"blue": 0, "green": 1}
    told.check("repository-scaled")


def test_a_model_repository_with_several_pods_is_not_loaded_into_one_of_them() -> None:
    told = Story(World(behaviours=dict(WORLD)), policy(), kubelet.spec(deploy={"modelRepository": {"model": "resnet50"}}))
    told.kubelet.versions_by_image = False
    told.deploy_pods(blue=3, green=0)
    told.settle()
    ask(told, "2")
    assert told.run_until_rest() is Phase.STALLED
    assert (
        "modelRepository loads a version into one Triton, and triton-green has 3 pods" in told.status.attempts[0].reason.sentence
    )
    assert told.mark is None


@pytest.mark.parametrize("annotated", [True, False])
def test_external_with_a_workload_waits_for_its_pods(annotated: bool) -> None:
    told = story(green=2, deploy={"timeout": "5m"}, scale=None)
    template = told.workloads["green"]["spec"]["template"]
    if annotated:
        template["metadata"]["annotations"] = {ANNOTATION_VERSION: "1"}
    template["spec"]["containers"][1]["image"] = kubelet.TEMPLATE.replace("{version}", "2")
    told.workloads["green"]["metadata"]["generation"] += 1
    ask(told, "2")
    told.run(15)
    assert told.status.phase is Phase.PREPARING
    assert told.status.reason is not None
    wait = (
        "CI to bring it up; the slot runs version 1"
        if annotated
        else "2 pods of triton-green that still run what was there before"
    )
    assert told.status.reason.sentence == f"Bringing up version 2 in green: waiting for {wait}."
    if annotated:
        template["metadata"]["annotations"] = {ANNOTATION_VERSION: "2"}
    told.run(15)
    assert told.weights["green"] == 10
