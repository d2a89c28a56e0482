"""What is typed or filed wrong: one sentence, the exit code for it, nothing written, no traceback."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rollout_controller.cluster.store import POLICY, ROLLOUT
from tests.support.shell import Shell
from tests.unit.cli.conftest import LocalShell

POLICY_TEXT = """\
apiVersion: rollouts.triton.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: mine}
spec:
  steps: [{weight: 100}]
  slos: [{name: errors, source: envoy, errorRate: {max: 1%}}]
"""
ROLLOUT_TEXT = """\
apiVersion: rollouts.triton.dev/v1alpha1
kind: TritonRollout
metadata: {name: mine}
spec: {policy: mine, route: {virtualService: v}, slots: {a: {host: a}, b: {host: b}}}
"""


def refused(shell: Shell, *words: str, code: int = 2) -> str:
    """The one error of a command line."""
    was, out, err = shell.run(*words)
    assert (was, out) == (code, ""), err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        (POLICY_TEXT, ("name: mine", "name: My_Policy"), "3  metadata.name: 'My_Policy' is not a name"),
        (POLICY_TEXT, ("name: mine", "name: a/b"), "3  metadata.name: 'a/b' is not a name"),
        (POLICY_TEXT, ("name: mine", "name: rösnet"), "3  metadata.name: 'rösnet' is not a name"),
        (POLICY_TEXT, ("name: mine", 'name: ""'), "3  metadata.name: '' is not a name"),
        (POLICY_TEXT, ("name: mine", f"name: {'r' * 254}"), "at most 253"),
        (POLICY_TEXT, ("name: mine", "name: yes"), "3  metadata.name: true was read"),
        (POLICY_TEXT, ("name: mine", "name: m, namespace: My_NS"), "3  metadata.namespace: 'My_NS' is not a namespace"),
        (POLICY_TEXT, ("{name: mine}", "[mine]"), '3  metadata: ["mine"] was read'),
        (POLICY_TEXT, ("RolloutPolicy", "rolloutpolicy"), "did you mean 'RolloutPolicy'?"),
        (POLICY_TEXT, ("RolloutPolicy", "RolloutPolcy"), "did you mean 'RolloutPolicy'?"),
        (POLICY_TEXT, ("/v1alpha1", "/v1"), "1  apiVersion: 'rollouts.triton.dev/v1' was read"),
        (POLICY_TEXT, ("kind: RolloutPolicy\n", ""), "kind: is missing"),
        (POLICY_TEXT, ("weight: 100", "weight: 0x64"), "5  spec.steps[0].weight: 0x64 is the number 100 to YAML"),
        (ROLLOUT_TEXT, ("virtualService", "virtual_service"), "did you mean 'virtualService'?"),
        (
            ROLLOUT_TEXT,
            ("policy: mine", "policy: mine, deploy: {modelRepository: {model: ../x}}"),
            "spec.deploy.modelRepository.model",
        ),
        (
            ROLLOUT_TEXT,
            ("name: mine", 'name: m, annotations: {rollouts.triton.dev/verison: "2"}'),
            "did you mean 'rollouts.triton.dev/version'?",
        ),
    ],
)
def test_documents(shell: LocalShell, tmp_path: Path, text: str, change: tuple[str, str], said: str) -> None:
    wrong, right = change
    assert wrong in text
    (tmp_path / "mine.yaml").write_text(text.replace(wrong, right), encoding="utf-8")
    err = refused(shell, "apply", "-f", str(tmp_path / "mine.yaml"))
    assert said in err
    assert err.count("mine.yaml") == 1, "one fault"
    assert len(shell.store.list(POLICY).items) == 1
    assert shell.store.list(ROLLOUT).items == ()


def test_two_documents_of_one_name(shell: LocalShell, tmp_path: Path) -> None:
    """The same one twice is harmless; of two different ones, one would be lost."""
    one, other = tmp_path / "one.yaml", tmp_path / "other.yaml"
    one.write_text(POLICY_TEXT)
    other.write_text(POLICY_TEXT.replace("1%", "2%"))
    err = refused(shell, "apply", "-f", str(one), str(other))
    assert f"{other}:3  metadata.name: RolloutPolicy default/mine is given twice, and not the same" in err
    assert f"it is in {one}:1, too" in err
    assert shell.run("apply", "-f", str(one), str(one))[0] == 0


def test_sources_of_ones_own(shell: LocalShell, tmp_path: Path) -> None:
    """A policy for a source that only --sources or local.yaml knows; `simulate` takes it, too."""
    page = (Path(__file__).parents[3] / "docs" / "sources.md").read_text()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "istio-120.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    policy = tmp_path / "policy.yaml"
    slo = "[{name: latency, source: istio-120, latency: {quantile: 0.95, max: 120ms}}]"
    policy.write_text(POLICY_TEXT.replace("[{name: errors, source: envoy, errorRate: {max: 1%}}]", slo))
    assert "'istio-120' is not a source" in refused(shell, "apply", "-f", str(policy))
    assert "there is no such folder" in refused(shell, "apply", "-f", str(policy), "--sources", str(tmp_path / "none"))
    assert shell.run("apply", "-f", str(policy), "--sources", str(tmp_path / "mine"))[0] == 0
    (shell.directory / "local.yaml").write_text("prometheus: {url: 'http://127.0.0.1:1', sources: ../mine}\ntriton: {}\n")
    assert shell.run("apply", "-f", str(policy))[0] == 0
    asked = ("simulate", "-f", str(policy), "--rps", "3", "--attempts", "1", "--processes", "1", "--harm", "outage")
    assert "'istio-120' is not a source" in refused(shell, *asked)
    assert shell.run(*asked, "--sources", str(tmp_path / "mine"))[0] == 0


def test_files_that_are_no_text(shell: LocalShell, tmp_path: Path) -> None:
    wide = tmp_path / "wide.yaml"
    wide.write_bytes(POLICY_TEXT.encode("utf-16"))
    assert f"{wide}  is not UTF-8: by its first bytes it is UTF-16" in refused(shell, "apply", "-f", str(wide))
    assert "a file's name is empty" in refused(shell, "apply", "-f", "")


def test_a_folder_that_cannot_be_one(shell: LocalShell, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(POLICY_TEXT)
    elsewhere = Shell(("--local", str(file)), shell.store, shell.capsys)
    assert "cannot hold documents: it is no folder" in refused(elsewhere, "apply", "-f", str(file))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", ""), "'' is no name of a TritonRollout; NAME or NAMESPACE/NAME"),
        (("status", "a/b/c"), "'a/b/c' is no name"),
        (("status", "/x"), "'/x' is no name"),
        (("status", "x/"), "'x/' is no name"),
        (("status", "-w", "-o", "json"), "leave out -w or -o json"),
        (("trigger", "x", "--version", "2", "--request", ""), "--request is empty"),
        (("trigger", "x", "--version", "2", "--wait", "--no-wait"), "leave one of them out"),
    ],
)
def test_words_that_mean_nothing(shell: LocalShell, words: tuple[str, ...], said: str) -> None:
    assert said in refused(shell, *words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--wtach"), "unrecognized arguments: --wtach; did you mean --watch?"),
        (("explain", "x", "--events", "-1"), "'-1' is not a number of events; a whole number from 0"),
        (("history", "x", "--attempt", "0"), "'0' is not an attempt's number; a whole number from 1"),
        (("controller", "--metrics-port", "99999"), "'99999' is not a port; a whole number from 0 to 65535"),
        (("controller", "--metrics-port", "-1"), "'-1' is not a port"),
        (("demo", "--rps", "nan"), "'nan' is not a number over 0"),
        (("demo", "--rps", "inf"), "'inf' is not a number over 0"),
        (("lab", "up", "--rps", "1e9"), "at most 10,000 requests a second"),
    ],
)
def test_options_with_impossible_values(shell: LocalShell, words: tuple[str, ...], said: str) -> None:
    assert said in refused(shell, *words)


def shell_line(line: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """A line of a shell, in which `rollouts` is this program."""
    program = f'rollouts() {{ {sys.executable} -m rollout_controller --local {directory} "$@"; }}; {line}'
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("rollouts status >&-", 0, ""),
        ("rollouts status 2>&-", 0, ""),
        ("rollouts status <&-", 0, "there is no TritonRollout"),
        ("rollouts --help >&-", 0, ""),
        ("rollouts --help >/dev/full", 1, "error: the output cannot be written: No space left on device"),
        ("rollouts list -o json >/dev/full", 1, "error: the output cannot be written: No space left on device"),
    ],
)
def test_an_output_that_takes_nothing(local: LocalShell, line: str, code: int, said: str) -> None:
    done = shell_line(line, local.directory)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert not re.search("Traceback|Exception", done.stderr)
