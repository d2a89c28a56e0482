"""A store to play in. Another tier imports the tests beside this and gives them a store and a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_controller.cluster.codec import quick
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import ObjectStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    local = LocalStore(tmp_path / "rollouts.db", codec=quick())
    yield local
    local.close()


@pytest.fixture
def namespace() -> str:
    return "vision"
