"""What an API server's CustomResourceDefinitions lack: fields that it would drop without a word.

Helm installs definitions and never upgrades them, so a controller may be newer than they are. Its status would come back
without the fields they do not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rollout_controller.api.names import API_VERSION, GROUP, VERSION, Raw
from rollout_controller.crd.definitions import definitions

OPENAPI_PATH = f"/openapi/v3/apis/{API_VERSION}"
"""Where an API server says what it serves; everybody who is logged in may read it."""
_PREFIX = f"{'.'.join(reversed(GROUP.split('.')))}.{VERSION}."


def missing_fields(openapi: Mapping[str, Any]) -> list[str]:
    """Fields of ours that the server does not know, as `TritonRollout.status.attempt.step`; of those in a part that is missing
    as a whole, only the part. `openapi`: what it answers to OPENAPI_PATH.
    """
    served: Mapping[str, Any] = openapi.get("components", {}).get("schemas", {})
    missing = []
    for definition in definitions().values():
        kind = definition["spec"]["names"]["kind"]
        ours = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        theirs = served.get(_PREFIX + kind)
        missing += [kind] if theirs is None else [f"{kind}.{path}" for path in _missing(ours, theirs, "")]
    return sorted(missing)


def _missing(ours: Raw, theirs: Mapping[str, Any], path: str) -> Iterator[str]:
    if theirs.get("x-kubernetes-preserve-unknown-fields"):
        return
    for name, below in ours.get("properties", {}).items():
        if name == "metadata" and not path:
            continue
        at = f"{path}.{name}".lstrip(".")
        if name in theirs.get("properties", {}):
            yield from _missing(below, theirs["properties"][name], at)
        else:
            yield at
    for word, mark in (("items", "[]"), ("additionalProperties", "{}")):
        if word in ours and isinstance(theirs.get(word), Mapping):
            yield from _missing(ours[word], theirs[word], path + mark)
