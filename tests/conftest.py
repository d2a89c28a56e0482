"""What holds for every test, and what tests of more than one folder start: one real Kubernetes API for each process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from rollout_controller.lab.kube import Kube

settings.register_profile("untimed", deadline=None, max_examples=50)  # a busy machine is no fault; each run draws others
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """etcd and kube-apiserver with RBAC; Istio's VirtualService is a kind that it knows."""
    from rollout_controller.lab import procfs  # noqa: PLC0415  (most tests need none of this)
    from rollout_controller.lab.kube import Kube  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("kube")
    with Kube(directory, say=print) as kube:
        kube.apply_istio_crds("virtualservices")
        yield kube
    assert procfs.marked(str(directory)) == ()
