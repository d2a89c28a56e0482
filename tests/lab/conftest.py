"""Labs on real servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout_controller.lab import procfs
from rollout_controller.lab.info import Info
from rollout_controller.lab.lab import Lab


@dataclass(frozen=True)
class Up:
    """A lab that is up, and where it is."""

    lab: Lab
    info: Info

    def url(self, slot: str) -> str:
        return self.info.triton[slot]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One lab for a module's tests: version 1 in blue, nothing in green, 60 requests a second."""
    directory: Path = tmp_path_factory.mktemp("lab")
    lab = Lab(directory)
    with lab as info:
        lab.load(rps=60, out=directory / "load.jsonl", seconds=600)
        yield Up(lab, info)
    assert procfs.marked(str(directory)) == ()
