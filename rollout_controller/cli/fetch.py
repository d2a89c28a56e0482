"""The only module that reads: finds the store, and the documents in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollout_controller.api.names import Key, Raw
from rollout_controller.cli.build import build
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.info import Info
from rollout_controller.cli.screen import Screen
from rollout_controller.cluster.store import EVENT, POLICY, ROLLOUT, Expired, NotFound, ObjectStore, Unavailable

DATABASE = "rollouts.db"
DEFAULT_DIRECTORY = ".lab"
ENVIRONMENT = "ROLLOUTS_LOCAL"
TICK_S = 1.0
GIVE_UP_S = 30.0
"""A store that does not answer is asked again for this long."""


@dataclass(frozen=True)
class Session:
    """What a command works with. `command` begins the commands that are proposed to the user."""

    store: ObjectStore
    screen: Screen
    namespace: str | None
    command: str
    clock: Callable[[], float] = time.time

    def info(self, rollout: Raw) -> Info:
        """The rollout with its policy, now."""
        return build(rollout, self.policy_of(rollout), self.clock())

    def policy_of(self, rollout: Raw) -> Raw | None:
        """The RolloutPolicy that a rollout names; None where there is none."""
        try:
            return self.store.get(POLICY, Key(key_of(rollout).namespace, str(rollout["spec"]["policy"])))
        except (NotFound, KeyError, TypeError):
            return None

    def rollouts(self) -> tuple[Raw, ...]:
        return self.store.list(ROLLOUT, self.namespace).items

    def find(self, name: str) -> Raw:
        """The rollout of that name, written NAME or NAMESPACE/NAME; raises CommandError with what there is instead."""
        space, _, short = name.rpartition("/")
        space = space or self.namespace or ""
        there = self.store.list(ROLLOUT, space or None).items
        found = [rollout for rollout in there if key_of(rollout).name == short]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{self.command} … {key_of(rollout)}" for rollout in found)
            raise CommandError(f"{short!r} is in {len(found)} namespaces; say which: {names}", Exit.USAGE)
        raise CommandError(_missing(short, space, [key_of(rollout) for rollout in there]))

    def events(self, rollout: Raw) -> list[Raw]:
        """What the controller told about a rollout, oldest first."""
        key = key_of(rollout)
        mine = [
            event
            for event in self.store.list(EVENT, key.namespace).items
            if isinstance(event.get("regarding"), dict) and event["regarding"].get("name") == key.name
        ]
        return sorted(mine, key=lambda event: str(event.get("eventTime") or ""))

    def follow(self, key: Key) -> Iterator[Raw]:
        """The document at once, after each change, and once a second; ends with CommandError when it is deleted."""
        silent_since: float | None = None
        while True:
            try:
                for document in self._follow_once(key):
                    silent_since = None
                    yield document
            except Unavailable:
                now = time.monotonic()
                silent_since = now if silent_since is None else silent_since
                if now - silent_since > GIVE_UP_S:
                    raise
                time.sleep(TICK_S)

    def _follow_once(self, key: Key) -> Iterator[Raw]:
        listing = self.store.list(ROLLOUT, key.namespace)
        document = next((item for item in listing.items if key_of(item) == key), None)
        since = listing.resource_version
        try:
            while document is not None:
                yield document
                for event in self.store.watch(ROLLOUT, key.namespace, since, TICK_S):
                    since = event.resource_version
                    if event.type == "BOOKMARK" or key_of(event.document) != key:
                        continue
                    document = None if event.type == "DELETED" else event.document
                    if document is None:
                        break
                    yield document
        except Expired:
            return
        raise CommandError(f"TritonRollout {key.name!r} in namespace {key.namespace} was deleted")


def key_of(document: Raw) -> Key:
    metadata: Any = document.get("metadata") or {}
    return Key(str(metadata.get("namespace") or "default"), str(metadata.get("name") or ""))


def _missing(name: str, namespace: str, there: list[Key]) -> str:
    import difflib  # noqa: PLC0415 - only a mistyped name needs it

    spaces = {key.namespace for key in there}
    where = namespace or (spaces.pop() if len(spaces) == 1 else "")
    sentence = f"no TritonRollout {name!r}" + (f" in namespace {where}" if where else "")
    close = difflib.get_close_matches(name, [key.name for key in there], n=1, cutoff=0.6)
    if close:
        return f"{sentence}; there is {close[0]!r}"
    if not there:
        return f"{sentence}; there is none at all: rollouts apply -f FILE"
    names = [repr(key.name) for key in there]
    return f"{sentence}; there are {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def local_directory(given: str | None, screen: Screen) -> Path:
    """Where the documents are: --local, else $ROLLOUTS_LOCAL, else ./.lab where a lab was started."""
    if given or os.environ.get(ENVIRONMENT):
        return Path(given or os.environ[ENVIRONMENT])
    default = Path(DEFAULT_DIRECTORY)
    if (default / DATABASE).exists():
        screen.note(f"using {DEFAULT_DIRECTORY} in this folder (--local was not given)")
        return default
    raise CommandError("a cluster is not supported yet; use --local DIR", Exit.USAGE)


def database(directory: Path) -> Path:
    """The file of an existing store; raises CommandError where there is none."""
    path = directory / DATABASE
    if not path.exists():
        raise CommandError(
            f"there is no {DATABASE} in {directory}: start a lab (rollouts lab up {directory})"
            f" or write a document (rollouts --local {directory} apply -f FILE)"
        )
    return path
