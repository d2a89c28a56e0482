"""Rights taken away from a controller while it runs, and given back."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube
from tests.support.watching import soon


@dataclass(frozen=True)
class Right:
    """`resource` may name a subresource: `tritonrollouts/status`."""

    verb: str
    group: str
    resource: str
    namespace: str


@contextmanager
def without(kube: Kube, user: str, right: Right, roles: Sequence[Raw]) -> Iterator[None]:
    """None of these roles gives that right; RBAC goes by it when this begins, and by the whole roles at the end."""
    kube.apply(*(_less(role, right) for role in roles))
    soon(lambda: not may(kube, user, right))
    try:
        yield
    finally:
        kube.apply(*roles)
        soon(lambda: may(kube, user, right))


def may(kube: Kube, user: str, right: Right) -> bool:
    """What RBAC says."""
    resource, _, sub = right.resource.partition("/")
    asked = {"verb": right.verb, "group": right.group, "resource": resource, "namespace": right.namespace}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": _groups(user), "resourceAttributes": asked | ({"subresource": sub} if sub else {})},
    }
    return bool(kube.api.call("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)["status"]["allowed"])


def _groups(user: str) -> list[str]:
    """What an API server adds to a service account."""
    kind, _, name = user.rpartition("serviceaccount:")
    return ["system:serviceaccounts", f"system:serviceaccounts:{name.partition(':')[0]}"] if kind == "system:" else []


def _less(role: Raw, right: Right) -> Raw:
    changed = copy.deepcopy(role)
    for rule in changed["rules"]:
        if right.group in rule["apiGroups"] and right.resource in rule["resources"] and right.verb in rule["verbs"]:
            assert rule["resources"] == [right.resource], "a rule of several resources would lose more than was asked"
            rule["verbs"].remove(right.verb)
    changed["rules"] = [rule for rule in changed["rules"] if rule["verbs"]]
    return changed
