"""What people outside of the cluster are told: every change that matters, once, whoever is killed when, never before traffic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.notices import Notice, NoticeKind, Outbox
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import ROLLOUT, VIRTUAL_SERVICE, Kind, ObjectStore, PatchOp, Refused
from rollout_controller.core.outbox import Receipt, Wanted
from rollout_controller.lab.receiver import Received, Receiver
from rollout_controller.notify.message import Links
from rollout_controller.notify.post import Hearers, Post
from rollout_controller.notify.slack import SlackWebhook
from rollout_controller.notify.target import ALL, NEWS
from rollout_controller.notify.wire import MountedSecret, Wire
from tests.play import DEAD, FAILS, GOOD, KEY, Play, playing
from tests.support.watching import soon
from tests.support.writes import DeadlyStore, Killed
from tests.world import Behaviour, World

BEHAVIOURS = {"1": GOOD, "2": GOOD, "3": FAILS, "5": DEAD, "7": Behaviour(fails_to_load="No such file")}


class Desk:
    """A carrier that delivers nothing: what is offered stays on it until a test says that it was told."""

    def __init__(self, wanted: Wanted | None = None) -> None:
        self.wanted: Wanted = wanted if wanted is not None else {"slack": ALL}
        self.offered: dict[str, Notice] = {}
        self.told: list[Receipt] = []

    def offer(self, about: Key, uid: str, box: Outbox) -> None:
        self.offered |= {notice.id: notice for notice in box.owed}

    def receipts(self, about: Key) -> tuple[Receipt, ...]:
        return tuple(self.told)

    def forget(self, about: Key) -> None:
        self.told.clear()

    def kinds(self) -> list[str]:
        return [str(notice.kind) for notice in self.offered.values()]

    def one(self, kind: NoticeKind) -> Notice:
        (found,) = (notice for notice in self.offered.values() if notice.kind is kind)
        return found


def play(path: Path, desk: Desk | Post, **rules: object) -> Play:
    played = Play(path, World(behaviours=dict(BEHAVIOURS), window_s=10.0), carrier=desk, rules=dict(rules))
    played.settle()
    return played


def test_a_good_attempt_is_told_from_start_to_promotion(tmp_path: Path) -> None:
    desk = Desk()
    played = play(tmp_path / "a.db", desk)
    played.ask("2", "run-1")
    played.run_until_rest()
    steps = len(played.status.attempts[0].steps_done)
    assert desk.kinds() == ["Started", *["Step"] * steps, "Promoted"]
    promoted = desk.one(NoticeKind.PROMOTED)
    assert played.status.reason is not None
    assert (promoted.sentence, promoted.version, promoted.request) == (played.status.reason.sentence, "2", "run-1")
    assert promoted.next == "the way back: `rollouts -n vision trigger resnet50 --version 1`"


def test_a_rollback_says_why_what_it_cost_and_what_is_next(store: ObjectStore, namespace: str) -> None:
    desk = Desk()
    played = playing(store, namespace, carrier=desk)
    played.ask("3", "run-2")
    played.run_until_rest()
    past, notice = played.status.attempts[0], desk.one(NoticeKind.ROLLED_BACK)
    assert notice.headline == "rolled back to version 1"
    assert (notice.sentence, notice.code) == (past.reason.sentence, past.reason.code)
    assert f"{past.bad:,} of {past.requests:,} of its requests were bad" in notice.detail
    assert "all traffic is on version 1 since" in notice.detail
    assert notice.next.endswith(f"`rollouts -n {namespace} trigger resnet50 --version 3 --again`")


def test_a_pause_for_a_person_is_told_each_time(tmp_path: Path) -> None:
    desk = Desk({"slack": NEWS})
    played = play(tmp_path / "a.db", desk, steps=[{"weight": 10, "pause": {}}, {"weight": 50, "pause": {}}, {"weight": 100}])
    played.ask("2")
    played.reach(Phase.PAUSED)
    played.annotate(command="resume 1")
    played.settle()
    played.reach(Phase.PAUSED)
    assert desk.kinds() == ["Paused", "Paused"]
    assert [notice.headline for notice in desk.offered.values()] == ["waits for a person at 10 %", "waits for a person at 50 %"]


def test_each_retreat_is_told_and_the_return_is_not_a_step(tmp_path: Path) -> None:
    desk = Desk()
    played = play(tmp_path / "a.db", desk, retreat={"coolDown": "60s", "strikes": 3})
    played.ask("5")
    played.run_until_rest()
    assert desk.kinds() == ["Started", "Step", "Retreated", "Retreated", "RolledBack"]
    first = next(notice for notice in desk.offered.values() if notice.kind is NoticeKind.RETREATED)
    assert first.headline == "users are back on version 1 for a while"
    assert (first.code, first.sentence[:26]) == ("Retreat", "Users are back on stable: ")


def test_a_version_that_does_not_come_up_calls_a_person(tmp_path: Path) -> None:
    desk = Desk({"slack": NEWS})
    played = play(tmp_path / "a.db", desk)
    played.ask("7")
    played.run_until_rest()
    assert desk.kinds() == ["Stalled"]
    assert desk.one(NoticeKind.STALLED).detail == "version 7 had no traffic; all traffic is on version 1"


def test_what_cannot_be_taken_up_calls_a_person_and_what_only_may_matter_one_day_does_not(tmp_path: Path) -> None:
    desk = Desk({"slack": NEWS})
    played = play(tmp_path / "a.db", desk)
    played.delete_route()
    played.settle()
    assert played.condition("Stalled").status == "True"
    assert desk.kinds() == []
    played.ask("2")
    assert desk.kinds() == ["Stalled"]
    assert desk.one(NoticeKind.STALLED).code == "RouteUnreadable"
    for _ in range(3):
        played.run(60)
    assert desk.kinds() == ["Stalled"]


class RouteIsForbidden:
    """A store whose VirtualServices may not be written."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        if kind is VIRTUAL_SERVICE:
            raise Refused("virtualservices is forbidden")
        document: Raw = self._store.patch(kind, key, operations)
        return document


def test_a_rollback_that_the_cluster_refuses_calls_a_person_once(tmp_path: Path) -> None:
    desk = Desk({"slack": NEWS})
    played = play(tmp_path / "a.db", desk)
    played.ask("5")
    played.reach(Phase.PROGRESSING)
    played.start(RouteIsForbidden(played.store))
    played.run(120)
    assert desk.kinds() == ["Stalled"]
    assert "forbidden" in desk.one(NoticeKind.STALLED).sentence
    played.start(played.store)
    played.run_until_rest()
    assert desk.kinds() == ["Stalled", "RolledBack"]


def test_an_invalid_edit_that_keeps_an_ask_from_being_taken_up_calls_a_person(tmp_path: Path) -> None:
    desk = Desk({"slack": NEWS})
    played = play(tmp_path / "a.db", desk)
    played.start(played.store)  # no last valid spec in memory
    played.edit_spec(lambda spec: spec.update(slots={"blue": {"host": "x"}}))
    played.annotate(version="2")
    played.settle()
    assert desk.kinds() == ["Stalled"]
    assert desk.one(NoticeKind.STALLED).code == "InvalidSpec"


def test_who_tells_nobody_owes_nothing(tmp_path: Path) -> None:
    played = Play(tmp_path / "a.db", World(behaviours=dict(BEHAVIOURS), window_s=10.0))
    played.settle()
    played.ask("3")
    played.run_until_rest()
    assert "outbox" not in played.store.get(ROLLOUT, KEY)["status"]


def test_what_was_told_is_owed_no_more_and_the_thread_is_kept_for_the_attempt(store: ObjectStore, namespace: str) -> None:
    desk = Desk({"slack": NEWS, "webhook": NEWS})
    played = playing(store, namespace, carrier=desk, steps=[{"weight": 10, "pause": {}}, {"weight": 100}])
    played.ask("2")
    played.reach(Phase.PAUSED)
    paused = desk.one(NoticeKind.PAUSED)
    desk.told.append(Receipt(paused.id, "slack", "17.5"))
    played.settle()
    box = played.status.outbox
    assert box is not None
    assert [notice.told for notice in box.owed] == [{"slack": "17.5"}]
    desk.told.append(Receipt(paused.id, "webhook"))
    played.settle()
    box = played.status.outbox
    assert box is not None
    assert (box.owed, box.threads, box.attempt) == ((), {"slack": "17.5"}, paused.attempt)


def test_an_outbox_stays_small_whatever_happens_while_nobody_answers(tmp_path: Path) -> None:
    desk = Desk()
    played = play(tmp_path / "a.db", desk)
    for number in range(8):
        played.ask("3", f"run-{number}")
        played.run_until_rest()
    box = played.status.outbox
    assert box is not None
    assert len(box.owed) == 12
    assert box.owed[-1].kind is NoticeKind.ROLLED_BACK


# --- with a post, over a real socket -------------------------------------------------------------------------------


@pytest.fixture
def slack() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@contextmanager
def posting(slack: Receiver, folder: Path, played: Play | None = None) -> Iterator[Post]:
    """A post to Slack, as a process has it. The world's time is its clock where there is one."""
    url = folder / "url"
    url.write_text(f"{slack.url}/services/T0/B0/secretsecret\n")
    hearers = Hearers(
        on_told=lambda _key: None,
        on_outcome=lambda _target, _outcome: None,
        on_given_up=lambda *_what: None,
        on_death=lambda _name, error: pytest.fail(repr(error)),
    )
    target = SlackWebhook(MountedSecret(url, lambda _value: None), Wire(timeout_s=30.0), NEWS)
    clock = (lambda: played.world.now) if played is not None else (lambda: 0.0)
    post = Post([target], Links(), hearers, clock=clock, pause_s=lambda _tries: 0.0)
    post.start()
    yield post
    post.stop(0.1)


def texts(received: Sequence[Received]) -> list[str]:
    return [each.json["text"].splitlines()[0] for each in received]


def test_the_rollback_is_done_while_slack_hangs(tmp_path: Path, slack: Receiver) -> None:
    slack.hold.set()
    with posting(slack, tmp_path) as post:
        played = play(tmp_path / "a.db", post, steps=[{"weight": 10, "pause": {}}, {"weight": 100}])
        played.ask("2")
        played.reach(Phase.PAUSED)
        assert len(slack.wait(1)) == 1  # this call is out, and stays out
        played.world.behaviours["2"] = DEAD
        played.reach(Phase.ROLLED_BACK)
        assert dict(played.weights()) == {"blue": 100, "green": 0}
        assert not slack.released.is_set()
        assert len(slack.received) == 1
        slack.released.set()
        found = texts(slack.wait(2))
    assert ["waits for a person" in found[0], "rolled back" in found[1]] == [True, True]


def test_turns_to_weight_0_are_the_same_with_and_without_a_slack_that_hangs(tmp_path: Path, slack: Receiver) -> None:
    slack.hold.set()

    def writes(name: str, post: Post | None) -> list[str]:
        played = Play(tmp_path / name, World(behaviours=dict(BEHAVIOURS), window_s=10.0), carrier=post)
        counting = DeadlyStore(played.store, 10_000, landed=False)
        played.start(counting)
        played.settle()
        played.ask("5")
        while played.status.phase is not Phase.ROLLED_BACK:
            played.run(10)
        return [f"{counting.writes} {played.world.now}"]

    with posting(slack, tmp_path) as post:
        assert writes("a.db", post) == writes("b.db", None)


@pytest.mark.long
@pytest.mark.parametrize("landed", [False, True], ids=["before it lands", "after it landed"])
def test_killed_between_traffic_moved_and_slack_sent_ends_with_one_message(tmp_path: Path, slack: Receiver, landed: bool) -> None:
    """Killed at every write of an attempt but the last, which writes down that Slack has it (see the next test)."""
    calm = attempt(tmp_path / "calm", slack, 10_000, landed=False)
    assert len(slack.received) == 1
    for k in range(1, calm.writes):
        slack.received.clear()
        attempt(tmp_path / f"{k}", slack, k, landed=landed)
        found = texts(slack.received)
        assert len(found) == 1, f"killed at write {k}: {found}"
        assert "rolled back to version 1" in found[0]


@pytest.mark.long
def test_killed_between_slack_sent_and_that_written_down_may_end_with_the_same_message_twice(
    tmp_path: Path, slack: Receiver
) -> None:
    """HTTP allows no better: who is killed then cannot know whether it arrived. The next process says the very same."""
    calm = attempt(tmp_path / "calm", slack, 10_000, landed=False)
    slack.received.clear()
    attempt(tmp_path / "killed", slack, calm.writes, landed=False)
    first, second = (each.json["text"] for each in slack.received)
    assert first == second
    slack.received.clear()
    attempt(tmp_path / "landed", slack, calm.writes, landed=True)
    assert len(slack.received) == 1


def attempt(folder: Path, slack: Receiver, kill_at: int, *, landed: bool) -> DeadlyStore:
    """One attempt that is rolled back, by a process that is killed at a write, and then by another."""
    folder.mkdir()
    played = Play(folder / "a.db", World(behaviours=dict(BEHAVIOURS), window_s=10.0))
    deadly = DeadlyStore(played.store, kill_at, landed=landed)

    def life(store: Any) -> bool:
        """Whether the attempt came to its end, and everybody was told, before the process was killed."""
        with posting(slack, folder, played) as post:
            played.carrier = post
            played.start(store)
            try:
                played.settle()
                if played.status.observed_version is None:
                    played.ask("5")
                while played.status.phase is not Phase.ROLLED_BACK or (played.status.outbox or Outbox()).owed:
                    played.run(10)
                    if played.status.phase is Phase.ROLLED_BACK and (played.status.outbox or Outbox()).owed:
                        soon(lambda: bool(post.receipts(KEY)))
            except Killed:
                return False
        return True

    if not life(deadly):
        assert life(played.store)
    return deadly
