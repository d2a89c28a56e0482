"""Many attempts: the same for any number of processes, and figures that can be checked by hand."""

from __future__ import annotations

import pytest

from rollout_controller.replay.attempt import Result
from rollout_controller.replay.figures import Share, figures, raw, spread
from rollout_controller.replay.picture import picture
from rollout_controller.replay.simulate import Ask, simulate
from tests.unit.replay.plays import a_play

pytestmark = pytest.mark.long

PLAYS = {"identical": a_play(), "outage": a_play({"outage": True})}


def test_the_number_of_processes_changes_nothing() -> None:
    told: list[tuple[int, int]] = []
    alone = simulate(Ask(PLAYS, 5, {"identical": 2}, processes=1), lambda done, most: told.append((done, most)))
    assert told == [(2, 5), (4, 5), (5, 5)]
    assert [len(results) for results in alone.values()] == [10, 5]
    assert simulate(Ask(PLAYS, 5, {"identical": 2}, processes=2)) == alone
    assert simulate(Ask(PLAYS, 5, {"identical": 2}, seed=2, processes=1)) != alone


def test_it_goes_on_where_another_ended() -> None:
    whole = simulate(Ask(PLAYS, 4, {"identical": 2}, processes=1))
    rest = simulate(Ask(PLAYS, 2, {"identical": 2}, first=2, processes=1))
    assert {name: results[len(results) // 2 :] for name, results in whole.items()} == rest


def test_when_time_is_up_there_are_fewer_and_the_same_ones() -> None:
    some = simulate(Ask(PLAYS, 4000, processes=2, seconds=0.01))
    one = simulate(Ask(PLAYS, 2, processes=1))
    assert {name: results[:2] for name, results in some.items()} == one
    assert 2 <= len(some["outage"]) == len(some["identical"]) < 100


@pytest.mark.parametrize(
    ("count", "total", "low", "high"), [(0, 1000, 0.0, 0.003827), (10, 100, 0.055229, 0.174369), (50, 50, 0.928652, 1.0)]
)
def test_wilsons_interval(count: int, total: int, low: float, high: float) -> None:
    """Against figures of other programs."""
    assert Share(count, total).interval == pytest.approx((low, high), abs=2e-5)


def test_medians_and_percentiles_are_those_of_what_happened() -> None:
    assert spread([3.0, None, 1.0, 2.0]) == spread([1.0, 2.0, 3.0])
    found = spread(float(n) for n in range(1, 101))
    assert (found.count, found.median, found.p95) == (100, 50.0, 95.0)
    assert spread([None]).median is None


def a_result(**said: object) -> Result:
    usual: dict[str, object] = {
        "outcome": "promoted",
        "code": "Promoted",
        "lasted_s": 180.0,
        "harm_met_s": None,
        "off_s": None,
        "verdict_s": None,
        "failed": 1,
        "slow": 2,
        "requests": 100,
        "retreats": 0,
        "early_retreats": 0,
        "unproven": False,
        "weights": ((0.0, 10), (60.0, 100)),
    }
    return Result(**{**usual, **said})  # type: ignore[arg-type]


def test_figures_count_what_they_say() -> None:
    bad = a_result(outcome="rolled-back", code="ErrorsViolated", harm_met_s=0.0, off_s=15.0, verdict_s=90.0, retreats=2)
    found = figures([bad, a_result(unproven=True, early_retreats=1), a_result(outcome="gave-up", code="TooFewRequests")])
    assert {outcome: share.count for outcome, share in found.outcomes.items() if share.count} == {
        "rolled-back": 1,
        "promoted": 1,
        "gave-up": 1,
    }
    assert (found.unproven.count, found.off.median, found.verdict.median, found.promotion.median) == (1, 15.0, 90.0, 180.0)
    assert found.retreats == pytest.approx(2 / 3)
    assert found.needless == pytest.approx(1 / 3)
    assert raw(found)["outcomes"]["rolled_back"]["count"] == 1


def test_the_picture_is_one_file_with_all_versions_and_nothing_from_elsewhere() -> None:
    results = {"identical": [a_result()], "a <bad> one": [a_result(outcome="rolled-back", harm_met_s=0.0, off_s=15.0)]}
    drawn = picture("balanced", results, dict.fromkeys(results, PLAYS["identical"]))
    assert "identical" in drawn
    assert "a &lt;bad&gt; one" in drawn
    for foreign in ("<script", "href", "url(", "@import"):
        assert foreign not in drawn
