"""The command line on a real LocalStore."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import POLICY
from tests.support.shell import Shell
from tests.unit.cli.gallery import POLICY as BALANCED


@pytest.fixture(autouse=True)
def nothing_around(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No documents and no kubeconfig but those of the test."""
    for variable in ("ROLLOUTS_LOCAL", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.chdir(tmp_path)


@dataclass
class LocalShell(Shell):
    """On DIR/rollouts.db."""

    directory: Path = Path()


@pytest.fixture
def shell(local: LocalShell) -> LocalShell:
    return local


@pytest.fixture
def local(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[LocalShell]:
    directory = tmp_path / "docs"
    directory.mkdir()
    store = LocalStore(directory / "rollouts.db")
    store.create(POLICY, BALANCED)
    shell = LocalShell(("--local", str(directory)), store, capsys, directory=directory)
    yield shell
    shell.join()
    store.close()
