"""A world's counts are those of its assumptions."""

from __future__ import annotations

from random import Random
from statistics import fmean, pvariance
from typing import Any

import pytest

from rollout_controller.replay.traffic import Seen, Times, Traffic
from rollout_controller.replay.world import Harm, World

BEGIN = 1_800_000_000.0
EDGES = (0.05, 0.1)


def world(**said: Any) -> World:
    return World.model_validate({"rps": 100, "scrape": "15s", **said})


def harm(**said: Any) -> Harm:
    return Harm.model_validate(said)


def windows(count: int, made: World, bad: Harm | None = None, weight: int = 50, seed: int = 1) -> list[Seen]:
    """The canary has its weight from the begin on."""
    traffic = Traffic(made, bad or Harm(), EDGES, Random(seed), BEGIN)
    traffic.shift(BEGIN - made.shift, weight)
    return [traffic.window() for _ in range(count)]


def shares(seen: list[Seen], arm: str = "canary") -> tuple[float, float, float]:
    """Errors, slower than 50 ms, slower than 100 ms."""
    arms = [getattr(each, arm) for each in seen]
    total = sum(a.total for a in arms)
    return sum(a.errors for a in arms) / total, *(sum(a.slower[i] for a in arms) / total for i in (0, 1))


def test_rates_are_those_of_the_world_for_both_versions() -> None:
    seen = windows(400, world(errors="2%", p95="100ms"), weight=25)
    for arm in ("canary", "stable"):
        errors, _, slow = shares(seen, arm)
        assert errors == pytest.approx(0.02, rel=0.06)
        assert slow == pytest.approx(0.05, rel=0.06)
    assert fmean(w.canary.total for w in seen) == pytest.approx(375, rel=0.02)
    assert fmean(w.stable.total for w in seen) == pytest.approx(1125, rel=0.02)


def test_requests_come_at_random_or_evenly() -> None:
    at_random = [w.canary.total for w in windows(600, world())]
    assert pvariance(at_random) == pytest.approx(750, rel=0.2)
    evenly = windows(40, world(rps=0.1, arrivals="even"))
    assert {w.canary.total for w in evenly} == {0, 1}
    assert sum(w.canary.total for w in evenly) == 30


def test_a_batch_fails_together() -> None:
    """The dispersion of the failures is the batch size."""
    alone, together = ([w.canary.errors for w in windows(800, world(errors="2%", batch=k))] for k in (1, 12))
    assert fmean(together) == pytest.approx(fmean(alone), rel=0.15)
    assert pvariance(together) / fmean(together) == pytest.approx(12, rel=0.25)
    assert pvariance(alone) / fmean(alone) == pytest.approx(1, rel=0.25)


def test_flicker_adds_variance_and_no_mean() -> None:
    counts = [w.canary.errors for w in windows(1500, world(errors="2%", flicker={"spread": 1.0, "every": "15s"}))]
    assert fmean(counts) == pytest.approx(15, rel=0.1)
    assert pvariance(counts) == pytest.approx(15 + 15**2, rel=0.3)
    for shared in (True, False):
        both = windows(100, world(rps=5000, errors="2%", flicker={"spread": 1.0, "every": "15s", "shared": shared}))
        alike = [abs(w.canary.errors / w.canary.total - w.stable.errors / w.stable.total) < 0.012 for w in both]
        assert all(alike) == shared


@pytest.mark.long
def test_hiccups_take_their_part_of_the_time_and_of_the_requests() -> None:
    for regular in (True, False):
        hiccups = [{"length": "20s", "every": "5m", "pods": 4, "regular": regular}]
        errors, _, _ = shares(windows(6000, world(errors="0%", hiccups=hiccups)))
        assert errors == pytest.approx(20 / 300, rel=0.06)


def test_the_versions_have_hiccups_of_their_own() -> None:
    seen = windows(2000, world(errors="0%", hiccups=[{"length": "30s", "every": "5m"}]))
    both = sum(w.canary.errors > 0 and w.stable.errors > 0 for w in seen)
    one = sum(w.canary.errors > 0 for w in seen)
    assert both < one * 0.35


def test_times_within_are_exact() -> None:
    times = Times(Random(1), 10.0, 100.0, 0.0, regular=True)
    covered = sum(times.within(7.0 * k, 7.0 * (k + 1)) * 7 for k in range(2000))
    assert covered == pytest.approx(1400, abs=10)


@pytest.mark.parametrize(
    ("said", "errors", "slow"),
    [({"errors": "5%"}, 0.05, 0.0178), ({"p95": "120ms"}, 0.005, 0.1), ({"outage": True}, 1.0, 0.0)],
)
def test_harm_is_the_canarys_alone(said: dict[str, Any], errors: float, slow: float) -> None:
    seen = windows(400, world(), harm(**said))
    assert shares(seen)[0] == pytest.approx(errors, rel=0.1)
    assert shares(seen)[2] == pytest.approx(slow, rel=0.1)
    assert shares(seen, "stable")[0] == pytest.approx(0.005, rel=0.2)


def test_harm_begins_in_its_time_and_at_its_weight() -> None:
    later = windows(8, world(errors="0%"), harm(outage=True, after="40s"))
    assert [w.canary.errors > 0 for w in later] == [False, False, True, True, True, True, True, True]
    assert 0 < later[2].canary.errors < later[2].canary.total
    assert not any(w.canary.errors for w in windows(8, world(errors="0%"), harm(outage=True, fromWeight="60%")))


def test_what_hangs_is_not_counted_as_completed() -> None:
    seen = windows(200, world(), harm(hang="40%"))
    completed, hung = sum(w.canary.total for w in seen), sum(w.canary.hung for w in seen)
    assert hung / (completed + hung) == pytest.approx(0.4, rel=0.05)


def test_a_cold_start_fades() -> None:
    seen = windows(40, world(rps=2000, coldStart={"length": "2m", "slower": 3}))
    slow = [w.canary.slower[1] / w.canary.total for w in seen]
    assert slow[0] > 0.4 > slow[4] > 0.1 > slow[20]
    assert fmean(slow[10:]) == pytest.approx(0.0183, rel=0.05)


def test_incidents_hit_both() -> None:
    seen = windows(8, world(rps=1000, incidents=[{"at": "30s", "length": "30s", "errors": "50%"}]))
    for arm in ("canary", "stable"):
        shares_ = [getattr(w, arm).errors / getattr(w, arm).total for w in seen]
        assert [share > 0.4 for share in shares_] == [False, False, True, True, False, False, False, False]


def test_drift_grows_by_the_hour() -> None:
    seen = windows(240, world(rps=2000, errors="1%", drift={"errorsPerHour": 4}))
    assert seen[-1].stable.errors / seen[-1].stable.total == pytest.approx(0.04, rel=0.15)


def test_a_weight_takes_effect_within_a_window() -> None:
    traffic = Traffic(world(rps=1000, shift="5s"), Harm(), EDGES, Random(3), BEGIN)
    traffic.shift(BEGIN, 50)
    first = traffic.window()
    assert first.canary.total == pytest.approx(5000, rel=0.05)
    assert first.stable.total == pytest.approx(10_000, rel=0.05)
