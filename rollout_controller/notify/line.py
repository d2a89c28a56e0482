"""PURE: who waits for a target, in which order, and when what failed is tried again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rollout_controller.api.names import Key
from rollout_controller.notify.message import Message
from rollout_controller.notify.wire import Later, Outcome

GIVE_UP_S = 3600.0
"""News that is older is no news: it is not sent any more."""
LONGEST_ASKED_S = 600.0
"""A target that asks for a longer pause is asked again after this long."""


@dataclass
class _Queue:
    """One rollout's messages. The first is sent before the second, however often it fails."""

    messages: deque[Message] = field(default_factory=deque)
    tries: int = 0
    due: float = float("-inf")


class Line:
    """Messages of all rollouts for one target. Not for several threads. Times are of a clock that nobody sets, but for `stale`.

    `pause_s` gives the wait after so many tries (from 1). Where a target asks for a pause, everybody waits; else only the
    rollout whose message failed.
    """

    def __init__(self, pause_s: Callable[[int], float]) -> None:
        self._pause_s = pause_s
        self._queues: dict[Key, _Queue] = {}
        self._closed_until = float("-inf")

    def add(self, message: Message) -> None:
        self._queues.setdefault(message.about, _Queue()).messages.append(message)

    def of(self, about: Key) -> tuple[Message, ...]:
        """What waits of one rollout."""
        queue = self._queues.get(about)
        return tuple(queue.messages) if queue is not None else ()

    def __len__(self) -> int:
        return sum(len(queue.messages) for queue in self._queues.values())

    def stale(self, now: float) -> Iterator[Message]:
        """Take out what is too old to be sent, at `now` seconds since 1970."""
        for key, queue in list(self._queues.items()):
            while queue.messages and now - queue.messages[0].notice.at > GIVE_UP_S:
                yield self._done(key)

    def next(self, now: float) -> Message | None:
        """What is to be sent now: the oldest of those whose time has come. It stays in the line until `answered`."""
        if now < self._closed_until:
            return None
        due = [queue for queue in self._queues.values() if queue.due <= now]
        return min((queue.messages[0] for queue in due), key=lambda message: message.notice.at, default=None)

    def wait_s(self, now: float) -> float | None:
        """Until there may be something to send; None: nobody waits."""
        if not self._queues:
            return None
        return max(0.0, self._closed_until - now, min(queue.due for queue in self._queues.values()) - now)

    def answered(self, message: Message, outcome: Outcome, now: float) -> None:
        """What became of the message that `next` gave."""
        queue = self._queues[message.about]
        if not isinstance(outcome, Later):
            self._done(message.about)
            return
        queue.tries += 1
        pause_s = self._pause_s(queue.tries)
        if outcome.retry_after_s is not None:
            pause_s += min(outcome.retry_after_s, LONGEST_ASKED_S)
            self._closed_until = now + pause_s
        queue.due = now + pause_s

    def _done(self, key: Key) -> Message:
        queue = self._queues[key]
        message = queue.messages.popleft()
        queue.tries, queue.due = 0, float("-inf")
        if not queue.messages:
            del self._queues[key]
        return message
