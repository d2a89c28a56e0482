"""Rights that are missing, definitions that are missing: said clearly, no crash loop, and it goes on when they are there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.lab.kube import Kube
from tests.contract.documents import rollout
from tests.support.chart import CHART
from tests.support.replicas import Replica, Stage, binding, stage
from tests.support.rights import Right, may, without
from tests.support.watching import soon

pytestmark = pytest.mark.cluster

ISTIO, OURS = "networking.istio.io", "rollouts.triton.dev"


@pytest.fixture
def scene(kube: Kube, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with stage(kube, namespace, tmp_path) as made:
        yield made


def stalled(scene: Stage) -> dict[str, Any]:
    """Its condition."""
    return next((c for c in scene.status().get("conditions", []) if c["type"] == "Stalled"), {})


def events(scene: Stage, reason: str) -> list[dict[str, Any]]:
    found = scene.kube.api.get(f"/apis/events.k8s.io/v1/namespaces/{scene.namespace}/events")["items"]
    return [event for event in found if event["reason"] == reason]


def less(scene: Stage, right: Right) -> AbstractContextManager[None]:
    """Without a right that a replica would find when it is started."""
    user = f"{scene.namespace}-a"
    scene.kube.apply(*(binding(user, role) for role in scene.roles))
    soon(lambda: may(scene.kube, user, right))
    return without(scene.kube, user, right, scene.roles)


def acting(scene: Stage) -> Replica:
    replica = scene.replica("a")
    replica.wait_acting()
    soon(lambda: scene.status().get("phase") == "Idle", 60, scene.logs)
    return replica


def test_a_route_that_may_not_be_patched_makes_the_rollout_stalled(scene: Stage) -> None:
    replica = acting(scene)
    with without(scene.kube, replica.user, Right("patch", ISTIO, "virtualservices", scene.namespace), scene.roles):
        scene.drift()
        soon(lambda: stalled(scene).get("status") == "True", 60, scene.logs)
        condition = stalled(scene)
        assert condition["reason"] == "Refused"
        assert "needs the verb patch on virtualservices.networking.istio.io" in condition["message"]
        soon(lambda: len(events(scene, "Refused")) == 1)
        tried = scene.kube.calls(replica.user)["patch", "virtualservices"]
        before = scene.kube.calls(replica.user)["patch", "tritonrollouts/status"]
        soon(lambda: scene.kube.calls(replica.user)["patch", "virtualservices"] > tried, 180)  # by itself, every 30 s
        assert scene.kube.calls(replica.user)["patch", "virtualservices"] <= tried + 2
        assert scene.kube.calls(replica.user)["patch", "tritonrollouts/status"] == before
        assert replica.process.poll() is None
        assert replica.get("/healthz")[0] == 200
    scene.wait_mended()
    soon(lambda: stalled(scene).get("status") == "False", 60, scene.logs)
    assert len(events(scene, "Refused")) == 1


def test_routes_that_may_not_be_read_are_said_in_readyz_log_and_status(scene: Stage) -> None:
    right = Right("list", ISTIO, "virtualservices", scene.namespace)
    with less(scene, right):
        replica = scene.replica("a")
        words = "needs the verb list on virtualservices.networking.istio.io"
        soon(lambda: words in replica.get("/readyz")[1], 90, scene.logs)
        assert replica.get("/readyz")[0] == 503
        soon(lambda: replica.said("documents cannot be read; trying again") is not None)
        soon(lambda: "needs the verb list" in (scene.status().get("reason") or {}).get("sentence", ""), 60, scene.logs)
        assert replica.process.poll() is None
        assert replica.get("/healthz")[0] == 200
    replica.wait_ready()
    soon(lambda: replica.said("documents can be read again") is not None)
    scene.wait_known()
    scene.drift()
    scene.wait_mended()


def test_a_status_that_may_not_be_written_does_not_keep_traffic_from_being_mended(scene: Stage) -> None:
    replica = acting(scene)
    with without(scene.kube, replica.user, Right("patch", OURS, "tritonrollouts/status", scene.namespace), scene.roles):
        scene.drift()
        scene.wait_mended()
        path = scene.kube.api.path_of(rollout(scene.namespace), scene.namespace)
        asked = {"metadata": {"annotations": {f"{OURS}/version": "2"}}}
        scene.kube.api.call("PATCH", path, asked, content_type="application/merge-patch+json")
        soon(lambda: replica.said("a turn was refused; a person must act") is not None)
        assert "tritonrollouts.rollouts.triton.dev/status" in str(replica.said("a turn was refused"))
    soon(lambda: scene.status().get("phase") == "Preparing", 90, scene.logs)


def test_a_lease_that_may_not_be_written_is_said_and_nobody_acts(scene: Stage) -> None:
    scene.kube.api.delete(scene.free_lease())
    right = Right("create", "coordination.k8s.io", "leases", scene.namespace)
    with less(scene, right):
        replica = scene.replica("a")
        soon(lambda: "leadership: Lease" in replica.get("/readyz")[1], 90, scene.logs)
        assert "needs the verb create on leases.coordination.k8s.io" in replica.get("/readyz")[1]
        assert not replica.acts()
        assert replica.process.poll() is None
    replica.wait_acting()


def test_definitions_that_are_missing_are_said_and_installed(tmp_path: Path) -> None:
    """On an API server of its own: nothing of ours is there, nor Istio's."""
    with Kube(tmp_path / "kube") as kube:
        kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vision"}})
        made = Stage(kube, "vision", tmp_path)
        try:
            for kind in ("tritonrollouts", "rolloutpolicies"):
                kube.api.call("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{kind}.{OURS}")
            replica = made.replica("a")
            soon(lambda: "install the custom resource definitions" in replica.get("/readyz")[1], 90, made.logs)
            for kind in ("tritonrollouts", "rolloutpolicies", "virtualservices"):
                soon(lambda kind=kind: f"knows no {kind}" in replica.get("/readyz")[1], 60, made.logs)  # type: ignore[misc]
            assert replica.process.poll() is None
            kube.apply(CHART / "crds")
            kube.apply_istio_crds("virtualservices")
            made.apply()
            replica.wait_ready()
            made.wait_known()
            made.drift()
            made.wait_mended()
        finally:
            made.close()
