"""The duties: functions called every so often by APScheduler; one that raises ends the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

_log = structlog.get_logger("schedule")


class Listener(Protocol):
    """Learns of every call of a duty."""

    def ticked(self, duty: str, *, lag_s: float, took_s: float, missed: int) -> None:
        """It was called `lag_s` late, took `took_s`, and `missed` turns before it were left out."""
        ...


SET_BACK_S = 1.0
"""By less than this the duties may wait."""


def _ahead() -> float:
    """How much the wall clock shows more than the one that nobody sets."""
    return time.time() - time.monotonic()


@dataclass
class _Duty:
    seconds: float
    function: Callable[[], object]
    planned: float | None = None
    """When the last call was planned."""
    began: float = 0.0
    took_s: float = 0.0


class Schedule:
    """Duties with `coalesce`, one instance each, and no grace time: a late turn is run late, never dropped in silence.

    APScheduler plans by the wall clock: where that is set back, somebody has to call `keep_pace`.
    """

    def __init__(
        self, *, on_death: Callable[[str, BaseException], None], listener: Listener | None = None, threads: int = 8
    ) -> None:
        self._on_death = on_death
        self._listener = listener
        self._duties: dict[str, _Duty] = {}
        self._ahead = _ahead()
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            daemon=True,
            executors={"default": ThreadPoolExecutor(threads)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(self._executed, EVENT_JOB_EXECUTED)
        self._scheduler.add_listener(self._died, EVENT_JOB_ERROR)

    def every(self, seconds: float, name: str, function: Callable[[], object]) -> None:
        """Call `function` now (once started) and then every `seconds`, never twice at the same time."""
        duty = self._duties[name] = _Duty(seconds, function)

        def call() -> None:
            duty.began = time.time()
            begin = time.monotonic()
            duty.function()
            duty.took_s = time.monotonic() - begin

        self._scheduler.add_job(call, "interval", seconds=seconds, id=name, next_run_time=datetime.now(UTC))

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def keep_pace(self) -> None:
        """Where the wall clock was set back since the last call, go on now: else they wait until it is as late again."""
        before, self._ahead = self._ahead, _ahead()
        if before - self._ahead < SET_BACK_S:
            return
        _log.warning("the clock was set back", seconds=round(before - self._ahead, 1))
        for name, duty in self._duties.items():
            duty.planned = None
            self._scheduler.modify_job(name, next_run_time=datetime.now(UTC))

    def stop(self, timeout_s: float = 5.0) -> None:
        """Plan no more calls, and wait at most this long for those that run."""
        if not self._scheduler.running:
            return
        ending = threading.Thread(target=self._scheduler.shutdown, name="schedule-stop", daemon=True)
        ending.start()
        ending.join(timeout_s)

    def _executed(self, event: Any) -> None:
        duty = self._duties.get(event.job_id)
        if duty is None:
            return
        planned = event.scheduled_run_time.timestamp()
        turns = 1 if duty.planned is None else round((planned - duty.planned) / duty.seconds)
        duty.planned = planned
        if self._listener is not None:
            lag_s = max(0.0, duty.began - planned)
            self._listener.ticked(event.job_id, lag_s=lag_s, took_s=duty.took_s, missed=max(0, turns - 1))

    def _died(self, event: Any) -> None:
        _log.critical("a duty died", duty=event.job_id, exc_info=event.exception)
        self._on_death(event.job_id, event.exception)
