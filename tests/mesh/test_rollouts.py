"""The whole job in a mesh: CI asks for a version; the controller, istiod and Envoy bring it to the users, or back."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from rollout_controller.lab.mesh import Mesh
from tests.mesh.service import Service, at_work

pytestmark = pytest.mark.mesh

BLUE, GREEN = "triton-blue", "triton-green"


@pytest.fixture(scope="module")
def service(mesh: Mesh) -> Iterator[Service]:
    with at_work(mesh, rps=60) as service:
        yield service


def test_a_good_version_is_promoted_and_a_bad_one_comes_back(mesh: Mesh, service: Service) -> None:
    """Version 2 is as good as version 1; version 3 fails 5 % of its requests."""
    status = service.trigger("2")
    assert status["phase"] == "Succeeded", status
    mesh.wait_weights({GREEN: 100})
    began = time.time()
    status = service.trigger("3")
    assert status["phase"] == "RolledBack", status
    mesh.wait_weights({GREEN: 100})
    time.sleep(1.0)  # the access log is flushed
    sent = [entry for entry in mesh.served(began) if entry["cluster"].endswith(f"|{BLUE}.demo.svc.cluster.local;")]
    assert sent  # it was tried on users
    calls = service.kube.calls(service.user)
    assert calls["patch", "virtualservices"] >= 6  # four steps of the good one, one of the bad one, and back
