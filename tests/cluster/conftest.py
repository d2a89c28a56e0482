"""The real Kubernetes API (`kube` in tests/conftest.py) with what tests of this folder need beside it."""

from __future__ import annotations

import secrets

import pytest

from rollout_controller.lab.kube import Kube


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
