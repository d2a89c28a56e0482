"""TritonRollout: which route, which two slots, which policy, which version is asked for."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, field_validator, model_validator

from rollout_controller.api import images
from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, Metadata, Model
from rollout_controller.api.names import MODEL_PATTERN
from rollout_controller.api.quantities import Duration
from rollout_controller.api.status import RolloutStatus

NAME_PATTERN = r"^[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$"
_DNS_NAME = re.compile(NAME_PATTERN.removeprefix("^").removesuffix("$"))
LONGEST_NAME = 253
_VERSION = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.+]{0,126}[A-Za-z0-9])?")

_LONGEST = 128
"""Characters of a version, a request id or a command; status repeats no more of what the annotations say."""


def object_name(value: str) -> str:
    """A name as Kubernetes takes it; raises ValueError with `what was read|what is allowed`."""
    if not _DNS_NAME.fullmatch(value) or len(value) > LONGEST_NAME:
        raise ValueError(f"{value!r} is not a name|lower-case letters, digits, '-' and '.', at most {LONGEST_NAME}")
    return value


Name = Annotated[
    str, AfterValidator(object_name), WithJsonSchema({"type": "string", "pattern": NAME_PATTERN, "maxLength": LONGEST_NAME})
]
"""Of a Kubernetes object, or a host."""


class Route(Model):
    """Where the two destinations stand: a VirtualService in the rollout's own namespace, and its http route's name."""

    virtual_service: Name
    """Name of the VirtualService; it is in the rollout's own namespace."""
    http: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)] | None = None
    """Name of the http route; may be left out when only one route has both destinations."""


class Workload(Model):
    """The workload behind a slot."""

    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    """Kind of the workload."""
    name: Name
    """Name of the workload; it is in the rollout's own namespace."""


class Slot(Model):
    """One of the two places a version can run: a destination of the VirtualService."""

    host: Name
    """The destination's host as the VirtualService says it."""
    subset: Annotated[str, Field(max_length=LONGEST_NAME)] | None = None
    """The destination's subset, when the VirtualService names one."""
    workload: Workload | None = None
    """The Deployment or StatefulSet behind the slot."""


class ModelRepository(Model):
    """Versions are loaded and pinned through Triton's repository API: no image, no restart."""

    model: Annotated[str, Field(pattern=MODEL_PATTERN, max_length=LONGEST_NAME)]
    """Name of the model in the repository."""


class Deploy(Model):
    """How a version gets into the idle slot. Neither of the two means external: CI or GitOps does it."""

    image: Annotated[str, Field(max_length=images.MOST)] | None = None
    """Image with {version} in it, which is set on the idle slot's workload."""
    container: Annotated[str, Field(max_length=63)] | None = None
    """Which container takes the image, where the image's repository does not tell."""
    model_repository: ModelRepository | None = None
    """Load and pin the version through Triton's repository API."""
    timeout: Duration = 600.0
    """A version that is not ready in its slot after this long has failed, and no traffic was moved. A step whose pods are not
    ready after this long is paused."""

    @field_validator("image")
    @classmethod
    def _an_image_with_a_version(cls, image: str | None) -> str | None:
        if image is not None and images.PLACE not in image:
            raise ValueError(f"{image!r} does not hold {{version}}|for example 'registry.example.com/triton:{{version}}'")
        if image is not None and not images.is_template(image):
            raise ValueError(f"{image!r} is no image, whatever the version|for example 'registry.example.com/triton:{{version}}'")
        return image

    @field_validator("container")
    @classmethod
    def _a_container_of_the_image(cls, container: str | None, info: ValidationInfo) -> str | None:
        if container is not None and info.data.get("image", "") is None:
            raise ValueError(f"{container!r} is given without deploy.image|together with image, or not at all")
        return container

    @model_validator(mode="after")
    def _one_way(self) -> Deploy:
        if self.image is not None and self.model_repository is not None:
            raise ValueError("both image and modelRepository are given|give one of them, or none for external")
        return self


LEAST_IDLE_S = 10.0
"""A route reaches every proxy within this time (istiod's longest debounce)."""


class Scale(Model):
    """Pods of the slots: fewer where there is no traffic, enough before there is."""

    idle: Annotated[int, Field(ge=0)] = 0
    """Replicas of the slot without traffic."""
    canary: Literal["weight", "full"] | None = None
    """weight: the canary has its share of stable's pods; full: as many as stable from the start. Left out: weight, and
    full with modelRepository, where pods that come later would not have the version."""
    idle_after: Duration = 600.0
    """After an attempt the slot without traffic keeps its pods for so long: it is the way back."""

    @field_validator("idle_after")
    @classmethod
    def _after_the_route(cls, seconds: float) -> float:
        if seconds < LEAST_IDLE_S:
            raise ValueError(f"{seconds:g}s is too soon|at least {LEAST_IDLE_S:g}s: a route needs that long to reach every proxy")
        return seconds


class RolloutSpec(Model):
    """What the owner of a rollout writes."""

    policy: Annotated[str, Field(max_length=LONGEST_NAME)]
    """Name of the RolloutPolicy in the rollout's namespace."""
    route: Route
    """Where the weights stand that are shifted."""
    slots: dict[str, Slot]
    """The two places a version can run, by name, for example blue and green. After a promotion they swap roles."""
    deploy: Deploy = Deploy()
    """How a version gets into the idle slot. Left out: CI or GitOps brings it there."""
    scale: Scale | None = None
    """Replicas of the slots. Left out: nobody here changes them."""

    @field_validator("slots")
    @classmethod
    def _two_different_slots(cls, slots: dict[str, Slot]) -> dict[str, Slot]:
        if len(slots) != 2:
            raise ValueError(f"{len(slots)} slots ({', '.join(slots)})|exactly two, for example blue and green")
        for name in slots:
            object_name(name)
        first, second = slots.values()
        if (first.host, first.subset) == (second.host, second.subset):
            raise ValueError(
                f"both slots have host {first.host!r}|two different hosts (or subsets): traffic is shifted between them"
            )
        workloads = [slot.workload for slot in slots.values()]
        if workloads[0] is not None and workloads[0] == workloads[1]:
            raise ValueError(f"both slots have the workload {workloads[0].name!r}|a workload of its own for each slot")
        return slots

    @field_validator("deploy", "scale")
    @classmethod
    def _workloads_to_change(cls, value: Deploy | Scale | None, info: ValidationInfo) -> Deploy | Scale | None:
        what = "scale" if info.field_name == "scale" else "deploy.image"
        wanted = isinstance(value, Scale) or (isinstance(value, Deploy) and value.image is not None)
        bare = next((name for name, slot in info.data.get("slots", {}).items() if slot.workload is None), None)
        if wanted and bare is not None:
            example = f"{{kind: Deployment, name: triton-{bare}}}"
            raise ValueError(f"{what} is given, and slot {bare} has no workload|slots.{bare}.workload: {example}")
        return value

    @model_validator(mode="after")
    def _later_pods_have_the_version(self) -> RolloutSpec:
        if self.deploy.model_repository is not None and self.scale is not None and self.scale.canary == "weight":
            raise ValueError(
                "scale.canary is weight with deploy.modelRepository: pods that come later would not have the version"
                "|canary: full, or leave it out"
            )
        return self

    @property
    def canary_by_weight(self) -> bool:
        """Whether the canary is sized by its share of the traffic."""
        return self.scale is not None and self.scale.canary != "full" and self.deploy.model_repository is None

    def other(self, slot: str) -> str:
        """The name of the slot that is not `slot`."""
        return next(name for name in self.slots if name != slot)


class TritonRollout(Model):
    """One model behind one route: two slots, a policy, and the version that CI asks for.

    CI asks with the annotation rollouts.triton.dev/version (and rollouts.triton.dev/request, which status echoes).
    """

    api_version: Literal["rollouts.triton.dev/v1alpha1"]
    kind: Literal["TritonRollout"]
    metadata: Metadata
    spec: RolloutSpec
    """What the owner of the rollout writes."""
    status: RolloutStatus = RolloutStatus()
    """What the controller did, does and why. Only the controller writes it."""

    @model_validator(mode="before")
    @classmethod
    def _null_status_is_none(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("status", ...) is None:
            return {k: v for k, v in data.items() if k != "status"}
        return data

    @property
    def asked_version(self) -> str | None:
        """What CI asks for; None when nothing is asked or the text is no version."""
        version = self.asked_text
        return version if version and _VERSION.fullmatch(version) else None

    @property
    def asked_text(self) -> str | None:
        """What the annotation says, version or not, as it is echoed; None when there is none."""
        return (
            self.metadata.annotations.get(ANNOTATION_VERSION, "").strip()[: _LONGEST + 1] or None
        )  # one more: a longer one is no version

    @property
    def asked_request(self) -> str | None:
        """CI's nonce for the asked version, if it gave one."""
        return self.metadata.annotations.get(ANNOTATION_REQUEST, "").strip()[:_LONGEST] or None

    @property
    def command(self) -> tuple[str, str] | None:
        """(verb, id) of the last command written by a person or GitOps; None when there is none."""
        words = self.metadata.annotations.get(ANNOTATION_COMMAND, "").split()
        verb, _, ident = " ".join(words)[:_LONGEST].strip().partition(" ")
        return (verb, ident) if verb else None
