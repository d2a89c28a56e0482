"""The command line in this process, on a real store; the test plays the controller."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from rollout_controller.api.names import Key, Raw
from rollout_controller.cli.main import main
from rollout_controller.cluster.store import ROLLOUT, Conflict, ObjectStore
from tests.unit.cli.gallery import SCENES


@dataclass
class Shell:
    """Runs commands with `options` in front, and plays the controller through `store`."""

    options: tuple[str, ...]
    store: ObjectStore
    capsys: pytest.CaptureFixture[str]
    namespace: str = "vision"
    _threads: list[threading.Thread] = field(default_factory=list)

    def run(self, *argv: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        self.capsys.readouterr()
        try:
            code = main([*self.options, *argv])
        except SystemExit as exit_:  # argparse ends the process itself
            code = int(exit_.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err

    def put(self, scene: str, name: str = "resnet50", namespace: str | None = None) -> Raw:
        """A rollout of the gallery, as a controller left it."""
        namespace = namespace or self.namespace
        raw = SCENES[scene].rollout
        document = {**raw, "metadata": {**raw["metadata"], "name": name, "namespace": namespace}}
        status = document.pop("status", None)
        made = self.store.create(ROLLOUT, document)
        if status is not None:
            made = self.store.replace_status(ROLLOUT, Key(namespace, name), status, made["metadata"]["resourceVersion"])
        return made

    def rollout(self, name: str = "resnet50") -> Raw:
        return self.store.get(ROLLOUT, Key(self.namespace, name))

    def annotation(self, name: str) -> Any:
        return self.rollout()["metadata"]["annotations"].get(f"rollouts.triton.dev/{name}")

    def set_status(self, **changes: Any) -> None:
        """Write fields of the status, as a controller does."""
        while True:
            document = self.rollout()
            status = {k: v for k, v in {**document.get("status", {}), **changes}.items() if v is not None}
            try:
                key = Key(self.namespace, "resnet50")
                self.store.replace_status(ROLLOUT, key, status, document["metadata"]["resourceVersion"])
            except Conflict:
                continue
            return

    def when(self, asked: Callable[[Raw], bool], then: Callable[[Raw], None]) -> None:
        """In the background: once the document is as `asked` says, do `then`."""

        def play() -> None:
            ends = time.monotonic() + 10
            while time.monotonic() < ends:
                document = self.rollout()
                if asked(document):
                    then(document)
                    return
                time.sleep(0.01)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(timeout=10)
            assert not thread.is_alive()
