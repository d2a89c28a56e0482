"""The one retry layer: bounded in attempts and in time, with jitter, and only for trouble that passes by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, stop_before_delay, wait_random_exponential

from rollout_controller.cluster.backoff import at_least_as_asked
from rollout_controller.controller.errors import classify

_log = structlog.get_logger("retry")
T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """Calls a function again while it fails with transient trouble, and then raises its last error as it is.

    A reconcile does not retry: its key goes back to the queue. This is for what stands alone: a start-up read, a duty.
    `attempts` and `within_s` bound it, the waits are random up to `first_s` doubled each time, at most `most_s`, on top of
    what the store asked for (Retry-After). Give a stop event's `wait` as `sleep` and the waits end with it; give one that
    returns at once, and tests do not wait.
    """

    attempts: int = 5
    within_s: float = 15.0
    first_s: float = 0.2
    most_s: float = 5.0
    sleep: Callable[[float], object] = time.sleep

    def __call__(self, name: str, function: Callable[[], T]) -> T:
        """Call it; `name` says in the log what is tried."""

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            wait_s = round(state.next_action.sleep, 3) if state.next_action else 0.0
            _log.warning("trying again", what=name, attempt=state.attempt_number, wait_s=wait_s, error=str(error))

        def wait(seconds: float) -> None:
            self.sleep(seconds)

        retrying = Retrying(
            stop=stop_after_attempt(self.attempts) | stop_before_delay(self.within_s),
            wait=at_least_as_asked(wait_random_exponential(multiplier=self.first_s, max=self.most_s)),
            retry=retry_if_exception(lambda error: classify(error) == "transient"),
            before_sleep=tell,
            sleep=wait,
            reraise=True,
        )
        return retrying(function)
