"""What holds for every test, and what tests of more than one folder start: one real Kubernetes API for each process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from rollout_controller.lab.kube import Kube

settings.register_profile("untimed", deadline=None, max_examples=50)  # a busy machine is no fault; each run draws others
settings.load_profile("untimed")

MEMORY, ROOM = Path("/dev/shm"), 4 << 30

LONGEST_FIRST = (
    "lab/test_rollouts.py",
    "mesh/test_rollouts.py",
    "lab/test_demo.py",
    "mesh/test_sources.py",
    "cluster/test_replicas.py",
    "cluster/test_peers.py",
    "lab/test_lab.py",
    "lab/test_dashboards.py",
    "lab/test_traffic.py",
    "cluster/test_same_stories.py",
)
"""Files of a minute and more: a worker that began one of them last would keep the others waiting."""


def pytest_configure() -> None:
    """What tests write lies in memory where there is room: SQLite waits for a disk at each write, and nothing here stays."""
    if os.access(MEMORY, os.W_OK) and not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadfile --no-loadscope-reorder`, files are given out in this order."""
    here = Path(__file__).parent
    ranks = {here / name: rank for rank, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


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
