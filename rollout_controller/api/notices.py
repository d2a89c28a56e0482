"""News of a rollout on its way to people outside of the cluster: what is still owed to whom, kept in its status."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from rollout_controller.api.meta import Model
from rollout_controller.api.quantities import Instant


class NoticeKind(StrEnum):
    """What happened."""

    STARTED = "Started"
    STEP = "Step"
    PAUSED = "Paused"
    RETREATED = "Retreated"
    ROLLED_BACK = "RolledBack"
    PROMOTED = "Promoted"
    ABORTED = "Aborted"
    STALLED = "Stalled"


class Notice(Model):
    """One piece of news, with everything that is said of it: what the status says has moved on when it is sent."""

    id: str
    """Unique in the rollout, and the same however often it is sent: receivers know it by that."""
    kind: NoticeKind
    """What happened."""
    at: Instant
    """When."""
    attempt: str = ""
    """Id of the attempt; empty: none was under way."""
    number: int = 0
    """Number of the attempt."""
    version: str | None = None
    """The version that was, or is, brought in."""
    request: str | None = None
    """The request id that CI gave with it."""
    since: Instant
    """When the attempt began; else the same as `at`."""
    code: str
    """Why, for machines."""
    headline: str
    """What, in a few words."""
    sentence: str
    """Why, with the numbers: the sentence of the status."""
    detail: str = ""
    """What it means for the traffic, with the numbers."""
    next: str = ""
    """What comes next, and what a person can do."""
    told: dict[str, str] = Field(default={})
    """Who has it, or will not get it any more: by target, its reference there (a message's time stamp, an annotation's id)."""


class Outbox(Model):
    """News that not everybody has yet, and the threads in which they are told."""

    attempt: str = ""
    """Id of the attempt that `threads` are about."""
    threads: dict[str, str] = Field(default={})
    """By target: the reference there of the attempt's first message."""
    stalled_code: str = ""
    """Why a person was called last."""
    stalled_at: Instant | None = None
    """When."""
    owed: tuple[Notice, ...] = ()
    """Oldest first."""
