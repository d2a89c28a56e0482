"""Writes of a route, for tests and for the processes they start: it imports next to nothing."""

from __future__ import annotations

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.store import VIRTUAL_SERVICE, Conflict, ObjectStore


def set_weights(store: LocalStore, blue: int, green: int) -> Raw:
    """All weights of the test's route in one patch."""
    return store.patch(
        VIRTUAL_SERVICE,
        Key("vision", "triton"),
        [
            {"op": "replace", "path": "/spec/http/0/route/0/weight", "value": blue},
            {"op": "replace", "path": "/spec/http/0/route/1/weight", "value": green},
        ],
    )


def increment(store: ObjectStore, key: Key, times: int) -> None:
    """Adds 1 to an annotation, again and again, by patch with `test`."""
    path = "/metadata/annotations/example.com~1n"
    for _ in range(times):
        while True:
            n = store.get(VIRTUAL_SERVICE, key)["metadata"]["annotations"]["example.com/n"]
            try:
                store.patch(
                    VIRTUAL_SERVICE,
                    key,
                    [{"op": "test", "path": path, "value": n}, {"op": "replace", "path": path, "value": str(int(n) + 1)}],
                )
            except Conflict:
                continue
            break
