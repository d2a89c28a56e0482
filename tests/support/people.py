"""Other people beside a test: with their own rights, in threads, and at command lines of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube
from tests.support.shell import Shell

ROOT = Path(__file__).parents[2]


@contextmanager
def started(shell: Shell, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own, ended at the end of the block at the latest."""
    process = subprocess.Popen(
        [sys.executable, "-m", "rollout_controller", *shell.options, *argv],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def allow(kube: Kube, namespace: str, name: str, rights: list[tuple[Any, list[str]]], *, user: bool = False) -> None:
    """Give rights in a namespace: to a user, or to a service account of that namespace."""
    rules = [
        {"apiGroups": [kind.api_version.partition("/")[0]], "resources": [kind.plural], "verbs": verbs} for kind, verbs in rights
    ]
    group = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": name, "namespace": namespace}}
    subject: Raw = {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": name}
    if not user:
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
    kube.apply({**group, "kind": "Role", "rules": rules})
    kube.apply({**group, "kind": "RoleBinding", "roleRef": reference, "subjects": [subject]})


class playing:  # noqa: N801 - a context manager, read as a verb
    """Other people, each in a thread, while the block runs; at its end they must be through without an error."""

    def __init__(self, *people: Callable[[], None]) -> None:
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(person,), daemon=True) for person in people]

    def _run(self, person: Callable[[], None]) -> None:
        try:
            person()
        except BaseException as error:  # noqa: BLE001 - shown by the test that started it
            self._errors.append(error)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join(timeout=180)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self._errors == []
