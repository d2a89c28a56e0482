"""Deployments and StatefulSets: what runs there by their status, and patches that change nothing else."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rollout_controller import mesh, workload
from rollout_controller.api.meta import Raw, parse
from rollout_controller.api.names import ANNOTATION_SCALED, ANNOTATION_VERSION
from rollout_controller.api.rollout import Deploy, TritonRollout
from rollout_controller.cluster.patch import apply_patch
from rollout_controller.cluster.store import Conflict
from rollout_controller.core.observation import SlotState, WorkloadState
from tests.kubelet import TEMPLATE, deployment
from tests.support.texts import LETTER

IMAGE = Deploy(image=TEMPLATE)
NAMED = Deploy(image=TEMPLATE, container="t")


def document(status: Raw | None = None, *, replicas: int = 3, version: str = "2", generation: int = 4, **spec: Any) -> Raw:
    made = deployment("green", replicas=replicas, version=version)
    made["metadata"] |= {"generation": generation, "resourceVersion": "70"}
    made["spec"].update(spec)
    return {**made, "status": {"observedGeneration": generation, **(status or {})}}


def pods(state: SlotState) -> WorkloadState:
    assert isinstance(state.workload, WorkloadState)
    return state.workload


def counts(replicas: int, updated: int, available: int) -> Raw:
    """A status as Kubernetes writes it: zeros are left out."""
    named = {"replicas": replicas, "updatedReplicas": updated, "availableReplicas": available}
    return {name: count for name, count in named.items() if count}


@pytest.mark.parametrize(
    ("status", "ready_pods", "settled"),
    [
        (counts(3, 3, 3), 3, True),
        (counts(3, 3, 2), 2, True),
        (counts(3, 3, 0), 0, True),
        (counts(4, 1, 3), 0, False),  # three old ones serve, the new one does not yet
        (counts(4, 3, 4), 3, False),
        (counts(0, 0, 0), 0, True),
        ({**counts(3, 3, 3), "observedGeneration": 3}, 3, False),  # counts of the template before
    ],
)
def test_pods_that_are_new_and_serve(status: Raw, ready_pods: int, settled: bool) -> None:
    state = workload.read_slot(IMAGE, document(status))
    assert (pods(state).ready, pods(state).settled) == (ready_pods, settled)
    assert state.ready is (settled and ready_pods > 0)
    assert state.version == "2"


def test_a_stateful_set_that_is_not_rolling_has_no_old_pods() -> None:
    status = {"replicas": 2, "currentRevision": "a", "updateRevision": "a", "currentReplicas": 2, "availableReplicas": 2}
    assert pods(workload.read_slot(IMAGE, document(status, replicas=2))).ready == 2
    rolling = {**status, "updateRevision": "b", "updatedReplicas": 1}
    assert pods(workload.read_slot(IMAGE, document(rolling, replicas=2))).old == 1


@pytest.mark.parametrize(
    ("spec", "status", "trouble"),
    [
        ({"paused": True}, {}, "it is paused (spec.paused): nothing new is rolled out"),
        ({"updateStrategy": {"type": "OnDelete"}}, {}, "its updateStrategy is OnDelete: pods get a new image only when"),
        (
            {"updateStrategy": {"rollingUpdate": {"partition": 2}}},
            {},
            "its updateStrategy keeps pods below partition 2 as they are",
        ),
        (
            {},
            {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: gpus"}]},
            "exceeded quota: gpus",
        ),
        ({}, {"conditions": [{"type": "ReplicaFailure", "status": "False", "message": "exceeded quota: gpus"}]}, ""),
    ],
)
def test_what_is_in_the_pods_way(spec: Raw, status: Raw, trouble: str) -> None:
    assert pods(workload.read_slot(IMAGE, document(status, **spec))).trouble.startswith(trouble)


def test_a_message_without_end_is_cut() -> None:
    condition = {"type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity " + "x" * 5000}
    trouble = pods(workload.read_slot(IMAGE, document({"conditions": [condition]}))).trouble
    assert len(trouble) == workload.MOST_WORDS
    assert trouble.endswith("...")


def test_kubernetes_gave_up_waiting() -> None:
    condition = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": 'ReplicaSet "triton-green-1" has timed out progressing.',
        "lastUpdateTime": "2026-01-31T13:02:07Z",
    }
    state = workload.read_slot(IMAGE, document({"conditions": [condition]}))
    assert (state.failed, state.failed_version, state.failed_at) == (condition["message"], "2", 1769864527.0)
    stale = document({"conditions": [condition], "observedGeneration": 3})
    assert workload.read_slot(IMAGE, stale).failed is None, "that was about the template before"
    unavailable = {**condition, "reason": "SomethingElse"}
    assert workload.read_slot(IMAGE, document({"conditions": [unavailable]})).failed is None


def containers(*pairs: tuple[str, str]) -> Raw:
    made = document()
    made["spec"]["template"]["spec"]["containers"] = [{"name": name, "image": image} for name, image in pairs]
    return made


@pytest.mark.parametrize(
    ("deploy", "there", "changed"),
    [
        (IMAGE, containers(("a", "other:1"), ("b", TEMPLATE.replace("{version}", "1"))), 1),
        (IMAGE, containers(("a", "some/other:1")), 0),
        (Deploy(image=TEMPLATE, container="a"), containers(("a", "x:1"), ("b", TEMPLATE.replace("{version}", "1"))), 0),
    ],
)
def test_which_container_takes_the_image(deploy: Deploy, there: Raw, changed: int) -> None:
    before = copy.deepcopy(there)
    after = apply_patch(there, workload.patch_image(deploy, there, "9"), "it")
    assert after["spec"]["template"]["spec"]["containers"][changed].pop("image") == TEMPLATE.replace("{version}", "9")
    before["spec"]["template"]["spec"]["containers"][changed].pop("image")
    assert after == before, "nothing else"
    assert workload.read_slot(deploy, apply_patch(there, workload.patch_image(deploy, there, "9"), "it")).version == "9"


@pytest.mark.parametrize(
    ("deploy", "there", "sentence"),
    [
        (
            IMAGE,
            containers(("a", "x:1"), ("b", "y:1")),
            "Deployment 'triton-green': 2 containers could take the image (a, b): name one in deploy.container",
        ),
        (
            IMAGE,
            containers(*((name, TEMPLATE.replace("{version}", "1")) for name in "ab"), ("c", "x")),
            "Deployment 'triton-green': 2 containers could take the image (a, b): name one in deploy.container",
        ),
        (IMAGE, containers(), "Deployment 'triton-green': it has none"),
        (
            Deploy(image=TEMPLATE, container="t"),
            containers(("a", "x")),
            "Deployment 'triton-green' has no container 't'; it has a",
        ),
    ],
)
def test_a_container_that_nobody_can_tell_is_a_problem_in_one_sentence(deploy: Deploy, there: Raw, sentence: str) -> None:
    state = workload.read_slot(deploy, there)
    assert state.problem is not None
    assert (state.problem.code, state.problem.sentence) == ("invalid", sentence)
    with pytest.raises(workload.WorkloadProblem, match=r"deploy\.container|has no container|has none"):
        workload.patch_image(deploy, there, "9")


def test_an_image_that_is_there_needs_no_patch() -> None:
    assert workload.patch_image(IMAGE, document(version="9"), "9") == []


@pytest.mark.parametrize("change", ["image", "order", "replicas"])
def test_a_patch_fails_when_somebody_else_was_there_first(change: str) -> None:
    read = document()
    now = copy.deepcopy(read)
    there = now["spec"]["template"]["spec"]["containers"]
    match change:
        case "image":
            there[1]["image"] = "registry.example.com/vision/triton:8"
        case "order":
            there.reverse()
        case _:
            now["spec"]["replicas"] = 5
    operations = workload.patch_replicas(read, 1, "x") if change == "replicas" else workload.patch_image(IMAGE, read, "9")
    with pytest.raises(Conflict):
        apply_patch(now, operations, "it")


@pytest.mark.parametrize("annotations", [None, {"team": "vision"}])
def test_replicas_are_set_and_noted_and_nothing_else(annotations: dict[str, str] | None) -> None:
    read = document()
    read["metadata"].pop("annotations")
    if annotations is not None:
        read["metadata"]["annotations"] = dict(annotations)
    after = apply_patch(read, workload.patch_replicas(read, 0, "0 idle 3-1f"), "it")
    assert pods(workload.read_slot(IMAGE, after)).note == "0 idle 3-1f"
    assert after["spec"].pop("replicas") == 0
    assert after["metadata"]["annotations"].pop(ANNOTATION_SCALED) == "0 idle 3-1f"
    read["spec"].pop("replicas")
    read["metadata"].setdefault("annotations", {})
    assert after == read


def test_a_map_of_annotations_that_came_meanwhile_is_kept() -> None:
    read = document()
    read["metadata"].pop("annotations")
    now = copy.deepcopy(read)
    now["metadata"] |= {"annotations": {"deployment.kubernetes.io/revision": "1"}, "resourceVersion": "71"}
    with pytest.raises(Conflict):
        apply_patch(now, workload.patch_replicas(read, 1, "x"), "it")


def test_without_an_image_the_version_is_the_templates_annotation() -> None:
    there = document(counts(3, 3, 3))
    assert workload.read_slot(Deploy(), there).version is None
    there["spec"]["template"]["metadata"]["annotations"] = {ANNOTATION_VERSION: "7"}
    assert workload.read_slot(Deploy(), there).version == "7"
    assert workload.read_slot(Deploy(), there).ready


def test_what_is_kept_in_memory_is_enough() -> None:
    """A trimmed document reads and patches as the whole one, and is much smaller."""
    whole = document(counts(3, 3, 3))
    whole["metadata"]["managedFields"] = [{"manager": "kubectl", "fieldsV1": {f"f:{n}": {} for n in range(500)}}]
    whole["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "x" * 20_000
    whole["spec"]["template"]["spec"]["containers"][1]["env"] = [{"name": f"E{n}", "value": "x"} for n in range(100)]
    small = workload.trimmed(whole)
    read = [workload.read_slot(IMAGE, each) for each in (whole, small)]
    assert [pods(state).ready for state in read] == [3, 3]
    assert read[0].version == read[1].version
    assert len(str(small)) < len(str(whole)) / 10
    for operations in (workload.patch_image(IMAGE, small, "9"), workload.patch_replicas(small, 1, "n")):
        assert apply_patch(whole, operations, "it") != whole
    assert workload.trimmed(small) == small


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(LETTER, max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "image", "type", "spec"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(anything, anything, anything, anything)
def test_a_garbled_document_is_read_as_something(containers: Any, status: Any, annotations: Any, spec: Any) -> None:
    """A local store takes any; the API server would not."""
    there = document()
    there["spec"]["template"]["spec"]["containers"] = containers
    there["status"] = status
    there["metadata"]["annotations"] = annotations
    for each in (there, {**there, "spec": spec}):
        for deploy in (IMAGE, Deploy()):
            workload.read_slot(deploy, each)
            workload.read_slot(deploy, workload.trimmed(each))


def test_the_manifest_that_we_ship_fits_itself() -> None:
    documents = list(yaml.safe_load_all((Path(__file__).parents[2] / "mesh" / "image.yaml").read_text()))
    rollout = parse(TritonRollout, next(each for each in documents if each["kind"] == "TritonRollout"))
    route = next(each for each in documents if each["kind"] == "VirtualService")
    assert mesh.read_weights(rollout.spec, route) == {"blue": 100, "green": 0}
    for slot in rollout.spec.slots.values():
        assert slot.workload is not None
        there = next(d for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"] == slot.workload.name)
        assert workload.read_slot(rollout.spec.deploy, there).version == "1"
        assert apply_patch(there, workload.patch_image(rollout.spec.deploy, there, "2"), "it") != there
