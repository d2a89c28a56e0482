"""Sends what rollouts owe, each target in a thread of its own: one that hangs holds up nobody else, and never traffic."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from tenacity import RetryCallState, Retrying, wait_random_exponential

from rollout_controller.api.names import Key
from rollout_controller.api.notices import Outbox
from rollout_controller.core.outbox import Receipt, Wanted
from rollout_controller.notify.line import Line
from rollout_controller.notify.message import Links, Message, message
from rollout_controller.notify.target import Target
from rollout_controller.notify.wire import Later, Refused, Sent

C = TypeVar("C", bound=Any)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
LOOK_S = 5.0
"""A thread looks this often, whatever wakes it."""


def pause_s(tries: int) -> float:
    """The wait after so many tries: random, up to a bound that doubles each time."""
    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = tries
    return wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S)(state)


@dataclass(frozen=True)
class Hearers:
    """Who hears what becomes of messages.

    `on_told`: a rollout has a receipt to write down. `on_outcome`: (target, sent, late, refused or expired), for figures.
    `on_given_up`: (message, target, why), for an event.
    """

    on_told: Callable[[Key], None]
    on_outcome: Callable[[str, str], None]
    on_given_up: Callable[[Message, str, str], None]
    on_death: Callable[[str, BaseException], None]


class Post:
    """All targets. What is offered is sent once in this process; receipts are kept until the status has taken them in."""

    def __init__(
        self,
        targets: Sequence[Target],
        links: Links,
        hearers: Hearers,
        *,
        permit: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        pause_s: Callable[[int], float] = pause_s,
    ) -> None:
        """`permit`: whether this process may still speak for the rollouts; False where it does not lead (any more).

        `clock` (seconds since 1970) says how old news is; `steady`, which nobody sets, when it is tried again.
        """
        self.wanted: Wanted = {target.name: target.kinds for target in targets}
        self._links, self._hearers = links, hearers
        self._lock = threading.Lock()
        self._receipts: dict[Key, dict[tuple[str, str], Receipt]] = {}
        self._couriers = {
            target.name: _Courier(target, self._told, hearers, permit=permit, clock=clock, steady=steady, pause_s=pause_s)
            for target in targets
        }

    def start(self) -> None:
        for courier in self._couriers.values():
            courier.start()

    def stop(self, timeout_s: float) -> None:
        """Begin no more; what is under way has `timeout_s`, and then as long again for its receipts to be written down."""
        ends = time.monotonic() + timeout_s
        for courier in self._couriers.values():
            courier.end()
        for courier in self._couriers.values():
            courier.join(max(0.0, ends - time.monotonic()))
        ends = time.monotonic() + timeout_s
        while time.monotonic() < ends and self._receipts:
            time.sleep(0.01)

    def offer(self, about: Key, uid: str, box: Outbox) -> None:
        """What a rollout owes, as its status in the store says. Offered again and again; each is taken once."""
        with self._lock:
            mine = self._receipts.get(about, {})
            owed = {notice.id: notice for notice in box.owed}
            kept = {k: r for k, r in mine.items() if r.notice in owed and r.target not in owed[r.notice].told}
            if kept:
                self._receipts[about] = kept
            else:
                self._receipts.pop(about, None)
        messages = [message(about, uid, notice, self._links) for notice in box.owed]
        for courier in self._couriers.values():
            courier.offer(about, messages, box)

    def receipts(self, about: Key) -> tuple[Receipt, ...]:
        """What is to be taken into the rollout's status."""
        with self._lock:
            return tuple(self._receipts.get(about, {}).values())

    def forget(self, about: Key) -> None:
        """The rollout is gone. What it owes is sent nevertheless, as long as this process lives."""
        with self._lock:
            self._receipts.pop(about, None)
        for courier in self._couriers.values():
            courier.forget(about)

    def waiting(self, target: str) -> int:
        """Messages that wait for a target."""
        return self._couriers[target].waiting()

    def _told(self, sent: Message, target: str, reference: str) -> None:
        receipt = Receipt(sent.notice.id, target, reference)
        with self._lock:
            self._receipts.setdefault(sent.about, {})[sent.notice.id, target] = receipt
        self._hearers.on_told(sent.about)


class _Courier:
    """One target's thread."""

    def __init__(
        self,
        target: Target,
        told: Callable[[Message, str, str], None],
        hearers: Hearers,
        *,
        permit: Callable[[], bool],
        clock: Callable[[], float],
        steady: Callable[[], float],
        pause_s: Callable[[int], float],
    ) -> None:
        self._target, self._told, self._hearers = target, told, hearers
        self._permit, self._clock, self._steady = permit, clock, steady
        self._line = Line(pause_s)
        self._taken: dict[Key, set[str]] = {}
        self._threads: dict[Key, dict[str, str]] = {}
        self._wake, self._ended = threading.Condition(), False
        self._thread = threading.Thread(target=self._run, name=f"notify-{target.name}", daemon=True)
        self._log = structlog.get_logger("notify").bind(target=target.name)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        with self._wake:
            self._ended = True
            self._wake.notify()

    def join(self, timeout_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def waiting(self) -> int:
        with self._wake:
            return len(self._line)

    def offer(self, about: Key, messages: Sequence[Message], box: Outbox) -> None:
        """Queue what is new. What was taken is known until the status owes it no more: a receipt may be on its way there."""
        name = self._target.name
        with self._wake:
            waiting = self._line.of(about)
            owed = {each.key for each in messages}
            taken = self._taken.get(about, set()) & (owed | {each.key for each in waiting})
            attempts = {box.attempt, *(each.notice.attempt for each in waiting)}
            threads = {a: ref for a, ref in self._threads.get(about, {}).items() if a in attempts}
            if name in box.threads:
                threads.setdefault(box.attempt, box.threads[name])
            for each in messages:
                if each.key not in taken and each.notice.kind in self._target.kinds and name not in each.notice.told:
                    taken.add(each.key)
                    self._line.add(each)
                    self._wake.notify()
            _keep(self._taken, about, taken)
            _keep(self._threads, about, threads)

    def forget(self, about: Key) -> None:
        """Keep only what is still to be sent."""
        with self._wake:
            _keep(self._taken, about, {each.key for each in self._line.of(about)})
            if about not in self._taken:
                self._threads.pop(about, None)

    def _run(self) -> None:
        try:
            while not self._ended:
                self._turn()
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self._hearers.on_death(f"notify-{self._target.name}", error)

    def _turn(self) -> None:
        """Send what is due, or wait for it."""
        with self._wake:
            stale = list(self._line.stale(self._clock()))
            due = None if stale else self._line.next(self._steady())
            if not stale and due is None and not self._ended:
                wait_s = self._line.wait_s(self._steady())
                self._wake.wait(LOOK_S if wait_s is None else min(max(wait_s, 0.01), LOOK_S))
        for old in stale:
            self._give_up(old, "expired", "it could not be delivered in time")
        if due is not None and not self._ended:
            self._send(due)

    def _send(self, due: Message) -> None:
        if not self._permit():
            with self._wake:
                self._wake.wait(LOOK_S)
            return
        attempt = due.notice.attempt
        outcome = self._target.send(due, self._threads.get(due.about, {}).get(attempt, "") if attempt else "")
        with self._wake:
            self._line.answered(due, outcome, self._steady())
        say = self._log.bind(rollout=str(due.about), attempt=due.notice.attempt, kind=str(due.notice.kind), key=due.key)
        match outcome:
            case Sent(reference):
                if reference and attempt:
                    with self._wake:
                        self._threads.setdefault(due.about, {}).setdefault(attempt, reference)
                say.info("told", reference=reference)
                self._over(due, "sent", reference)
            case Later(why, retry_after_s):
                say.warning("could not be told; trying again", why=why, retry_after_s=retry_after_s)
                self._hearers.on_outcome(self._target.name, "late")
            case Refused(why):
                self._give_up(due, "refused", why)

    def _give_up(self, lost: Message, outcome: str, why: str) -> None:
        self._hearers.on_given_up(lost, self._target.name, why)
        self._over(lost, outcome, "")

    def _over(self, done: Message, outcome: str, reference: str) -> None:
        self._hearers.on_outcome(self._target.name, outcome)
        self._told(done, self._target.name, reference)


def _keep(memory: dict[Key, C], about: Key, value: C) -> None:
    """Remember it, or forget the rollout where there is nothing."""
    if value:
        memory[about] = value
    else:
        memory.pop(about, None)
