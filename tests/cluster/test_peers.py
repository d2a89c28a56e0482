"""What other controllers get wrong on an API server, one test for each: here on a real one, with the real process."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION
from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import KubeRefused
from tests.support.crowd import MERGE, PATIENT, Crowd, Tritons, crowd, documents, rules
from tests.support.replicas import Replica, Stage
from tests.support.rights import Right, without
from tests.support.watching import soon
from tests.unit.triton.wire_triton import serve

pytestmark = pytest.mark.cluster

JSON_PATCH = "application/json-patch+json"
SOON_S = 180.0
REST_S = 10.0
WINDOW_S = 2.0
"""New data wakes an attempt this often."""
CROWD = 100


class One:
    """A rollout of its own in a stage that others have theirs in, too."""

    def __init__(self, scene: Stage, name: str) -> None:
        self.scene, self.kube, self.name = scene, scene.kube, name
        self.rollout, self.virtual_service = documents(scene.namespace, name)
        self.kube.apply(self.rollout, self.virtual_service)
        self.asked = 0

    # --- what people do ------------------------------------------------------------------------------------------

    def annotate(self, **annotations: str) -> None:
        """As `kubectl annotate`."""
        names = {"version": ANNOTATION_VERSION, "request": ANNOTATION_REQUEST, "command": ANNOTATION_COMMAND}
        patch = {"metadata": {"annotations": {names[short]: text for short, text in annotations.items()}}}
        self.kube.api.call("PATCH", self.kube.api.path_of(self.rollout), patch, content_type=MERGE)

    def edit(self, *operations: Raw) -> None:
        """The VirtualService, as its owner would."""
        self.kube.api.call("PATCH", self.kube.api.path_of(self.virtual_service), list(operations), content_type=JSON_PATCH)

    def set_weights(self, blue: int, green: int) -> None:
        self.edit(*({"op": "add", "path": f"/spec/http/0/route/{n}/weight", "value": w} for n, w in enumerate((blue, green))))

    def to_traffic(self, version: str = "2") -> str:
        """The attempt's id, when it has 10 % of the traffic."""
        self.annotate(version=version)
        self.until_weights(90, 10)
        return str(self.until(lambda s: s.get("phase") == "Progressing")["attempt"]["id"])

    def close(self) -> None:
        """Deleted, so that it is in nobody's way."""
        for document in (self.rollout, self.virtual_service):
            with suppress(KubeRefused):
                self.kube.api.delete(document)

    # --- what is so ----------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.kube.api.read(self.rollout).get("status") or {}
        return found

    def route(self) -> dict[str, Any]:
        return self.kube.api.read(self.virtual_service)

    def weights(self) -> tuple[int, int]:
        blue, green = self.route()["spec"]["http"][0]["route"]
        return blue.get("weight", 0), green.get("weight", 0)

    def condition(self, name: str) -> tuple[str, str, str]:
        """Status, reason, message."""
        found = next((c for c in self.status().get("conditions", []) if c["type"] == name), None)
        return (found["status"], found["reason"], found["message"]) if found else ("", "", "")

    def says(self, words: str) -> bool:
        """In its reason, or in a condition."""
        status = self.status()
        said = [status.get("reason", {}).get("sentence", ""), *(c["message"] for c in status.get("conditions", []))]
        return any(words in sentence for sentence in said)

    def notes(self) -> list[tuple[str, str]]:
        """Reason and note of the rollout's events."""
        found = self.kube.api.get(f"/apis/events.k8s.io/v1/namespaces/{self.scene.namespace}/events")["items"]
        return [(e["reason"], e["note"]) for e in found if e["regarding"]["name"] == self.name]

    def until(self, so: Callable[[dict[str, Any]], bool], within_s: float = SOON_S) -> dict[str, Any]:
        soon(lambda: so(self.status()), within_s, lambda: f"{self.status()}\n{self.scene.logs()}")
        return self.status()

    def until_weights(self, blue: int, green: int) -> None:
        soon(lambda: self.weights() == (blue, green), SOON_S, lambda: f"{self.weights()} {self.status()}\n{self.scene.logs()}")


@pytest.fixture(scope="module")
def scene(kube: Kube, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One controller for these tests. There is no Prometheus: nothing is judged, and every attempt stays in its first step."""
    folder = tmp_path_factory.mktemp("peers")
    with serve(Tritons()) as triton:
        made = Stage(kube, "peers", folder, triton={"url": triton.url + "/{host}"}, lease=PATIENT)
        try:
            kube.apply(rules("peers", {"errors": "90s", "latency": "90s"}))
            made.replica("a").wait_acting()
            yield made
        finally:
            made.close()


@pytest.fixture
def one(scene: Stage) -> Iterator[One]:
    made = One(scene, f"one-{secrets.token_hex(3)}")
    yield made
    made.close()


def controller(scene: Stage) -> Replica:
    return scene.replicas[0]


@pytest.mark.parametrize(("blue", "green"), [(50, 50), (0, 100), (100, 0), (0, 0)])
def test_weights_edited_by_hand_in_an_attempt_promote_nobody(one: One, blue: int, green: int) -> None:
    """They are put back, it is said, and the attempt goes on. (Flagger: promoted at once, said nowhere.)"""
    attempt = one.to_traffic()
    one.set_weights(blue, green)
    one.until_weights(90, 10)
    soon(lambda: "Drift" in dict(one.notes()), SOON_S, lambda: str(one.notes()))
    after = one.status()
    assert (after["phase"], after["attempt"]["id"]) == ("Progressing", attempt)
    assert after.get("attempts", []) == []


def test_weights_edited_by_hand_at_rest_are_put_back(one: One) -> None:
    one.until(lambda s: s.get("phase") == "Idle")
    for blue, green in ((50, 50), (0, 100), (0, 0)):
        one.set_weights(blue, green)
        one.until_weights(100, 0)
    assert one.status()["phase"] == "Idle"
    soon(lambda: "Drift" in dict(one.notes()))


def test_a_destination_that_is_removed_is_said_and_waited_for(one: One) -> None:
    attempt = one.to_traffic()
    entry = one.route()["spec"]["http"][0]["route"][1]
    host = entry["destination"]["host"]
    one.edit({"op": "remove", "path": "/spec/http/0/route/1"})
    soon(lambda: one.says(f"no destination '{host}' for slot green"), SOON_S, lambda: f"{one.status()}\n{one.scene.logs()}")
    assert len(one.route()["spec"]["http"][0]["route"]) == 1, "nobody puts a destination there but its owner"
    one.edit({"op": "add", "path": "/spec/http/0/route/1", "value": {**entry, "weight": 0}})
    one.until_weights(90, 10)
    soon(lambda: not one.says("no destination"), SOON_S, lambda: str(one.status()))
    assert one.status()["attempt"]["id"] == attempt


def test_a_virtual_service_that_is_deleted_and_made_anew_gets_the_attempts_weights(one: One) -> None:
    """GitOps brings it back as its manifest says: all on stable, without our annotation."""
    attempt = one.to_traffic()
    one.kube.api.delete(one.virtual_service)
    soon(lambda: one.says("there is no VirtualService"), SOON_S, lambda: str(one.status()))
    one.kube.apply(one.virtual_service)
    one.until_weights(90, 10)
    soon(lambda: not one.says("there is no VirtualService"), SOON_S, lambda: str(one.status()))
    assert one.status()["attempt"]["id"] == attempt


def test_another_field_that_its_owner_changes_is_kept(one: One) -> None:
    one.to_traffic()
    one.edit(
        {"op": "add", "path": "/spec/http/0/timeout", "value": "7s"},
        {"op": "add", "path": "/spec/http/0/route/1/headers", "value": {"request": {"set": {"x-version": "new"}}}},
        {"op": "add", "path": "/metadata/labels", "value": {"team": "vision"}},
    )
    one.annotate(command="abort now-1")
    one.until_weights(100, 0)
    one.until(lambda s: s.get("phase") == "Aborted")
    after = one.route()
    assert after["metadata"]["labels"] == {"team": "vision"}
    assert after["metadata"]["annotations"]["example.com/n"] == "0"
    assert after["spec"]["http"][0]["timeout"] == "7s"
    assert after["spec"]["http"][0]["route"][1]["headers"] == {"request": {"set": {"x-version": "new"}}}


def test_a_right_that_is_taken_away_is_said_and_the_rollout_goes_on_when_it_is_back(one: One) -> None:
    """No crash loop, no storm of calls."""
    one.until(lambda s: s.get("phase") == "Idle")
    replica = controller(one.scene)
    with without_patch(one):
        one.annotate(version="2")
        soon(lambda: one.condition("Stalled")[:2] == ("True", "Refused"), SOON_S, lambda: f"{one.status()}\n{one.scene.logs()}")
        message = one.condition("Stalled")[2]
        assert replica.user in message
        assert 'cannot patch resource "virtualservices"' in message
        soon(lambda: ("Refused", message) in one.notes())
        before = replica.writes()
        time.sleep(4 * WINDOW_S)
        calls = replica.writes() - before
        assert calls["patch", "virtualservices"] <= 5, "as often as something new is known"
        assert calls.total() - calls["patch", "virtualservices"] <= 1, (calls, one.notes())
        assert replica.ready()
    one.until_weights(90, 10)
    soon(lambda: one.condition("Stalled")[0] == "False", SOON_S, lambda: str(one.status()))


def test_a_fix_that_is_asked_for_during_a_rollback_is_tried_next(one: One) -> None:
    """(Flagger swallows it: never analysed.) The rollback lasts as long as its write is refused."""
    one.to_traffic("2")
    with without_patch(one):
        one.annotate(command="abort now-1")
        soon(lambda: one.condition("Stalled")[1] == "Refused", SOON_S, lambda: f"{one.status()}\n{one.scene.logs()}")
        one.annotate(version="3", request="fix-1")
    status = one.until(lambda s: s.get("phase") == "Progressing" and s["attempt"]["version"] == "3")
    assert (status["observedVersion"], status["observedRequest"]) == ("3", "fix-1")
    assert status["attempts"][0]["version"] == "2"
    assert status["attempts"][0]["outcome"] in {"Aborted", "Superseded"}
    one.until_weights(90, 10)
    time.sleep(2 * WINDOW_S)
    assert one.status()["attempt"]["version"] == "3", "the old command is not for the new attempt"


def without_patch(one: One) -> AbstractContextManager[None]:
    right = Right("patch", "networking.istio.io", "virtualservices", one.scene.namespace)
    return without(one.kube, controller(one.scene).user, right, one.scene.roles)


def test_a_hundred_rollbacks_at_once_each_with_its_event_and_then_rest(kube: Kube, namespace: str, tmp_path: Path) -> None:
    """Events of all of them. (Flagger: none of 300.) Their stable Tritons are not ready, and nobody waits for them. Afterwards
    nothing is written any more. (Argo Rollouts: 36 patches a second; Flagger: a status every tick, for ever.)
    """
    with crowd(kube, namespace, tmp_path, CROWD, window_s=2, tolerance="4s") as many:
        many.ask("2")
        many.wait_weights(90, 10, 120)
        many.wait_phase("Progressing", 60)
        many.tritons.down |= {f"triton-blue-{name}" for name in many.names}
        many.go_bad()
        many.wait_weights(100, 0, 120)
        many.wait_phase("RolledBack", 60)
        told = rollbacks_told(many)
        soon(lambda: rollbacks_told(many).keys() == set(many.names), SOON_S, lambda: str(len(told)), most_s=0.5)
        assert set(rollbacks_told(many).values()) == {1}
        replica = many.stage.replicas[0]
        settled(replica)
        before = kube.calls(replica.user)
        time.sleep(REST_S)
        calls = kube.calls(replica.user) - before
        assert {call for call in calls if call[1] != "leases" and call[0] != "watch"} == set(), calls
        assert calls.total() <= 3 * REST_S, "the lease, and watches that are begun anew"


def rollbacks_told(many: Crowd) -> Counter[str]:
    """By rollout: its events of a rollback, with the sentence that its record has."""
    why = {name: status["attempts"][0]["reason"] for name, status in many.statuses().items() if status.get("attempts")}
    found: Counter[str] = Counter()
    for event in many.events():
        name = event["regarding"]["name"]
        found[name] += name in why and (event["reason"], event["note"]) == (why[name]["code"], why[name]["sentence"])
    return +found


def settled(replica: Replica) -> None:
    """Until it has written nothing for some seconds."""

    def quiet() -> bool:
        before = replica.writes()
        time.sleep(3.0)
        return replica.writes() == before

    soon(quiet, SOON_S)
