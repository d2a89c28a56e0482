"""apply: every fault at once and nothing written, or every document created, configured or unchanged."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.api.names import Key, Raw
from rollout_controller.cli.apply import KINDS
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE, NotFound
from tests.unit.cli.conftest import LocalShell
from tests.unit.cli.gallery import POLICY as BALANCED
from tests.unit.cli.gallery import rollout

HEAD = "apiVersion: rollouts.triton.dev/v1alpha1\nkind: TritonRollout\n"
ROOT = Path(__file__).parents[3]


def written(tmp_path: Path, *documents: object, name: str = "mine.yaml") -> str:
    path = tmp_path / name
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    return str(path)


def test_created_unchanged_configured(shell: LocalShell, tmp_path: Path) -> None:
    file = written(tmp_path, rollout(), {**BALANCED, "metadata": {"name": "mine", "namespace": "vision"}})
    assert shell.run("apply", "-f", file) == (0, "rolloutpolicy/mine created\ntritonrollout/resnet50 created\n", "")
    assert shell.run("apply", "-f", file)[1] == "rolloutpolicy/mine unchanged\ntritonrollout/resnet50 unchanged\n"
    changed = rollout()
    changed["spec"]["policy"] = "mine"
    assert shell.run("apply", "-f", written(tmp_path, changed))[1] == "tritonrollout/resnet50 configured\n"
    assert shell.rollout()["spec"]["policy"] == "mine"


def test_annotations_and_status_that_the_file_does_not_have_are_kept(shell: LocalShell, tmp_path: Path) -> None:
    shell.put("progressing")
    document = rollout(version=None, request=None)
    document["metadata"]["annotations"] = {"team": "vision"}
    assert shell.run("apply", "-f", written(tmp_path, document))[1] == "tritonrollout/resnet50 configured\n"
    assert shell.annotation("version") == "2"
    assert shell.rollout()["metadata"]["annotations"]["team"] == "vision"
    assert shell.rollout()["status"]["phase"] == "Progressing"


def test_stdin_and_the_namespace_option(shell: LocalShell, monkeypatch: pytest.MonkeyPatch) -> None:
    document = rollout()
    del document["metadata"]["namespace"]
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(document)))
    assert shell.run("-n", "speech", "apply", "-f", "-")[0] == 0
    assert shell.store.get(ROLLOUT, Key("speech", "resnet50"))


def test_all_faults_at_once_each_with_its_line_and_nothing_is_written(shell: LocalShell, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        """\
apiVersion: rollouts.triton.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: good}
spec:
  steps: [{weight: 100}]
  slos: [{name: errors, source: envoy, errorRate: {max: 1%}}]
---
apiVersion: rollouts.triton.dev/v1alpha1
kind: RolloutPolicy
metadata: {name: mine}
spec:
  steps: [{weight: 10}, {weight: 101}]
  slos:
    - name: errors
      source: envoy
      errorRate: {max: 5}
---
apiVersion: rollouts.triton.dev/v1alpha1
kind: TritonRollout
metadata: {name: resnet50}
spec:
  policy: mine
  route: {virtualService: triton}
  slots:
    blue: {host: triton}
    green: {host: triton}
"""
    )
    code, out, err = shell.run("apply", "-f", str(path), "-f", str(tmp_path / "nothing.yaml"))
    assert (code, out) == (2, "")
    assert f"{path}:12  spec.steps[1].weight" in err
    assert f"{path}:16  spec.slos[0].errorRate.max: 5 is not a percentage" in err
    assert f"{path}:24  spec.slots" in err
    assert "nothing.yaml  cannot be read" in err
    with pytest.raises(NotFound):
        shell.store.get(POLICY, Key("default", "good"))


def test_a_limit_that_is_no_bucket_edge(shell: LocalShell, tmp_path: Path) -> None:
    slos = [{"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "123ms"}}]
    policy = {**BALANCED, "spec": {"steps": [{"weight": 100}], "slos": slos}}
    code, _, err = shell.run("apply", "-f", written(tmp_path, policy))
    assert code == 2
    assert "spec.slos[0].latency.max: 123ms is not a bucket edge of source 'envoy'" in err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "is not YAML"),
        ("a: 1\na: 2\n", "mine.yaml:2  a: is given twice"),
        ("- 1\n", "is no document"),
        ("kind: Deployment\napiVersion: apps/v1\nmetadata: {name: x}\n", "mine.yaml:1  kind: 'Deployment' of 'apps/v1' was read"),
        (HEAD, "metadata: is missing"),
        (f"{HEAD}metadata: {{name: x, wrong: y}}\nspec: {{}}\n", "spec.policy: is missing"),
        ("a: &a [*a]\n", "mine.yaml"),
        ("? [a, b]\n: c\n", "is not YAML"),
        ("a: !!python/object:os.system {}\n", "is not YAML"),
        ("", "there is no document in these files"),
        ("\x00", "is not YAML"),
    ],
)  # fmt: skip
def test_what_people_write(shell: LocalShell, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    code, out, err = shell.run("apply", "-f", str(tmp_path / "mine.yaml"))
    assert (code, out) == (2, ""), err
    assert said in err
    assert "Traceback" not in err


def test_aliases_cannot_blow_up(shell: LocalShell, tmp_path: Path) -> None:
    """Nine levels of nine: 387 million nodes, were each alias followed."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "mine.yaml").write_text("\n".join([*levels, "kind: Bomb"]))
    assert shell.run("apply", "-f", str(tmp_path / "mine.yaml"))[0] == 2


def test_dry_run_writes_nothing(shell: LocalShell, tmp_path: Path) -> None:
    assert shell.run("apply", "--dry-run", "-f", written(tmp_path, rollout()))[1] == "tritonrollout/resnet50 created (dry run)\n"
    with pytest.raises(NotFound):
        shell.rollout()


def test_somebody_else_writes_in_between(shell: LocalShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.put("progressing")
    replace, left = LocalStore.replace, [2]

    def contested(self: LocalStore, *args: Any) -> Raw:
        if left[0]:
            left[0] -= 1
            shell.set_status(observedCommand=f"x {left[0]}")
        return replace(self, *args)

    monkeypatch.setattr(LocalStore, "replace", contested)
    document = rollout()
    document["spec"]["policy"] = "other"
    assert shell.run("apply", "-f", written(tmp_path, document))[1] == "tritonrollout/resnet50 configured\n"
    assert shell.rollout()["status"]["observedCommand"] == "x 0"


def test_the_documents_of_this_repository(shell: LocalShell) -> None:
    everything = [path for folder in ("policies", "mesh") for path in (ROOT / folder).glob("*.yaml")]
    ours = {kind.name for kind in KINDS}  # Deployments, Gateways and DestinationRules are for kubectl
    paths = sorted(str(path) for path in everything if ours >= {d["kind"] for d in yaml.safe_load_all(path.read_text())})
    code, out, err = shell.run("apply", "-f", *paths)
    assert (code, err) == (0, ""), err
    assert len(out.splitlines()) == len(paths) > 8


def test_a_route_reaches_envoys_file_with_the_document(shell: LocalShell) -> None:
    (shell.directory / "local.yaml").write_text("prometheus: {url: 'http://127.0.0.1:9'}\ntriton: {}\n")
    assert shell.run("apply", "-f", str(ROOT / "mesh" / "virtualservice.yaml"))[0] == 0
    assert shell.store.list(VIRTUAL_SERVICE).items
    assert (shell.directory / "envoy" / "rds" / "rds.yaml").exists()


def test_a_route_that_envoy_cannot_take(shell: LocalShell, tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "mesh" / "virtualservice.yaml").read_text())
    for destination in document["spec"]["http"][0]["route"]:
        destination["weight"] = 0
    code, _, err = shell.run("apply", "-f", written(tmp_path, document))
    assert code == 2
    assert "spec.http[0].route: the weights sum to 0" in err
