"""status, list, explain, history: what they answer, and what they exit with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from rollout_controller.cli.main import main
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import EVENT, Unavailable
from tests.unit.cli.conftest import LocalShell


def test_one_rollout_needs_no_name(shell: LocalShell) -> None:
    shell.put("rolled-back")
    code, out, _ = shell.run("status")
    assert (code, out.split()[:2]) == (0, ["resnet50", "RolledBack"])


def test_the_proposed_commands_reach_the_same_documents(shell: LocalShell) -> None:
    shell.put("rolled-back")
    assert f"rollouts --local {shell.directory} trigger resnet50 --version 2 --again" in shell.run("status")[1]


def test_several_rollouts_are_listed(shell: LocalShell) -> None:
    shell.put("succeeded", "bert")
    shell.put("stalled-load", "resnet50")
    lines = shell.run("status")[1].splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "resnet50", "bert"]


def test_namespaces_are_shown_where_there_are_several(shell: LocalShell) -> None:
    shell.put("succeeded", "bert")
    shell.put("succeeded", "bert", "speech")
    assert shell.run("list")[1].splitlines()[0].split()[0] == "NAMESPACE"
    assert shell.run("-n", "speech", "list")[1].splitlines()[0].split()[0] == "NAME"
    code, _, err = shell.run("status", "bert")
    assert code == 2
    assert "in 2 namespaces" in err
    assert shell.run("status", "speech/bert")[0] == 0


def test_no_rollout_at_all(shell: LocalShell) -> None:
    code, out, err = shell.run("status")
    assert (code, out) == (0, "")
    assert "apply -f" in err


@pytest.mark.parametrize("output", ["json", "yaml"])
def test_the_facts_as_data(shell: LocalShell, output: str) -> None:
    shell.put("progressing")
    read = json.loads if output == "json" else yaml.safe_load
    one = read(shell.run("status", "resnet50", "-o", output)[1])
    every = read(shell.run("status", "-o", output)[1])
    assert one["attempt"]["weight_percent"] == 25
    assert [rollout["name"] for rollout in every["rollouts"]] == ["resnet50"]


def test_the_document_as_it_is_stored(shell: LocalShell) -> None:
    stored = shell.put("progressing")
    assert json.loads(shell.run("status", "resnet50", "-o", "raw")[1]) == stored


@pytest.mark.parametrize(
    ("scene", "code"),
    [("succeeded", 0), ("progressing", 0), ("rolled-back", 3), ("aborted", 3), ("stalled-load", 1), ("paused", 5)],
)
def test_exit_code_on_request(shell: LocalShell, scene: str, code: int) -> None:
    shell.put(scene)
    assert shell.run("status", "resnet50")[0] == 0
    assert shell.run("status", "resnet50", "--exit-code")[0] == code


def test_a_name_that_is_nearly_right(shell: LocalShell) -> None:
    shell.put("succeeded")
    code, out, err = shell.run("status", "resnet5")
    assert (code, out, err) == (1, "", "error: no TritonRollout 'resnet5' in namespace vision; there is 'resnet50'\n")


def test_a_name_that_is_far_off(shell: LocalShell) -> None:
    shell.put("succeeded")
    assert shell.run("status", "zebra")[2] == "error: no TritonRollout 'zebra' in namespace vision; there are 'resnet50'\n"


def test_explain_and_history(shell: LocalShell) -> None:
    shell.put("succeeded-unproven")
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "resnet50.1", "namespace": "vision"},
        "eventTime": "2026-01-31T13:00:00Z",
        "reason": "Promoted",
        "note": "Version 2 on green has all traffic.",
        "type": "Normal",
        "regarding": {"kind": "TritonRollout", "name": "resnet50"},
    }
    shell.store.create(EVENT, event)
    assert "2026-01-31 13:00:00   Promoted   Version 2 on green has all traffic." in shell.run("explain", "resnet50")[1]
    assert "Promoted unproven" in shell.run("history", "resnet50")[1]
    assert json.loads(shell.run("history", "resnet50", "-o", "json")[1])["attempts"][0]["outcome"] == "Promoted"


def test_where_the_documents_are(shell: LocalShell, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    shell.put("succeeded")
    assert main(["status"]) == 2
    assert capsys.readouterr().err == (
        "error: there is no cluster and no folder to ask: no kubeconfig was found ($KUBECONFIG, ~/.kube/config) and no .lab here;"
        " name one: rollouts --kubeconfig FILE ..., or rollouts --local DIR ...\n"
    )
    monkeypatch.setenv("ROLLOUTS_LOCAL", str(shell.directory))
    assert main(["status"]) == 0
    monkeypatch.delenv("ROLLOUTS_LOCAL")
    shell.directory.rename(".lab")
    assert main(["status"]) == 0
    assert "using .lab in this folder" in capsys.readouterr().err


def test_a_folder_without_documents(shell: LocalShell, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--local", str(tmp_path / "nowhere"), "status"]) == 1
    assert "there is no rollouts.db in" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()


def test_a_store_that_does_not_answer_is_one_sentence(shell: LocalShell, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object) -> None:
        raise Unavailable("rollouts.db is locked by another process")

    monkeypatch.setattr(LocalStore, "list", locked)
    code, _, err = shell.run("status")
    assert (code, err) == (1, "error: rollouts.db is locked by another process\n")


def test_our_own_fault_asks_for_a_report(shell: LocalShell, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(LocalStore, "list", broken)
    code, _, err = shell.run("status")
    assert code == 1
    assert "Traceback" in err
    assert "Please report it" in err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["staus"], "there is no command 'staus'; there is 'status'"),
        (["trigger", "resnet50"], "required: --version"),
        (["wait", "resnet50", "--timeout", "5"], "'5' is not a duration; write it with its unit"),
        (["status", "-o", "xml"], "invalid choice: 'xml'"),
        ([], "Begin here"),
    ],
)
def test_usage(shell: LocalShell, argv: list[str], said: str) -> None:
    code, _, err = shell.run(*argv)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_options_may_stand_on_either_side(shell: LocalShell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.put("succeeded")
    assert main(["status", "--local", str(shell.directory), "--plain"]) == 0
    assert "Succeeded" in capsys.readouterr().out
