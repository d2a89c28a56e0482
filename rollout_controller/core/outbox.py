"""PURE: what is owed to people outside of the cluster: it follows from the status that is stored and the one that replaces it.

The same write that makes a change true owes the news of it, so neither can be without the other, whoever is killed when.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.names import Key
from rollout_controller.api.notices import Notice, NoticeKind, Outbox
from rollout_controller.api.status import Attempt, AttemptRecord, Outcome, Phase, Reason, RolloutStatus
from rollout_controller.core.explain import news
from rollout_controller.core.plan import Plan, WriteStatus

MOST_OWED = 12
"""News kept for a target that does not answer; the oldest go first. A status must stay small."""
STALLED_AGAIN_S = 600.0
"""Who was called for one reason is not called again for the same within this time, however often it comes and goes."""

Wanted = Mapping[str, frozenset[NoticeKind]]
"""By target: the kinds of news that it is told."""


@dataclass(frozen=True)
class Receipt:
    """A target has a notice, or will not get it any more. `reference`: where it stands there; empty: nowhere."""

    notice: str
    target: str
    reference: str = ""


def settle(status: RolloutStatus, receipts: Collection[Receipt], wanted: Wanted) -> RolloutStatus:
    """The status without the news that everybody has who wants them."""
    box = status.outbox
    if box is None or not box.owed:
        return status
    threads, owed = dict(box.threads), []
    for notice in box.owed:
        ours = {receipt.target: receipt.reference for receipt in receipts if receipt.notice == notice.id}
        told = {**notice.told, **ours}
        if notice.attempt and notice.attempt == box.attempt:
            threads = {**{target: reference for target, reference in told.items() if reference}, **threads}
        if all(target in told for target, kinds in wanted.items() if notice.kind in kinds):
            continue
        owed.append(notice if told == notice.told else evolve(notice, told=told))
    settled = evolve(box, threads=threads, owed=tuple(owed))
    return status if settled == box else evolve(status, outbox=settled)


def owing(key: Key, stored: RolloutStatus, plan: Plan, wanted: Wanted, now: float) -> Plan:
    """The plan with the news that its status owes, and with a write of the status where they differ from what is stored."""
    kinds = frozenset[NoticeKind]().union(*wanted.values())
    writes = any(isinstance(action, WriteStatus) for action in plan.actions)
    status = owing_status(key, stored, plan.status, kinds, now) if writes else plan.status
    if status.outbox == stored.outbox or writes:
        return plan if status is plan.status else replace(plan, status=status)
    return replace(plan, status=status, actions=(*plan.actions, WriteStatus()))


def owing_status(
    key: Key, stored: RolloutStatus, status: RolloutStatus, kinds: Collection[NoticeKind], now: float
) -> RolloutStatus:
    """`status`, which is about to replace `stored`, with the news that this change makes."""
    fresh = [notice for notice in _news(key, stored, status, now) if notice.kind in kinds]
    box = status.outbox or Outbox()
    known = {notice.id for notice in box.owed}
    fresh = [notice for notice in fresh if notice.id not in known and not _said_lately(box, notice)]
    if not fresh:
        return status
    for notice in fresh:
        if notice.attempt and notice.attempt != box.attempt:
            box = evolve(box, attempt=notice.attempt, threads={})
        if notice.kind is NoticeKind.STALLED:
            box = evolve(box, stalled_code=notice.code, stalled_at=notice.at)
    return evolve(status, outbox=evolve(box, owed=(*box.owed, *fresh)[-MOST_OWED:]))


def _said_lately(box: Outbox, notice: Notice) -> bool:
    same = notice.kind is NoticeKind.STALLED and box.stalled_code == notice.code and box.stalled_at is not None
    return same and notice.at - (box.stalled_at or 0.0) < STALLED_AGAIN_S


# --- what is news ------------------------------------------------------------------------------------------------

_ENDS: dict[Outcome, NoticeKind] = {
    "RolledBack": NoticeKind.ROLLED_BACK,
    "Promoted": NoticeKind.PROMOTED,
    "Aborted": NoticeKind.ABORTED,
    "Failed": NoticeKind.STALLED,
}
"""An attempt that another one supersedes is no news: that one is."""
_WORDS = {
    NoticeKind.ROLLED_BACK: news.rolled_back,
    NoticeKind.PROMOTED: news.promoted,
    NoticeKind.ABORTED: news.aborted,
    NoticeKind.STALLED: news.failed,
}


def _news(key: Key, before: RolloutStatus, after: RolloutStatus, now: float) -> Iterator[Notice]:
    ended = _ended(before.attempts, after.attempts)
    yield from (_end(key, record) for record in ended if record.outcome in _ENDS)
    if after.attempt is not None:
        yield from _under_way(key, before, after, after.attempt, now)
    if not ended:
        yield from _stalled(key, before, after, now)


def _ended(before: Sequence[AttemptRecord], after: Sequence[AttemptRecord]) -> tuple[AttemptRecord, ...]:
    """The attempts that are over now and were not, oldest first."""
    known = {record.id for record in before}
    return tuple(record for record in reversed(after) if record.id not in known)


def _end(key: Key, record: AttemptRecord) -> Notice:
    kind = _ENDS[record.outcome]
    return _of(record, kind, record.reason, _WORDS[kind](key, record), now=record.ended_at)


def _under_way(key: Key, before: RolloutStatus, after: RolloutStatus, attempt: Attempt, now: float) -> Iterator[Notice]:
    """What happens in the middle of an attempt."""
    stable, reason = after.stable_version, after.reason
    if reason is None:
        return
    was = before.attempt if before.attempt is not None and before.attempt.id == attempt.id else None
    if was is None:
        yield _of(attempt, NoticeKind.STARTED, reason, news.started(attempt, stable), now=now)
    if attempt.step > (was.step if was is not None else -1):
        yield _of(attempt, NoticeKind.STEP, reason, news.step(attempt), now=now, number=f"/{attempt.step}")
    if attempt.paused_at is not None and (was is None or was.paused_at != attempt.paused_at):
        number = f"/{int(attempt.paused_at * 1000):x}"
        yield _of(attempt, NoticeKind.PAUSED, reason, news.paused(key, attempt, stable), now=now, number=number)
    if after.phase is Phase.RETREATED and before.phase is not Phase.RETREATED:
        words = news.retreated(key, attempt, stable)
        yield _of(attempt, NoticeKind.RETREATED, reason, words, now=now, number=f"/{attempt.retreats}")


def _of(
    attempt: Attempt | AttemptRecord, kind: NoticeKind, reason: Reason, words: news.Words, *, now: float, number: str = ""
) -> Notice:
    return Notice(
        id=f"{attempt.id}/{kind}{number}",
        kind=kind,
        at=now,
        attempt=attempt.id,
        number=attempt.number,
        version=attempt.version,
        request=attempt.request,
        since=attempt.started_at,
        code=reason.code,
        headline=words.headline,
        sentence=reason.sentence,
        detail=words.detail,
        next=words.next,
    )


def _stalled(key: Key, before: RolloutStatus, after: RolloutStatus, now: float) -> Iterator[Notice]:
    """Something only a person can mend keeps an ask or an attempt from going on. At rest, with nothing asked, it can wait."""
    why, attempt = _why_stalled(after), after.attempt
    if why is None or why == _why_stalled(before):
        return
    code, sentence = why
    words = news.stalled(key, attempt, after.stable_version)
    number = f"/{code}/{int(now * 1000):x}"
    if attempt is not None:
        yield _of(attempt, NoticeKind.STALLED, Reason(code=code, sentence=sentence), words, now=now, number=number)
        return
    yield Notice(
        id=f"rest-{after.attempt_count}/{NoticeKind.STALLED}{number}",
        kind=NoticeKind.STALLED,
        at=now,
        version=after.observed_version,
        request=after.observed_request,
        since=now,
        code=code,
        headline=words.headline,
        sentence=sentence,
        detail=words.detail,
        next=words.next,
    )


def _why_stalled(status: RolloutStatus) -> tuple[str, str] | None:
    if status.attempt is None and status.phase is not Phase.STALLED:
        return None
    found = next((c for c in status.conditions if c.type == "Stalled" and c.status == "True"), None)
    return (found.reason, found.message) if found is not None else None


def dedup_key(uid: str, notice: Notice) -> str:
    """The notice's name among those of all rollouts: receivers that know such keys drop what they have already."""
    return hashlib.sha256(f"{uid}/{notice.id}".encode()).hexdigest()[:24]
