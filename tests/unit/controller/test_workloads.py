"""Pods behind slots on the product's own reconcile over a real store, with a pretend kubelet."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import pytest

from rollout_controller.api.meta import Key, Raw
from rollout_controller.api.names import ANNOTATION_SCALED
from rollout_controller.api.status import Phase
from rollout_controller.cluster.store import DEPLOYMENT, ROLLOUT, Conflict, Kind, PatchOp, Refused, Unavailable
from rollout_controller.controller.senses import LiveSenses
from rollout_controller.controller.tritons import by_name
from rollout_controller.controller.workloads import LOCAL, Workloads
from rollout_controller.core.observation import Unknown
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.triton.prober import Prober
from tests import kubelet
from tests.play import Play, documents
from tests.support.writes import DeadlyStore
from tests.world import Behaviour, World

GOOD = Behaviour(errors=0.001, slow=0.01, load_s=20.0)
BAD = Behaviour(errors=0.05, load_s=20.0)


def play(path: Path, blue: int = 4, green: int = 0, **spec: object) -> Play:
    played = Play(path / "rollouts.db", World(behaviours={"1": GOOD, "2": GOOD, "3": BAD}, window_s=10.0), kubelet.spec(**spec))
    played.deploy_pods(blue=blue, green=green)
    played.settle()
    return played


def ask(played: Play, version: str) -> None:
    played.annotate(version=version, request=f"run-{version}")
    played.settle()


def run(played: Play, seconds: float) -> None:
    end = played.world.now + seconds
    while played.world.now < end:
        played.world.advance(played.world.now + played.world.window_s)
        played.settle()


def until(played: Play, code: str, limit_s: float = 900) -> None:
    end = played.world.now + limit_s
    while played.status.reason is None or played.status.reason.code != code:
        assert played.world.now < end, f"never {code}: {played.status.reason}"
        run(played, 10)


def replicas(played: Play) -> dict[str, int]:
    return {slot: played.deployment(slot)["spec"]["replicas"] for slot in ("blue", "green")}


def test_an_image_is_set_promoted_and_the_old_slot_goes_to_its_idle_size(tmp_path: Path) -> None:
    played = play(tmp_path)
    ask(played, "2")
    played.run_until_rest()
    assert played.status.phase is Phase.SUCCEEDED
    assert played.status.slots["green"].version == "2"
    assert (played.status.slots["green"].replicas, played.status.slots["green"].ready_replicas) == (4, 4)
    assert dict(played.weights()) == {"blue": 0, "green": 100}
    run(played, 150)
    assert replicas(played) == {"blue": 0, "green": 4}
    assert [tell.sentence for tell in played.told if tell.code == "ScaledDown"] == [
        "Blue has had no traffic for 2m 00s: it goes to 0 pods."
    ]
    assert played.deployment("blue")["metadata"]["annotations"][ANNOTATION_SCALED].startswith("0 idle 1-")


def test_rule_2_only_image_replicas_and_our_note_change_in_a_workload(tmp_path: Path) -> None:
    played = play(tmp_path)
    before = {slot: played.deployment(slot) for slot in ("blue", "green")}
    ask(played, "2")
    played.run_until_rest()
    after = played.deployment("green")
    after["spec"]["template"]["spec"]["containers"][1]["image"] = kubelet.TEMPLATE.replace("{version}", "1")
    after["spec"]["replicas"] = 0
    del after["metadata"]["annotations"][ANNOTATION_SCALED]
    assert after["spec"] == before["green"]["spec"]
    assert after["metadata"]["annotations"] == before["green"]["metadata"]["annotations"]
    assert played.deployment("blue")["spec"] == before["blue"]["spec"]


class Strict(DeadlyStore):
    """A store in front of the real one that will not have workloads changed (RBAC, a quota), or not always."""

    def __init__(self, played: Play, error: Exception, times: int = 1_000_000) -> None:
        super().__init__(played.store, 1_000_000, landed=False)
        self.error, self.times = error, times

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        if kind is DEPLOYMENT and self.times > 0:
            self.times -= 1
            raise self.error
        return super().patch(kind, key, operations)


FORBIDDEN = Refused('deployments.apps "triton-green" is forbidden: User "rollouts" cannot patch resource "deployments"')


def test_a_forbidden_change_ends_the_attempt_with_kubernetes_words(tmp_path: Path) -> None:
    played = play(tmp_path)
    played.start(Strict(played, FORBIDDEN))
    ask(played, "2")
    run(played, 10)
    assert played.status.phase is Phase.STALLED
    assert played.status.attempts[0].reason.sentence == (
        "Version 2 could not be loaded into green, no traffic was moved: Deployment 'triton-green' may not be changed:"
        ' deployments.apps "triton-green" is forbidden: User "rollouts" cannot patch resource "deployments".'
    )
    played.start(played.store)
    played.annotate(version="2", request="again")
    played.run_until_rest()
    assert played.status.attempts[0].outcome == "Promoted", "a refusal of before is about the attempt before"


def test_a_step_whose_pods_are_forbidden_waits_says_so_and_a_rollback_is_not_hindered(tmp_path: Path) -> None:
    played = play(tmp_path)
    ask(played, "2")
    until(played, "Waiting")
    played.start(Strict(played, FORBIDDEN))
    until(played, "WaitingForPods")
    run(played, 10)
    assert "is forbidden" in played.status.slots["green"].message
    played.world.behaviours["2"] = Behaviour(errors=0.5)
    played.run_until_rest()
    assert played.status.phase is Phase.ROLLED_BACK
    assert dict(played.weights()) == {"blue": 100, "green": 0}


@pytest.mark.parametrize("error", [Conflict("it was changed"), Unavailable("no answer")])
def test_a_change_that_failed_once_is_made_in_the_next_turn(tmp_path: Path, error: Exception) -> None:
    played = play(tmp_path)
    played.start(Strict(played, error, times=1))
    with pytest.raises(type(error)):
        ask(played, "2")
    assert played.status.phase is Phase.PREPARING
    assert [tell.code for tell in played.told][-1] == "Preparing", "people heard of it"
    played.run_until_rest()
    assert played.status.attempts[0].outcome == "Promoted"


def test_a_workload_that_is_not_there_is_said_and_waited_for(tmp_path: Path) -> None:
    played = play(tmp_path)
    green = played.store.get(DEPLOYMENT, Key("vision", "triton-green"))
    played.store.delete(DEPLOYMENT, Key("vision", "triton-green"))
    ask(played, "2")
    run(played, 40)
    assert played.status.reason is not None
    assert played.status.reason.sentence == (
        "Bringing up version 2 in green: there is no Deployment 'triton-green' in namespace vision."
    )
    green["metadata"] = {k: v for k, v in green["metadata"].items() if k in ("name", "namespace", "annotations")}
    played.store.create(DEPLOYMENT, green)
    played.run_until_rest()
    assert played.status.attempts[0].outcome == "Promoted"


def second_rollout(name: str = "bert", workload: str = "triton-green") -> Raw:
    other = copy.deepcopy(documents()[0])
    other["metadata"]["name"] = name
    other["spec"]["slots"] = {
        "a": {"host": "x"},
        "b": {"host": "y", "workload": {"name": workload}},
    }
    return other


def test_a_workload_that_two_rollouts_name_is_changed_by_neither(tmp_path: Path) -> None:
    played = play(tmp_path)
    played.store.create(ROLLOUT, second_rollout())
    played.start(played.store)
    ask(played, "2")
    run(played, 10)
    assert played.status.phase is Phase.STALLED
    assert played.status.reason is not None
    assert played.status.reason.sentence == (
        "Slot green: Deployment 'triton-green' is named by TritonRollout 'bert', too: each needs its own."
    )
    assert replicas(played) == {"blue": 4, "green": 0}
    played.store.delete(ROLLOUT, Key("vision", "bert"))
    played.workloads.note(Key("vision", "bert"), None)
    played.settle()
    played.run_until_rest()
    assert played.status.attempts[0].outcome == "Promoted"


def test_who_names_a_workload_is_kept_up_to_date(tmp_path: Path) -> None:
    played = play(tmp_path)
    other = Key("vision", "bert")

    def problems() -> list[str]:
        states = {slot: played.workloads.state(played.rollout(), slot) for slot in ("blue", "green")}
        return [slot for slot, state in states.items() if state.problem is not None]

    assert problems() == []
    played.workloads.note(other, second_rollout())
    assert problems() == ["green"]
    played.workloads.note(other, second_rollout(workload="triton-blue"))
    assert problems() == ["blue"]
    played.workloads.note(other, {"spec": {"slots": ["garbled"]}})
    assert problems() == []


def test_a_rollout_made_anew_still_has_its_workloads(tmp_path: Path) -> None:
    """Deleted and made again at once: what is noted of the new one is not forgotten with the old one."""
    played, other = play(tmp_path), Key("vision", "bert")
    played.workloads.note(other, second_rollout())  # the cache tells of the new one
    played.workloads.forget(other)  # and then the turn takes leave of the old one
    problem = played.workloads.state(played.rollout(), "green").problem
    assert problem is not None
    assert "is named by TritonRollout 'bert', too" in problem.sentence


def test_who_shares_a_workload_is_known_when_that_begins_and_when_it_ends(tmp_path: Path) -> None:
    """They are woken: else a rollout went on to say, for up to a minute, that its Deployment is named by one that is gone."""
    played, other = play(tmp_path), Key("vision", "bert")
    played.workloads.note(played.key, played.store.get(ROLLOUT, played.key))
    assert played.workloads.note(other, second_rollout()) == {played.key}
    assert played.workloads.note(other, second_rollout()) == set(), "nothing has changed"
    assert played.workloads.note(other, second_rollout(workload="else")) == {played.key}
    assert played.workloads.note(other, second_rollout(workload="triton-blue")) == {played.key}
    assert played.workloads.note(other, None) == {played.key}


def test_without_a_cluster_a_workload_is_refused_in_words(tmp_path: Path) -> None:
    played = play(tmp_path)
    played.workloads = Workloads(played, lambda: played.world.now, none=LOCAL)
    ask(played, "2")
    run(played, 10)
    assert played.status.phase is Phase.STALLED
    assert played.status.reason is not None
    assert played.status.reason.sentence == (
        "Slot blue: Deployment 'triton-blue' is named, and without a cluster there are no workloads: leave workload,"
        " deploy.image and scale out."
    )


def test_nothing_is_decided_on_workloads_that_are_not_read_yet(tmp_path: Path) -> None:
    played = play(tmp_path)
    played.synced = lambda kind, namespace=None: kind is not DEPLOYMENT  # type: ignore[method-assign]
    ask(played, "2")
    run(played, 30)
    assert played.status.phase is Phase.IDLE
    del played.synced
    until(played, "Preparing")


def test_triton_is_asked_only_where_its_answer_is_needed(tmp_path: Path) -> None:
    """With an image the pods' own probes ask Triton; the prober asks nobody."""
    played = play(tmp_path)
    wanted: list[str] = []

    class Ears(Prober):
        def want(self, key: Key, slot: str, url: str, model: str | None, *, active: bool) -> None:
            wanted.append(slot)

    sources = load_sources()
    reader = SliReader(Prometheus("http://127.0.0.1:1"), sources, window_s=5.0, lag_s=1.0)
    tritons = by_name({"triton-blue": "http://127.0.0.1:1", "triton-green": "http://127.0.0.1:2"})
    senses = LiveSenses(reader, Ears(on_change=lambda _key: None), sources, tritons, played.workloads)
    senses.aim(played.rollout(), Unknown("not-found", "no policy"), played.status)
    assert wanted == []
    state = senses.slot(played.rollout(), "blue")
    assert (state.version, state.ready) == ("1", True)
