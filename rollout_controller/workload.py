"""A Deployment or StatefulSet behind a slot: read as what the slot runs, and patched in its image and replicas only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rollout_controller.api import images
from rollout_controller.api.names import ANNOTATION_SCALED, ANNOTATION_VERSION, Raw
from rollout_controller.api.quantities import parse_instant
from rollout_controller.api.rollout import Deploy
from rollout_controller.core.observation import SlotState, Unknown, WorkloadState

MOST_WORDS = 300
"""Characters of a message of Kubernetes that are passed on."""


class WorkloadProblem(Exception):
    """The workload cannot be used as it stands; the text says what to mend."""


def read_slot(deploy: Deploy, document: Raw) -> SlotState:
    """What a slot runs, by the workload behind it.

    With `deploy.image` the version is the one that makes the container's image; without, it is the annotation
    `rollouts.triton.dev/version` of the pod template, where there is one.
    """
    state = _state(deploy, document)
    if deploy.image is None:
        version = _map(_map(_template(document).get("metadata")).get("annotations")).get(ANNOTATION_VERSION)
        return SlotState(
            version=version if isinstance(version, str) else None, ready=state.settled and state.ready > 0, workload=state
        )
    try:
        container = _containers(document)[_container(deploy, document)]
    except WorkloadProblem as problem:
        return SlotState(problem=Unknown("invalid", str(problem)), workload=state)
    version = images.version_of(deploy.image, str(container.get("image")))
    failed, failed_at = _failure(document) if state.current else (None, None)
    return SlotState(
        version=version,
        ready=state.settled and state.ready > 0,
        failed=failed,
        failed_version=version if failed else None,
        failed_at=failed_at,
        workload=state,
    )


def patch_image(deploy: Deploy, document: Raw, version: str) -> list[Raw]:
    """JSON Patch that sets the image of `version`, if the container still is what `document` says; empty: it is set.

    Raises:
        WorkloadProblem: no container, or more than one, could be meant.
    """
    assert deploy.image is not None
    index = _container(deploy, document)
    container = _containers(document)[index]
    image, path = images.image_of(deploy.image, version), f"/spec/template/spec/containers/{index}"
    if container.get("image") == image:
        return []
    return [
        {"op": "test", "path": f"{path}/name", "value": container.get("name")},
        {"op": "test", "path": f"{path}/image", "value": container.get("image")},
        {"op": "replace", "path": f"{path}/image", "value": image},
    ]


def patch_replicas(document: Raw, replicas: int, note: str) -> list[Raw]:
    """JSON Patch that sets the replicas, if they still are what `document` says, and notes that it was us."""
    spec = _map(document.get("spec"))
    unchanged = [{"op": "test", "path": "/spec/replicas", "value": spec["replicas"]}] if "replicas" in spec else []
    metadata = _map(document.get("metadata"))
    path = f"/metadata/annotations/{ANNOTATION_SCALED.replace('~', '~0').replace('/', '~1')}"
    noted: list[Raw] = [{"op": "add", "path": path, "value": note}]
    if not isinstance(metadata.get("annotations"), dict):  # a whole new map: nobody may have made one meanwhile
        version = metadata.get("resourceVersion")
        unchanged += [{"op": "test", "path": "/metadata/resourceVersion", "value": version}] if version else []
        noted = [{"op": "add", "path": "/metadata/annotations", "value": {ANNOTATION_SCALED: note}}]
    return [*unchanged, {"op": "add", "path": "/spec/replicas", "value": replicas}, *noted]


def trimmed(document: Raw) -> Raw:
    """Only what is read and tested here: a tenth of a Deployment as the API server sends it, whose rest nobody would read."""
    spec = _map(document.get("spec"))
    metadata = {name: value for name, value in _map(document.get("metadata")).items() if name != "managedFields"}
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict):
        metadata["annotations"] = {k: v for k, v in annotations.items() if k == ANNOTATION_SCALED}
    template = _template(document)
    marks = _map(_map(template.get("metadata")).get("annotations"))
    containers = [
        {k: v for k, v in each.items() if k in ("name", "image")} if isinstance(each, dict) else each
        for each in _containers(document)
    ]
    kept = {name: value for name, value in spec.items() if name in ("replicas", "paused", "updateStrategy")}
    kept["template"] = {
        "metadata": {"annotations": {k: v for k, v in marks.items() if k == ANNOTATION_VERSION}},
        "spec": {"containers": containers},
    }
    head = [(name, document[name]) for name in ("apiVersion", "kind", "status") if name in document]
    return {**dict(head), "metadata": metadata, "spec": kept}


def _state(deploy: Deploy, document: Raw) -> WorkloadState:
    metadata, spec, status = (_map(document.get(part)) for part in ("metadata", "spec", "status"))
    there, updated = _count(status, "replicas"), _count(status, "updatedReplicas")
    revisions = (status.get("currentRevision"), status.get("updateRevision"))
    old = 0 if revisions[0] is not None and revisions[0] == revisions[1] else max(0, there - updated)
    note = _map(metadata.get("annotations")).get(ANNOTATION_SCALED)
    return WorkloadState(
        name=str(metadata.get("name")),
        replicas=_count(spec, "replicas", absent=1),
        ready=max(0, _count(status, "availableReplicas") - old),
        old=old,
        current=_count(status, "observedGeneration") >= _count(metadata, "generation"),
        note=note if isinstance(note, str) else None,
        trouble=_trouble(deploy, spec, status),
        document=document,
    )


def _trouble(deploy: Deploy, spec: Raw, status: Raw) -> str:
    """What keeps pods from coming: Kubernetes' own words, or a setting under which it makes no new ones."""
    strategy = _map(spec.get("updateStrategy"))
    partition = _count(_map(strategy.get("rollingUpdate")), "partition")
    if spec.get("paused") is True:
        return "it is paused (spec.paused): nothing new is rolled out"
    if deploy.image is not None and strategy.get("type") == "OnDelete":
        return "its updateStrategy is OnDelete: pods get a new image only when somebody deletes them"
    if deploy.image is not None and partition:
        return f"its updateStrategy keeps pods below partition {partition} as they are"
    refused = _condition(status, "ReplicaFailure")
    return _shortened(str(refused.get("message") or "")) if refused.get("status") == "True" else ""


def _failure(document: Raw) -> tuple[str | None, float | None]:
    """Kubernetes' own words when it has given up waiting for new pods, and since when."""
    condition = _condition(_map(document.get("status")), "Progressing")
    if condition.get("status") != "False" or condition.get("reason") != "ProgressDeadlineExceeded":
        return None, None
    try:
        since = parse_instant(condition.get("lastUpdateTime") or condition.get("lastTransitionTime"))
    except ValueError:
        since = None
    return _shortened(str(condition.get("message") or "ProgressDeadlineExceeded")), since


def _shortened(words: str) -> str:
    """Kubernetes lists all that is wrong with a pod; a person reads the beginning."""
    return words if len(words) <= MOST_WORDS else f"{words[: MOST_WORDS - 3]}..."


def _container(deploy: Deploy, document: Raw) -> int:
    """Which container takes the image: the one that is named, else the one from the same repository, else the only one."""
    assert deploy.image is not None
    containers = _containers(document)
    names = [str(_map(each).get("name")) for each in containers]
    workload = f"{document.get('kind')} {_map(document.get('metadata')).get('name')!r}"
    there = f"it has {', '.join(names)}" if names else "it has none"
    if deploy.container is not None:
        if deploy.container not in names:
            raise WorkloadProblem(f"{workload} has no container {deploy.container!r}; {there}")
        return names.index(deploy.container)
    alike = [i for i, each in enumerate(containers) if images.same_repository(deploy.image, str(_map(each).get("image")))]
    found = alike or list(range(len(containers)))
    if len(found) != 1:
        which = ", ".join(names[i] for i in found)
        why = f"{len(found)} containers could take the image ({which}): name one in deploy.container" if found else there
        raise WorkloadProblem(f"{workload}: {why}")
    return found[0]


def _condition(status: Raw, kind: str) -> Mapping[str, Any]:
    conditions = status.get("conditions")
    found = (c for c in conditions if isinstance(c, dict) and c.get("type") == kind) if isinstance(conditions, list) else ()
    return next(iter(found), {})


def _template(document: Raw) -> Raw:
    return _map(_map(document.get("spec")).get("template"))


def _containers(document: Raw) -> list[Any]:
    containers = _map(_template(document).get("spec")).get("containers")
    return [each if isinstance(each, dict) else {} for each in containers] if isinstance(containers, list) else []


def _count(part: Mapping[str, Any], name: str, *, absent: int = 0) -> int:
    value = part.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else absent


def _map(value: Any) -> Raw:
    return value if isinstance(value, dict) else {}
