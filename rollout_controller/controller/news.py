"""Between a rollout's turn and the post: what the status owes is offered to it, and what was told is taken off the status."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from rollout_controller.api.meta import GROUP, Key
from rollout_controller.api.notices import Outbox
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import RolloutStatus
from rollout_controller.cluster.fence import LeadershipLost
from rollout_controller.controller.reference import Reference
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.outbox import Receipt, Wanted, owing, owing_status, settle
from rollout_controller.core.plan import Plan, Tell
from rollout_controller.notify.message import Message


class Carrier(Protocol):
    """Takes what is owed, once, and says what became of it. No method waits."""

    @property
    def wanted(self) -> Wanted: ...

    def offer(self, about: Key, uid: str, box: Outbox) -> None: ...

    def receipts(self, about: Key) -> tuple[Receipt, ...]: ...

    def forget(self, about: Key) -> None: ...


class News:
    """News of rollouts. Without a carrier there is nobody to tell, and no status owes anything."""

    def __init__(self, carrier: Carrier | None = None) -> None:
        self._carrier = carrier

    def settle(self, key: Key, status: RolloutStatus) -> RolloutStatus:
        """The status without what everybody has."""
        if self._carrier is None or status.outbox is None or not status.outbox.owed:
            return status
        return settle(status, self._carrier.receipts(key), self._carrier.wanted)

    def owe(self, rollout: TritonRollout, plan: Plan, now: float) -> Plan:
        """The plan with the news that it makes, owed by the status that it writes."""
        if self._carrier is None:
            return plan
        return owing(rollout.metadata.key, rollout.status, plan, self._carrier.wanted, now)

    def owe_status(self, about: Reference, stored: RolloutStatus, status: RolloutStatus, now: float) -> RolloutStatus:
        """The same for a status that no plan writes."""
        if self._carrier is None:
            return status
        kinds = {kind for kinds in self._carrier.wanted.values() for kind in kinds}
        return owing_status(about.key, stored, status, kinds, now)

    def offer(self, about: Key, uid: str, status: RolloutStatus) -> None:
        """The store has this status: what it owes may be sent."""
        if self._carrier is not None and status.outbox is not None:
            self._carrier.offer(about, uid, status.outbox)

    def forget(self, key: Key) -> None:
        """The rollout is gone."""
        if self._carrier is not None:
            self._carrier.forget(key)


def given_up(tell: Callable[[Reference, Tell], None]) -> Callable[[Message, str, str], None]:
    """Says in an event and in the log that a target was not told."""

    def say(lost: Message, target: str, why: str) -> None:
        reason = explain.reason(Code.NOT_TOLD, f"{target} was not told that {lost.about.name} {lost.notice.headline}: {why}")
        told = Tell(
            reason.code,
            reason.sentence,
            f"{lost.notice.id}/{reason.code}/{target}",
            warning=True,
            news=True,
            attempt=lost.notice.attempt,
        )
        about = Reference(f"{GROUP}/v1alpha1", "TritonRollout", lost.about, lost.uid)
        tell(about, told)

    return say


def permitted(check: Callable[[], object]) -> Callable[[], bool]:
    """Whether this process leads."""

    def ask() -> bool:
        try:
            check()
        except LeadershipLost:
            return False
        return True

    return ask
