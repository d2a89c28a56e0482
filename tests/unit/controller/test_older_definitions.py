"""An API server whose definitions are older than the program drops fields of a status that it does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import Kind, ObjectStore
from tests.play import Play, playing
from tests.support.writes import DeadlyStore


class Pruning(DeadlyStore):
    """Drops some fields of every status, as structural schemas do."""

    def __init__(self, store: ObjectStore, *unknown: str) -> None:
        super().__init__(store, 1_000_000, landed=True)
        self.unknown, self.writes = unknown, 0

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        self.writes += 1
        kept = {name: value for name, value in status.items() if name not in self.unknown}
        return super().replace_status(kind, key, kept, resource_version)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LocalStore]:
    store = LocalStore(tmp_path / "store.db")
    yield store
    store.close()


def played(store: ObjectStore, namespace: str, *unknown: str) -> tuple[Play, int]:
    """An attempt to its end and ten minutes of rest, with the number of writes of its status."""
    pruning = Pruning(store, *unknown)
    play = playing(pruning, namespace)
    play.ask("2", "run-1")
    play.run_until_rest()
    play.run(600)
    return play, pruning.writes


def test_the_status_is_not_written_again_for_a_field_that_the_server_drops(store: LocalStore) -> None:
    whole, usual = played(store, "whole")
    cut, writes = played(store, "cut", "stableVersion", "slots", "verdicts")
    assert (whole.status.phase, whole.status.stable_version) == (cut.status.phase, "2")
    assert cut.status.stable_version is None
    assert writes <= usual
