"""A real Kubernetes API for the tests of this folder: one for each process that tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from rollout_controller.lab import procfs
from rollout_controller.lab.kube import Kube


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """etcd and kube-apiserver with RBAC; Istio's VirtualService is a kind that it knows."""
    directory = tmp_path_factory.mktemp("kube")
    with Kube(directory, say=print) as kube:
        kube.apply_istio_crds("virtualservices")
        yield kube
    assert procfs.marked(str(directory)) == ()


@pytest.fixture(scope="session")
def controllers(kube: Kube) -> Kube:
    """The same API with controller manager, scheduler and kwok: Deployments become ready, namespaces go."""
    kube.start_controllers()
    return kube


@pytest.fixture
def namespace(kube: Kube) -> str:
    """A namespace of the test's own. It stays: what is in it must not disturb other tests."""
    name = f"t-{secrets.token_hex(4)}"
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name
