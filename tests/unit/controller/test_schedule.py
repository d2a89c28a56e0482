"""Duties: called on time, never twice at once, missed turns counted, and a death is told."""

import threading
import time
from collections.abc import Callable
from datetime import datetime, tzinfo

import apscheduler.schedulers.base
import apscheduler.triggers.interval
import pytest

from rollout_controller.controller import schedule as schedule_module
from rollout_controller.controller.schedule import Schedule


class Seen:
    def __init__(self) -> None:
        self.ticks: list[tuple[str, float, float, int]] = []

    def ticked(self, duty: str, *, lag_s: float, took_s: float, missed: int) -> None:
        self.ticks.append((duty, lag_s, took_s, missed))


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_duty_is_called_now_and_then_every_so_often() -> None:
    seen, calls, deaths = Seen(), [], []
    schedule = Schedule(on_death=lambda name, _e: deaths.append(name), listener=seen)
    schedule.every(0.1, "tick", lambda: calls.append(time.monotonic()))
    schedule.start()
    until(lambda: len(seen.ticks) >= 4)
    schedule.stop()
    count = len(calls)
    time.sleep(0.25)
    assert len(calls) == count, "none after the stop"
    assert deaths == []
    assert all(duty == "tick" and lag >= 0 and took >= 0 for duty, lag, took, _ in seen.ticks)


def test_a_slow_duty_runs_once_at_a_time_and_its_missed_turns_are_counted() -> None:
    seen, inside, most = Seen(), [0], [0]

    def slow() -> None:
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.35)
        inside[0] -= 1

    schedule = Schedule(on_death=lambda _n, _e: None, listener=seen)
    schedule.every(0.1, "slow", slow)
    schedule.start()
    until(lambda: len(seen.ticks) >= 3)
    schedule.stop()
    assert most == [1]
    assert sum(missed for *_, missed in seen.ticks) >= 2


def test_a_clock_that_is_set_back_stops_no_duty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, the duties waited for an hour where the clock was set back by one: nothing was read, and no harm seen."""
    real, back_s, calls = time.time, [0.0], list[float]()
    monkeypatch.setattr(time, "time", lambda: real() - back_s[0])

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.fromtimestamp(time.time(), tz)

    for module in (schedule_module, apscheduler.schedulers.base, apscheduler.triggers.interval):
        monkeypatch.setattr(module, "datetime", Clock)
    schedule = Schedule(on_death=lambda _n, _e: None)
    schedule.every(0.05, "read", lambda: calls.append(time.monotonic()))
    schedule.start()
    until(lambda: len(calls) >= 2)
    back_s[0] = 3600.0
    before = len(calls)

    def goes_on() -> bool:
        schedule.keep_pace()
        return len(calls) > before + 3

    until(goes_on)
    schedule.stop()


def test_a_duty_that_raises_is_a_death_with_its_name() -> None:
    deaths: list[tuple[str, type[BaseException]]] = []
    told = threading.Event()

    def die(name: str, error: BaseException) -> None:
        deaths.append((name, type(error)))
        told.set()

    schedule = Schedule(on_death=die)
    schedule.every(10, "tick", lambda: int("x"))
    schedule.start()
    assert told.wait(30)
    schedule.stop()
    assert deaths == [("tick", ValueError)]


@pytest.mark.parametrize("started", [True, False])
def test_stop_does_not_wait_for_ever(started: bool) -> None:
    hang = threading.Event()
    schedule = Schedule(on_death=lambda _n, _e: None)
    inside, ended = threading.Event(), threading.Event()

    def hangs() -> None:
        inside.set()
        hang.wait(30)
        ended.set()

    schedule.every(1, "hangs", hangs)
    if started:
        schedule.start()
        assert inside.wait(30)
    schedule.stop(timeout_s=0.2)
    assert not ended.is_set()
    hang.set()
