"""Custom resource definitions for tests of the store: of our kinds, taking any fields."""

from __future__ import annotations

from typing import Any

from rollout_controller.cluster.store import Kind


def loose_crd(kind: Kind) -> dict[str, Any]:
    """With the status subresource where the kind has one."""
    group, version = kind.api_version.split("/")
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    served = {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": kind.plural, "kind": kind.name, "listKind": f"{kind.name}List"},
            "versions": [{**served, "subresources": {"status": {}}} if kind.status else served],
        },
    }
