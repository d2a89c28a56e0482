"""Group, annotations and keys: the names all parts share, free of heavy imports so that the CLI starts fast."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

GROUP = "rollouts.triton.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

ANNOTATION_VERSION = f"{GROUP}/version"
"""The version asked for: the trigger."""
ANNOTATION_REQUEST = f"{GROUP}/request"
"""Optional nonce: the same version again, and what `wait` waits for."""
ANNOTATION_COMMAND = f"{GROUP}/command"
"""`VERB ID`, verb one of pause, resume, promote, promote-full, abort; the id makes each command happen once."""
ANNOTATION_MARK = f"{GROUP}/mark"
"""Ours, on the VirtualService: what was last decided, as JSON (safety rule 3). One for each rollout: `mark_of`."""
ANNOTATION_SCALED = f"{GROUP}/scaled"
"""Ours, on a workload: the replicas that we set last, and what for. Where they differ, somebody else scales it."""

LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""Of the names of SLOs and guards: they become labels of metrics."""
LABEL_WORDS = "lower-case letters, digits and '-', at most 63"
MODEL_PATTERN = r"^[^./\s][^/]*$"
"""Of a folder in a model repository."""
MODEL_WORDS = "a folder's name: no '/', and no '.' or blank at its beginning"

_LONGEST_PART = 63
"""Kubernetes' limit for what follows the slash in an annotation's name."""

Raw = dict[str, Any]
"""A document as it was read: plain dicts, lists and scalars."""


class Key(NamedTuple):
    """Names one object of a kind: namespace and name. A tuple, because every turn makes some and looks dozens of them up."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def mark_of(rollout: str) -> str:
    """The annotation in which a rollout writes its mark: several rollouts may share a VirtualService, one http route each."""
    name = f"{ANNOTATION_MARK}.{rollout}"
    if len(name) - len(GROUP) - 1 <= _LONGEST_PART:
        return name
    digest = hashlib.sha256(rollout.encode()).hexdigest()[:12]
    return f"{ANNOTATION_MARK}.{rollout[:40].rstrip('-.')}.{digest}"
