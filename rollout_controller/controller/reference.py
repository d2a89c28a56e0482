"""Which document something is said about."""

from __future__ import annotations

from dataclasses import dataclass

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.rollout import TritonRollout


@dataclass(frozen=True)
class Reference:
    """Enough to find a document again, and to know it from a later one of the same name."""

    api_version: str
    kind: str
    key: Key
    uid: str

    @classmethod
    def of(cls, document: Raw) -> Reference:
        metadata = document["metadata"]
        key = Key(metadata.get("namespace", "default"), metadata["name"])
        return cls(document["apiVersion"], document["kind"], key, str(metadata.get("uid", "")))

    @classmethod
    def to(cls, rollout: TritonRollout) -> Reference:
        return cls(rollout.api_version, rollout.kind, rollout.metadata.key, rollout.metadata.uid)
