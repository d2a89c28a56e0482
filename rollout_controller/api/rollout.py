"""TritonRollout: which route, which two slots, which policy, which version is asked for."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, Metadata, Model
from rollout_controller.api.quantities import Duration
from rollout_controller.api.status import RolloutStatus

_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.+]{0,126}[A-Za-z0-9])?")

_LONGEST = 128
"""Characters of a version, a request id or a command; status repeats no more of what the annotations say."""


def _name(value: str) -> str:
    if not _DNS_NAME.fullmatch(value) or len(value) > 253:
        raise ValueError(f"{value!r} is not a name|lower-case letters, digits, '-' and '.', at most 253")
    return value


class Route(Model):
    """Where the two destinations stand: a VirtualService in the rollout's own namespace, and its http route's name."""

    virtual_service: str
    http: str | None = None

    _check = field_validator("virtual_service")(_name)


class Workload(Model):
    """The workload behind a slot."""

    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    name: str

    _check = field_validator("name")(_name)


class Slot(Model):
    """One of the two places a version can run: a destination of the VirtualService."""

    host: str
    subset: str | None = None
    workload: Workload | None = None

    _check = field_validator("host")(_name)


class ModelRepository(Model):
    """Versions are loaded and pinned through Triton's repository API: no image, no restart."""

    model: str


class Deploy(Model):
    """How a version gets into the idle slot. Neither of the two means external: CI or GitOps does it."""

    image: str | None = None
    model_repository: ModelRepository | None = None
    timeout: Duration = 600.0

    @field_validator("image")
    @classmethod
    def _no_image_yet(cls, image: str | None) -> str | None:
        if image is not None:
            raise ValueError("deploying an image is not part of this version yet|modelRepository, or none for external")
        return image

    @model_validator(mode="after")
    def _one_way(self) -> Deploy:
        if self.image is not None and self.model_repository is not None:
            raise ValueError("both image and modelRepository are given|give one of them, or none for external")
        if self.image is not None and "{version}" not in self.image:
            raise ValueError(f"image {self.image!r} does not hold {{version}}|for example 'registry/triton:{{version}}'")
        return self


class Scale(Model):
    """Replicas of the idle slot, and how the canary is sized."""

    idle: Annotated[int, Field(ge=0)] = 0
    canary: Literal["weight", "full"] = "weight"


class RolloutSpec(Model):
    """What the owner of a rollout writes."""

    policy: str
    route: Route
    slots: dict[str, Slot]
    deploy: Deploy = Deploy()
    scale: Scale | None = None

    @field_validator("scale")
    @classmethod
    def _no_scaling_yet(cls, scale: Scale | None) -> Scale | None:
        if scale is not None:
            raise ValueError("scaling is not part of this version yet|leave it out")
        return scale

    @field_validator("slots")
    @classmethod
    def _two_different_slots(cls, slots: dict[str, Slot]) -> dict[str, Slot]:
        if len(slots) != 2:
            raise ValueError(f"{len(slots)} slots ({', '.join(slots)})|exactly two, for example blue and green")
        for name in slots:
            _name(name)
        first, second = slots.values()
        if (first.host, first.subset) == (second.host, second.subset):
            raise ValueError(
                f"both slots have host {first.host!r}|two different hosts (or subsets): traffic is shifted between them"
            )
        return slots

    def other(self, slot: str) -> str:
        """The name of the slot that is not `slot`."""
        return next(name for name in self.slots if name != slot)


class TritonRollout(Model):
    """The custom resource."""

    api_version: Literal["rollouts.triton.dev/v1alpha1"]
    kind: Literal["TritonRollout"]
    metadata: Metadata
    spec: RolloutSpec
    status: RolloutStatus = RolloutStatus()

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
