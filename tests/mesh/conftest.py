"""A real mesh for the tests of this folder: Kubernetes API, istiod, a sidecar, two Tritons, Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rollout_controller.lab import procfs
from rollout_controller.lab.mesh import Mesh


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """One mesh for a module's tests: version 1 in blue, nothing in green, all traffic to blue."""
    directory = tmp_path_factory.mktemp("mesh")
    with Mesh(directory, say=print) as mesh:
        yield mesh
    assert procfs.marked(str(directory)) == ()
