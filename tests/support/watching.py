"""A DocumentCache under observation: what it holds, and every state that it told of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.cache import DocumentCache
from rollout_controller.cluster.store import Kind, ObjectStore


class Watched:
    """`told`: for each key the resourceVersions that were seen, in order; -1 when it was gone."""

    def __init__(self, store: ObjectStore, kind: Kind, namespace: str | None) -> None:
        self.kind = kind
        self.told: dict[Key, list[int]] = {}
        self.deaths: list[BaseException] = []
        self.cache = DocumentCache(
            store, (kind,), on_change=self._changed, on_death=lambda _name, error: self.deaths.append(error), namespace=namespace
        )

    @property
    def documents(self) -> dict[str, Raw]:
        """By name."""
        held = ((key.name, self.cache.get(self.kind, key)) for key in self.cache.keys(self.kind))
        return {name: document for name, document in held if document is not None}

    @property
    def problem(self) -> str:
        return self.cache.problem(self.kind) or ""

    @property
    def age(self) -> float:
        return self.cache.age(self.kind)

    def holds(self, truth: Callable[[], dict[str, Raw]], seconds: float = 120) -> None:
        """Waits until it holds exactly what is true, and checks that nothing was told twice or out of order."""
        soon(lambda: self.documents == truth(), seconds, lambda: f"held {_versions(self.documents)}, true {_versions(truth())}")
        soon(lambda: self.problem == "", seconds, lambda: self.problem)
        for key, versions in self.told.items():
            lived = [version for version in versions if version >= 0]
            assert lived == sorted(set(lived)), f"{key} was told of as {versions}"
            assert (versions[-1] >= 0) == (key.name in self.documents)
        assert self.deaths == []

    def _changed(self, kind: Kind, key: Key) -> None:
        document = self.cache.get(kind, key)
        self.told.setdefault(key, []).append(int(document["metadata"]["resourceVersion"]) if document else -1)


@contextmanager
def watched(store: ObjectStore, kind: Kind, namespace: str | None) -> Iterator[Watched]:
    """Started, and stopped at the end."""
    seen = Watched(store, kind, namespace)
    seen.cache.start()
    try:
        yield seen
    finally:
        seen.cache.stop()


def soon(
    what: Callable[[], bool], seconds: float = 120, otherwise: Callable[[], str] = lambda: "", *, most_s: float = 0.1
) -> None:
    """Waits until something is so; fails when it is not in time.

    It asks more and more seldom, until `most_s` lie between two looks: looking, too, takes time from what is waited for.
    """
    ends, pause_s = time.monotonic() + seconds, 0.02
    while not what():
        assert time.monotonic() < ends, f"it did not happen in time: {otherwise()}"
        time.sleep(pause_s)
        pause_s = min(1.5 * pause_s, most_s)


def _versions(documents: dict[str, Raw]) -> dict[str, str]:
    return {name: document["metadata"]["resourceVersion"] for name, document in documents.items()}
