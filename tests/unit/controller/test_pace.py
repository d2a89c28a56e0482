"""Evidence is written so seldom that writes leave the workers time to judge: by their number, and by how long one takes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.status import Phase
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import Kind
from rollout_controller.controller.pace import LONGEST_S, EvidencePace
from rollout_controller.core.turn import REFRESH_S
from tests.play import Play
from tests.world import Behaviour, World


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def after(write_s: float, *, workers: int, writes: int = 100) -> EvidencePace:
    """The pace when so many writes took so long."""
    clock = Clock()
    pace = EvidencePace(workers, monotonic=clock)
    for _ in range(writes):
        with pace.writing():
            clock.now += write_s
    return pace


def test_few_attempts_wait_for_nothing_and_very_many_write_every_four_minutes() -> None:
    pace = after(0.002, workers=1)
    assert pace.between_s(1) < 1
    assert pace.between_s(300) == pytest.approx(REFRESH_S)
    assert 95 < pace.between_s(1000) < 105
    assert pace.between_s(5000) == pace.between_s(50_000) == LONGEST_S


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("write_s", [0.1, 0.5])
def test_slow_writes_take_a_fifth_of_the_workers_time(write_s: float, workers: int) -> None:
    attempts = 20 * workers
    between_s = after(write_s, workers=workers).between_s(attempts)
    assert attempts * write_s / between_s == pytest.approx(0.2 * workers, rel=1e-3)


def test_one_slow_write_changes_little_and_a_failed_one_counts() -> None:
    clock = Clock()
    pace = EvidencePace(monotonic=clock)

    def fail() -> None:
        with pace.writing():
            clock.now += 1.6
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert pace.between_s(1) == pytest.approx(1.0)


class Slow(LocalStore):
    """A store whose writes of a status take 12 s of the world's time."""

    world: World

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        self.world.now += 12
        return super().replace_status(kind, key, status, resource_version)


def test_an_attempt_on_a_slow_store_is_judged_as_often_and_written_less_often(tmp_path: Path) -> None:
    store = Slow(tmp_path / "store.db")
    store.world = World(behaviours={"1": Behaviour(), "2": Behaviour()})
    play = Play(store, store.world, rules={"hold": {"min": "10m"}, "undecided": {"after": "20m"}})
    play.settle()
    play.annotate(version="2")
    play.reach(Phase.PROGRESSING)
    written: list[float] = []
    while len(written) < 12:
        play.run(store.world.window_s)
        assert play.status.phase is Phase.PROGRESSING
        at = play.status.judge_written_at
        if at is not None and at not in written:
            written.append(at)
    gaps = [round(b - a) for a, b in pairwise(written)]
    assert gaps[0] < 2 * REFRESH_S
    assert gaps[-1] > gaps[0]
    assert 12 / gaps[-1] < 0.25
