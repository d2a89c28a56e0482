"""The two CustomResourceDefinitions: names, columns, versions and schemas."""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from pydantic import BaseModel

from rollout_controller.api.names import GROUP, VERSION, Raw
from rollout_controller.api.policy import PolicySpec, RolloutPolicy
from rollout_controller.api.rollout import RolloutSpec, TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.crd.docstrings import class_docstring, field_docstrings
from rollout_controller.crd.schema import structural

HEADER = "# Made by `python -m rollout_controller.crd --write`; a test fails when it differs from the types.\n"


@dataclass(frozen=True)
class Column:
    """What `kubectl get` shows; `wide`: with -o wide only."""

    name: str
    path: str
    description: str
    type: str = "string"
    wide: bool = False

    def to_raw(self) -> Raw:
        """As the definition has it."""
        raw = {"name": self.name, "type": self.type, "jsonPath": self.path, "description": self.description}
        return {**raw, "priority": 1} if self.wide else raw


AGE = Column("Age", ".metadata.creationTimestamp", "Since it was created.", "date")
ROLLOUT_COLUMNS = (
    Column("Phase", ".status.phase", "Where the rollout is."),
    Column("Version", ".status.observedVersion", "The version that is asked for."),
    Column("Weight", ".status.attempt.weight", "The canary's share in percent, while an attempt is under way.", "integer"),
    Column("Reason", ".status.reason.code", "Why it is there."),
    AGE,
    Column("Stable", ".status.stableSlot", "The slot that has the traffic, or gets it back.", wide=True),
    Column("Policy", ".spec.policy", "The rollout's policy.", wide=True),
    Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether what was asked for is served.", wide=True),
    Column("Message", ".status.reason.sentence", "Why it is there, with the numbers.", wide=True),
)
POLICY_COLUMNS = (
    Column("Undecided", ".spec.undecided.then", "What a step without a verdict does."),
    Column("Unknown", ".spec.unknown.then", "What happens when nothing can be seen."),
    Column("Drift", ".spec.drift.then", "What happens when somebody else moves the weights."),
    AGE,
)


def definitions() -> dict[str, Raw]:
    """The definitions, by the plural of their kind."""
    rollout = _definition(
        TritonRollout,
        plural="tritonrollouts",
        short=("tro",),
        categories=("all", "triton"),
        columns=ROLLOUT_COLUMNS,
        parts={"spec": structural(RolloutSpec, ours=False), "status": structural(RolloutStatus, ours=True)},
    )
    policy = _definition(
        RolloutPolicy,
        plural="rolloutpolicies",
        short=("rp",),
        categories=("triton",),
        columns=POLICY_COLUMNS,
        parts={"spec": structural(PolicySpec, ours=False)},
    )
    return {"tritonrollouts": rollout, "rolloutpolicies": policy}


def text(definition: Raw) -> str:
    """A definition as the YAML file that is checked in."""
    return HEADER + yaml.dump(definition, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Lists indented as people indent them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002 - PyYAML's signature
        super().increase_indent(flow=flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        return data is not None


def _definition(
    model: type[BaseModel],
    *,
    plural: str,
    short: tuple[str, ...],
    categories: tuple[str, ...],
    columns: tuple[Column, ...],
    parts: dict[str, Raw],
) -> Raw:
    kind = model.__name__
    texts = field_docstrings(model)
    schema: Raw = {
        "description": class_docstring(model),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"{GROUP}/{VERSION}"},
            "kind": {"type": "string", "description": kind},
            "metadata": {"type": "object"},
            **{name: {**part, "description": texts[name]} for name, part in parts.items()},
        },
    }
    version: Raw = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [column.to_raw() for column in columns],
        **({"subresources": {"status": {}}} if "status" in parts else {}),
        "schema": {"openAPIV3Schema": schema},
    }
    names = {
        "kind": kind,
        "listKind": f"{kind}List",
        "plural": plural,
        "singular": kind.lower(),
        "shortNames": list(short),
        "categories": list(categories),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [version]},
    }
