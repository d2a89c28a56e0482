"""PURE: what kind of trouble an exception is, by its class, never by its text."""

from __future__ import annotations

from typing import Literal

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.cluster.fence import LeadershipLost
from rollout_controller.cluster.store import AlreadyExists, Conflict, Expired, NotFound, Refused, Unavailable
from rollout_controller.mesh import RouteProblem
from rollout_controller.triton.errors import TritonRefused, TritonUnreachable

Trouble = Literal["stalled", "waiting", "transient", "conflict", "lost", "bug"]
"""`stalled`: a person must act. `waiting`: time brings it, look again at the usual pace. `transient`: again, after a back-off.
`conflict`: somebody wrote in between, read and decide anew at once. `lost`: another process leads, this one ends. `bug`: ours."""

_KINDS: tuple[tuple[type[BaseException], Trouble], ...] = (
    (LeadershipLost, "lost"),
    (Conflict, "conflict"),
    (AlreadyExists, "conflict"),
    (NotFound, "waiting"),
    (Unavailable, "transient"),
    (Expired, "transient"),
    (TritonUnreachable, "transient"),
    (Refused, "stalled"),
    (TritonRefused, "stalled"),
    (InvalidDocument, "stalled"),
    (RouteProblem, "stalled"),
)


def classify(error: BaseException) -> Trouble:
    """The kind of trouble; anything that nobody foresaw is a bug."""
    return next((trouble for kind, trouble in _KINDS if isinstance(error, kind)), "bug")
