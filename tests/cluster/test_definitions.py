"""A cluster whose definitions are older than the controller: it notices which fields would be lost."""

from __future__ import annotations

import copy

import pytest
import structlog

from rollout_controller.api.names import Raw
from rollout_controller.cluster.official import OfficialTransport
from rollout_controller.controller.definitions import Definitions
from rollout_controller.crd.definitions import definitions
from rollout_controller.lab.kube import Kube
from tests.support.crds import CRDS
from tests.support.world import wait_for

pytestmark = pytest.mark.cluster
PLURAL = "tritonrollouts.rollouts.triton.dev"
PATH = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{PLURAL}"


def older() -> Raw:
    """TritonRollout as a release knew it that had no attempts in its status."""
    document = copy.deepcopy(next(d for d in definitions().values() if d["metadata"]["name"] == PLURAL))
    del document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]["attempt"]
    columns = document["spec"]["versions"][0]["additionalPrinterColumns"]
    document["spec"]["versions"][0]["additionalPrinterColumns"] = [c for c in columns if "attempt" not in c["jsonPath"]]
    return document


def test_fields_that_would_be_dropped_are_named_until_the_definitions_are_new(kube: Kube) -> None:
    """As a user without any rights: what a server serves may be read by everybody who is logged in."""
    kube.apply(CRDS)
    wire = OfficialTransport(kube.user("nobody-special"))
    found: list[int] = []
    watcher = Definitions(wire, found.append)

    def looked(count: int) -> bool:
        watcher.look()
        return found[-1:] == [count]

    try:
        wait_for(lambda: looked(0), 20)
        replace(kube, older())
        with structlog.testing.capture_logs() as logs:
            wait_for(lambda: looked(1), 20)
        assert [line["fields"] for line in logs] == ["TritonRollout.status.attempt"]
    finally:
        kube.apply(CRDS)
        wait_for(lambda: looked(0), 20)
        wire.close()


def replace(kube: Kube, document: Raw) -> None:
    there = kube.api.call("GET", PATH)
    document["metadata"] = there["metadata"]
    kube.api.call("PUT", PATH, document)
