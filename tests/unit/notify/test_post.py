"""The post: once each, in each rollout's order, as late as asked, and not for ever."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from rollout_controller.api.names import Key
from rollout_controller.api.notices import NoticeKind, Outbox
from rollout_controller.core.outbox import Receipt
from rollout_controller.notify.line import GIVE_UP_S, Line
from rollout_controller.notify.message import Links, Message
from rollout_controller.notify.post import LONGEST_PAUSE_S, Hearers, Post, pause_s
from rollout_controller.notify.target import ALL
from rollout_controller.notify.wire import Later, Outcome, Refused, Sent
from tests.support.watching import soon
from tests.unit.notify.support import ABOUT, AT, news, notice

OTHER = Key("vision", "bert")


def line(*messages: Message, wait: float = 4.0) -> Line:
    made = Line(lambda tries: wait * tries)
    for each in messages:
        made.add(each)
    return made


def test_a_rollouts_second_message_waits_for_its_first() -> None:
    first, second = news(NoticeKind.PAUSED), news()
    waiting = line(first, second)
    for tries in (1, 2, 3):
        now = AT + tries * 100
        assert waiting.next(now) == first
        waiting.answered(first, Later("no"), now)
        assert waiting.next(now + 4.0 * tries - 0.01) is None
    assert waiting.next(AT + 400) == first
    waiting.answered(first, Sent(), AT + 400)
    assert waiting.next(AT + 400) == second


def test_a_message_that_fails_holds_up_no_other_rollout() -> None:
    first, other = news(), news(about=OTHER, at=AT + 1)
    waiting = line(first, other)
    waiting.answered(first, Later("500"), AT + 2)
    assert waiting.next(AT + 2) == other


def test_a_target_that_asks_for_a_pause_gets_it_from_everybody() -> None:
    first, other = news(), news(about=OTHER, at=AT + 1)
    waiting = line(first, other, wait=0.5)
    waiting.answered(first, Later("429", retry_after_s=30.0), AT)
    assert waiting.next(AT + 30.0) is None
    assert waiting.wait_s(AT) == 30.5
    assert waiting.next(AT + 30.5) == first


def test_a_refused_message_is_over_and_the_next_one_goes() -> None:
    first, second = news(NoticeKind.PAUSED), news()
    waiting = line(first, second)
    waiting.answered(first, Refused("404"), AT)
    assert waiting.next(AT) == second
    waiting.answered(second, Sent(), AT)
    assert (len(waiting), waiting.wait_s(AT)) == (0, None)


def test_what_is_too_old_is_taken_out() -> None:
    old, young = news(NoticeKind.PAUSED), news(at=AT + 100)
    waiting = line(old, young)
    assert list(waiting.stale(AT + GIVE_UP_S)) == []
    assert list(waiting.stale(AT + GIVE_UP_S + 50)) == [old]
    assert waiting.next(AT + GIVE_UP_S + 50) == young


def test_waits_grow_with_chance_up_to_a_limit() -> None:
    assert {pause_s(1) <= 2.0 for _ in range(50)} == {True}
    long = [pause_s(20) for _ in range(200)]
    assert max(long) <= LONGEST_PAUSE_S
    assert len(set(long)) > 100
    assert max(long) > 30


# --- with threads ----------------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A target that answers what a test says, then Sent."""

    name: str = "slack"
    kinds: frozenset[NoticeKind] = ALL
    outcomes: list[Outcome] = field(default_factory=list)
    sent: list[tuple[str, str]] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)

    def send(self, message: Message, thread: str) -> Outcome:
        self.sent.append((message.notice.id, thread))
        self.go.wait(30)
        return self.outcomes.pop(0) if self.outcomes else Sent(f"ref-{len(self.sent)}")


@dataclass
class Book:
    told: list[Key] = field(default_factory=list)
    outcomes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    given_up: list[tuple[str, str, str]] = field(default_factory=list)
    now: float = AT

    @property
    def hearers(self) -> Hearers:
        return Hearers(
            on_told=self.told.append,
            on_outcome=lambda target, outcome: self.outcomes[target].append(outcome),
            on_given_up=lambda lost, target, why: self.given_up.append((lost.notice.id, target, why)),
            on_death=lambda _name, error: pytest.fail(repr(error)),
        )


@contextmanager
def posting(book: Book, *places: Place) -> Iterator[Post]:
    post = Post(places, Links(), book.hearers, clock=lambda: book.now, pause_s=lambda _tries: 0.0)
    post.start()
    yield post
    for place in places:
        place.go.set()
    post.stop(0.2)


def test_a_clock_that_is_set_back_does_not_put_off_what_is_tried_again() -> None:
    """Before, news that a target did not take at once was tried again an hour later."""
    book, slack = Book(), Place(outcomes=[Later("is busy", None)])
    slack.go.set()
    post = Post([slack], Links(), book.hearers, clock=lambda: book.now, pause_s=lambda _tries: 0.3)
    post.start()
    post.offer(ABOUT, "uid", box(NoticeKind.ROLLED_BACK))
    soon(lambda: book.outcomes["slack"] == ["late"])
    book.now -= 3600
    soon(lambda: book.outcomes["slack"] == ["late", "sent"])
    post.stop(0.2)


def box(*kinds: NoticeKind, threads: dict[str, str] | None = None) -> Outbox:
    return Outbox(attempt="7-6553f100", threads=threads or {}, owed=tuple(notice(kind) for kind in kinds))


def test_offered_again_and_again_it_is_sent_once_before_and_after_its_receipt() -> None:
    book, slack = Book(), Place()
    with posting(book, slack) as post:
        owed = box(NoticeKind.ROLLED_BACK)
        for _ in range(3):
            post.offer(ABOUT, "uid", owed)
        slack.go.set()
        soon(lambda: book.told == [ABOUT])
        (receipt,) = post.receipts(ABOUT)
        assert receipt == Receipt(owed.owed[0].id, "slack", "ref-1")
        for _ in range(3):
            post.offer(ABOUT, "uid", owed)
        post.offer(ABOUT, "uid", box())
        assert post.receipts(ABOUT) == ()
    assert len(slack.sent) == 1
    assert book.outcomes["slack"] == ["sent"]


def test_a_target_that_hangs_does_not_hold_up_another() -> None:
    book, slack, hook = Book(), Place(), Place(name="webhook")
    hook.go.set()
    with posting(book, slack, hook) as post:
        post.offer(ABOUT, "uid", box(NoticeKind.ROLLED_BACK))
        soon(lambda: book.outcomes["webhook"] == ["sent"])
        assert book.outcomes["slack"] == []
        assert [receipt.target for receipt in post.receipts(ABOUT)] == ["webhook"]


def test_the_first_message_begins_the_thread_of_the_attempt_also_after_a_restart() -> None:
    book, slack = Book(), Place()
    slack.go.set()
    with posting(book, slack) as post:
        post.offer(ABOUT, "uid", box(NoticeKind.PAUSED, NoticeKind.ROLLED_BACK))
        soon(lambda: len(slack.sent) == 2)
    assert [thread for _, thread in slack.sent] == ["", "ref-1"]
    again = Place()
    again.go.set()
    with posting(book, again) as post:
        post.offer(ABOUT, "uid", box(NoticeKind.ROLLED_BACK, threads={"slack": "ref-1"}))
        soon(lambda: len(again.sent) == 1)
    assert again.sent[0][1] == "ref-1"


def test_kinds_that_a_target_does_not_want_are_not_sent() -> None:
    book, slack = Book(), Place(kinds=frozenset({NoticeKind.ROLLED_BACK}))
    slack.go.set()
    with posting(book, slack) as post:
        post.offer(ABOUT, "uid", box(NoticeKind.STARTED, NoticeKind.STEP, NoticeKind.ROLLED_BACK))
        soon(lambda: bool(book.told))
    assert [ident for ident, _ in slack.sent] == ["7-6553f100/RolledBack"]


def test_who_refuses_is_given_up_once_and_said_so() -> None:
    book, slack = Book(), Place(outcomes=[Later("500"), Refused("answered 404 Not Found")])
    slack.go.set()
    with posting(book, slack) as post:
        post.offer(ABOUT, "uid", box(NoticeKind.ROLLED_BACK))
        soon(lambda: bool(book.told))
        assert post.receipts(ABOUT) == (Receipt("7-6553f100/RolledBack", "slack"),)
    assert book.outcomes["slack"] == ["late", "refused"]
    assert book.given_up == [("7-6553f100/RolledBack", "slack", "answered 404 Not Found")]


def test_news_of_long_ago_is_given_up_unsent() -> None:
    book, slack = Book(now=AT + GIVE_UP_S + 1), Place()
    with posting(book, slack) as post:
        post.offer(ABOUT, "uid", box(NoticeKind.ROLLED_BACK))
        soon(lambda: bool(book.told))
    assert (slack.sent, book.outcomes["slack"]) == ([], ["expired"])


def test_who_does_not_lead_says_nothing() -> None:
    book, slack, asked = Book(), Place(), threading.Event()

    def permit() -> bool:
        asked.set()
        return False

    post = Post([slack], Links(), book.hearers, permit=permit, clock=lambda: AT, pause_s=lambda _tries: 0.0)
    post.start()
    post.offer(ABOUT, "uid", box(NoticeKind.ROLLED_BACK))
    assert asked.wait(30)
    post.stop(0.2)
    assert (slack.sent, post.waiting("slack")) == ([], 1)
