"""The rules that we compare with do what their documents say."""

from __future__ import annotations

import pytest

from benchmarks.judge_cells import ALIGNED, all_cells, made, policy
from benchmarks.peers import PEERS, Minute, argo, flagger, in_a_row, kayenta, mann_whitney, watch


def minutes(errors: list[float | None], slow: float = 0.01, *, ends: int = 0) -> list[Minute]:
    """Stable has 0.2 % errors and 1 % slow ones; the last `ends` minutes end steps."""
    return [Minute(e, slow, 0.002, 0.01, i >= len(errors) - ends) for i, e in enumerate(errors)]


def test_thresholds_count_as_they_say() -> None:
    bad, good = 0.02, 0.005
    assert not flagger(minutes([bad, good] * 4))
    assert flagger(minutes([bad, good] * 5))
    assert not argo(minutes([bad, good] * 3))
    assert argo(minutes([bad, good] * 4))
    assert not in_a_row(minutes([bad, bad, good, bad, bad]))
    assert in_a_row(minutes([good, bad, bad, bad]))


def test_a_minute_without_requests_is_no_check() -> None:
    assert in_a_row(minutes([0.02, None, 0.02, None, 0.02]))
    assert not in_a_row(minutes([None] * 5))


def test_mann_whitney_by_hand() -> None:
    """U 0, variance 275/12; with ties U 2.5, variance 16/12 (9 - 36/56)."""
    assert mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(0.01219, abs=1e-5)
    assert mann_whitney([1, 1, 2, 3], [2, 3, 3, 4]) == pytest.approx(0.13417, abs=1e-5)
    assert mann_whitney([1, 1, 1], [1, 1, 1]) == 1.0


def test_mann_whitney_asks_at_the_end_of_a_step_and_for_an_effect() -> None:
    clear = [0.004 + 0.0001 * i for i in range(6)]
    assert kayenta(minutes([*clear], ends=1))
    assert not kayenta(minutes([*clear]))
    assert not kayenta(minutes([0.0021 + 0.00001 * i for i in range(6)], ends=1))


def test_all_find_an_outage_and_know_when_it_began() -> None:
    play = made({"outage": True}, {"rps": 50, **ALIGNED}, policy())
    results = watch(play, "1/0")
    assert [result.verdict_s for result in results[:3]] == [300.0, 240.0, 180.0]
    assert results[2].failed == pytest.approx(900, rel=0.15)
    assert len(results) == len(PEERS)


def test_every_world_of_the_tables_can_be_made_and_has_a_name_of_its_own() -> None:
    names = [cell.name for cell in all_cells()]
    assert len(names) == len(set(names)) > 60
