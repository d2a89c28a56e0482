"""trigger, wait, retry and the steering commands, against a controller that is played by the test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cli import fetch
from rollout_controller.cli.build import build
from rollout_controller.cli.exits import Exit
from rollout_controller.cli.waiting import Target, outcome
from rollout_controller.cluster.kubernetes import KubernetesStore
from rollout_controller.cluster.light import LightTransport
from rollout_controller.cluster.store import POLICY, ROLLOUT, AlreadyExists, Conflict
from rollout_controller.lab.kube import Kube
from tests.support.people import started
from tests.support.shell import Shell
from tests.unit.cli.gallery import NOW, SCENES, record
from tests.unit.cli.gallery import POLICY as BALANCED

CRDS = Path(__file__).parents[3] / "helm" / "rollout-controller" / "crds"
MASTERS = "system:masters"


@pytest.fixture(params=["local", pytest.param("cluster", marks=pytest.mark.cluster)])
def shell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A folder, or an API server with our CRDs, whose kubeconfig has the namespace that the local tests find by themselves."""
    if request.param == "local":
        shell: Shell = request.getfixturevalue("local")
        yield shell
        return
    kube: Kube = request.getfixturevalue("kube")
    kube.apply(CRDS)
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vision"}})
    wire = LightTransport(kube.admin)
    shell = Shell(("--kubeconfig", str(kube.user("asking", (MASTERS,), namespace="vision"))), KubernetesStore(wire), capsys)
    with suppress(AlreadyExists):
        shell.store.create(POLICY, BALANCED)
    yield shell
    shell.join()
    for document in shell.store.list(ROLLOUT, "vision").items:
        kube.api.delete(document)
    wire.close()


@pytest.fixture(autouse=True)
def short_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "TICK_S", 0.05)


def asked(document: Raw) -> dict[str, Any]:
    return {k.rpartition("/")[2]: v for k, v in document["metadata"]["annotations"].items()}


def take_up(shell: Shell, **changes: Any) -> None:
    """The controller: echo the next ask that is new, with these changes."""
    before = asked(shell.rollout()).get("request")

    def echo(document: Raw) -> None:
        ask = asked(document)
        shell.set_status(**{"observedVersion": ask["version"], "observedRequest": ask["request"], **changes})

    shell.when(lambda document: asked(document).get("request") != before, echo)


def obey(shell: Shell, result: str, **changes: Any) -> None:
    before = asked(shell.rollout()).get("command")
    shell.when(
        lambda document: asked(document).get("command") != before,
        lambda document: shell.set_status(
            observedCommand=asked(document)["command"],
            commandResult=result,
            commandDone="was not done" not in result,
            **changes,
        ),
    )


def test_trigger_asks_and_shows_the_answer(shell: Shell) -> None:
    shell.put("succeeded")
    take_up(shell, phase="Preparing", reason={"code": "Preparing", "sentence": "Bringing up version 3 in blue."})
    code, out, err = shell.run("trigger", "resnet50", "--version", "3")
    assert (code, out) == (0, "Bringing up version 3 in blue.\n")
    assert "asked for version 3 of resnet50, request cli-" in err
    assert shell.annotation("version") == "3"


def test_trigger_keeps_the_request_id_of_ci(shell: Shell) -> None:
    shell.put("succeeded")
    assert shell.run("trigger", "resnet50", "--version", "3", "--request", "run-9", "--no-wait")[0] == 0
    assert (shell.annotation("version"), shell.annotation("request")) == ("3", "run-9")


def test_without_a_controller_the_wait_is_bounded(shell: Shell) -> None:
    shell.put("succeeded")
    code, _, err = shell.run("trigger", "resnet50", "--version", "3", "--answer-within", "300ms")
    assert code == 4
    assert "no controller has taken it up within 0.3 s; is one running?" in err


def test_a_rolled_back_version_is_not_tried_again_unasked(shell: Shell) -> None:
    before = shell.put("rolled-back")
    code, _, err = shell.run("trigger", "resnet50", "--version", "2", "--wait")
    assert code == 3
    assert "version 2 was rolled back. Canary error rate 5.2 %" in err
    assert "--again" in err
    assert shell.rollout() == before


def test_again_asks_with_a_new_request(shell: Shell) -> None:
    shell.put("rolled-back")
    assert shell.run("trigger", "resnet50", "--version", "2", "--again", "--no-wait")[0] == 0
    assert shell.annotation("version") == "2"
    assert shell.annotation("request").startswith("cli-")


def test_the_same_ask_twice_is_one_ask(shell: Shell) -> None:
    before = shell.put("succeeded")
    assert shell.run("trigger", "resnet50", "--version", "2", "--request", "run-8841", "--wait")[0] == 0
    assert shell.run("trigger", "resnet50", "--version", "2", "--wait")[0] == 0
    assert shell.rollout() == before


def test_retry_is_the_same_version_with_a_new_request(shell: Shell) -> None:
    shell.put("stalled-load")
    assert shell.run("retry", "resnet50", "--no-wait")[0] == 0
    assert shell.annotation("version") == "2"
    assert shell.annotation("request") != "run-8841"


def test_retry_does_not_disturb_an_attempt(shell: Shell) -> None:
    shell.put("progressing")
    code, _, err = shell.run("retry", "resnet50")
    assert (code, err) == (1, "error: attempt 7 is under way (version 2, Progressing)\n")


def test_what_is_no_version(shell: Shell) -> None:
    shell.put("succeeded")
    code, _, err = shell.run("trigger", "resnet50", "--version", "a b")
    assert code == 2
    assert "'a b' is not a version" in err


def test_trigger_wait_never_sees_the_previous_result(shell: Shell) -> None:
    """The status says RolledBack (of the ask before) when the waiting begins; what counts comes later."""
    shell.put("rolled-back")
    done = {"phase": "Succeeded", "reason": {"code": "Promoted", "sentence": "Version 3 has all traffic."}}

    def controller(document: Raw) -> None:
        ask = asked(document)
        time.sleep(0.3)
        echo = {"observedVersion": ask["version"], "observedRequest": ask["request"]}
        shell.set_status(**echo, phase="Preparing", reason={"code": "Preparing", "sentence": "Bringing up version 3."})
        time.sleep(0.3)
        shell.set_status(**done)

    shell.when(lambda document: asked(document)["version"] == "3", controller)
    code, out, _ = shell.run("trigger", "resnet50", "--version", "3", "--wait", "--timeout", "10s")
    assert code == 0
    assert [line.split()[3] for line in out.splitlines()] == ["RolledBack", "Preparing", "Succeeded"]


@pytest.mark.parametrize(
    ("scene", "code"),
    [("succeeded", 0), ("idle-serving", 0), ("rolled-back", 3), ("aborted", 3), ("stalled-load", 1), ("paused", 5)],
)
def test_wait_exits_with_the_end(shell: Shell, scene: str, code: int) -> None:
    shell.put(scene)
    assert shell.run("wait", "resnet50", "--timeout", "5s")[0] == code


@pytest.mark.parametrize("scene", ["progressing", "asked", "preparing", "stalled-route"])
def test_wait_is_bounded(shell: Shell, scene: str) -> None:
    shell.put(scene)
    code, _, err = shell.run("wait", "resnet50", "--timeout", "200ms")
    assert code == 4
    assert "has not ended within 0.2 s; the rollout goes on by itself" in err


def test_wait_through_a_pause(shell: Shell) -> None:
    shell.put("paused")
    assert shell.run("wait", "resnet50", "--timeout", "200ms", "--through-pause")[0] == 4


def test_wait_finds_an_earlier_request_in_the_history(shell: Shell) -> None:
    shell.put("superseded")
    code, out, _ = shell.run("wait", "resnet50", "--request", "run-8841", "--timeout", "5s")
    assert code == 3
    assert "Superseded. Version 3 is asked for while version 2 was being tried." in out


def test_wait_for_a_request_nobody_made(shell: Shell) -> None:
    shell.put("succeeded")
    code, _, err = shell.run("wait", "resnet50", "--request", "run-1")
    assert code == 1
    assert "request 'run-1' is not asked for on resnet50" in err


def test_wait_for_nothing(shell: Shell) -> None:
    shell.put("idle")
    assert "there is nothing to wait for" in shell.run("wait", "resnet50")[2]


def test_an_ask_that_was_overtaken_before_it_was_taken_up() -> None:
    info = build(SCENES["asked"].rollout, None, NOW)
    assert outcome(info, Target("7", "run-7")) is Exit.ROLLED_BACK
    assert outcome(info, Target("3", "run-8850")) is None


def test_a_request_id_is_not_enough_the_version_counts_too() -> None:
    scene = SCENES["asked"]
    past = record("RolledBack", "SloViolated", "harm", request="run-8850").to_raw()
    document = {**scene.rollout, "status": {**scene.rollout["status"], "attempts": [past]}}
    assert outcome(build(document, None, NOW), Target("3", "run-8850")) is None
    assert outcome(build(document, None, NOW), Target("2", "run-8850")) is Exit.ROLLED_BACK


def test_a_deleted_rollout_ends_the_wait(shell: Shell) -> None:
    shell.put("progressing")
    with started(shell, "wait", "resnet50", "--timeout", "5m") as waiting:
        assert waiting.stdout is not None
        assert "Progressing" in waiting.stdout.readline()
        shell.store.delete(ROLLOUT, Key("vision", "resnet50"))
        _, err = waiting.communicate(timeout=180)
    assert waiting.returncode == 1
    assert "was deleted" in err


def test_ctrl_c_ends_the_waiting_only(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.put("progressing")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    code, _, err = shell.run("wait", "resnet50")
    assert code == 130
    assert "Stopped waiting; the rollout goes on by itself" in err


@pytest.mark.parametrize(
    ("argv", "verb"),
    [
        (["pause", "resnet50"], "pause"),
        (["resume", "resnet50"], "resume"),
        (["promote", "resnet50"], "promote"),
        (["promote", "resnet50", "--full"], "promote-full"),
        (["abort", "resnet50"], "abort"),
    ],
)
def test_steering(shell: Shell, argv: list[str], verb: str) -> None:
    shell.put("progressing")
    obey(shell, "It is done.")
    assert shell.run(*argv) == (0, "It is done.\n", "")
    assert shell.annotation("command").split()[0] == verb


def test_each_command_has_an_id_of_its_own(shell: Shell) -> None:
    shell.put("progressing")
    shell.run("pause", "resnet50", "--no-wait")
    first = shell.annotation("command")
    shell.run("pause", "resnet50", "--no-wait")
    assert shell.annotation("command") != first


def test_a_refused_command_fails_with_the_controllers_words(shell: Shell) -> None:
    shell.put("succeeded")
    obey(shell, "pause was not done: no attempt is under way.")
    assert shell.run("pause", "resnet50") == (1, "", "error: pause was not done: no attempt is under way.\n")


def test_nobody_takes_a_command_up(shell: Shell) -> None:
    shell.put("progressing")
    code, _, err = shell.run("abort", "resnet50", "--answer-within", "200ms")
    assert code == 4
    assert "is one running?" in err
    assert shell.annotation("command").startswith("abort ")


@pytest.mark.parametrize(("conflicts", "code"), [(3, 0), (1000, 1)])
def test_conflicts_are_tried_again_a_bounded_number_of_times(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, conflicts: int, code: int
) -> None:
    shell.put("progressing")
    store: Any = type(shell.store)
    patch, left = store.patch, [conflicts]

    def contested(self: Any, *args: Any) -> Raw:
        if left[0] > 0:
            left[0] -= 1
            shell.set_status(judgeWrittenAt=f"2026-01-31T13:05:{left[0] % 60:02d}Z")
        done: Raw = patch(self, *args)
        return done

    monkeypatch.setattr(store, "patch", contested)
    got, _, err = shell.run("pause", "resnet50", "--no-wait")
    assert got == code
    assert ("was written by somebody else" in err) is (code == 1)
    assert (shell.annotation("command") or "").startswith("pause ") is (code == 0)


def test_annotations_of_others_are_kept(shell: Shell) -> None:
    before = shell.put("progressing")
    shell.store.patch(
        ROLLOUT, Key("vision", "resnet50"), [{"op": "add", "path": "/metadata/annotations/team", "value": "vision"}]
    )
    shell.run("pause", "resnet50", "--no-wait")
    assert shell.annotation("version") == "2"
    assert shell.rollout()["metadata"]["annotations"]["team"] == "vision"
    assert shell.rollout()["spec"] == before["spec"]


def test_a_rollout_without_any_annotation(shell: Shell) -> None:
    shell.put("idle")
    assert shell.run("trigger", "resnet50", "--version", "1", "--no-wait")[0] == 0
    assert shell.annotation("version") == "1"


def test_conflict_is_what_a_stale_write_gives(shell: Shell) -> None:
    """The retry above leans on this."""
    stale = shell.put("progressing")
    shell.set_status(observedCommand="x")
    with pytest.raises(Conflict):
        shell.store.patch(
            ROLLOUT,
            Key("vision", "resnet50"),
            [{"op": "test", "path": "/metadata/resourceVersion", "value": stale["metadata"]["resourceVersion"]}],
        )
