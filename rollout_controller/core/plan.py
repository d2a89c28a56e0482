"""What `decide` returns: the next status, the few kinds of action, when to look again, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rollout_controller.api.status import Reason, RolloutStatus
from rollout_controller.core.calm import Calm
from rollout_controller.core.observation import Mark


@dataclass(frozen=True)
class SetWeights:
    """Patch the route: percent by slot, with our mark in the same patch."""

    weights: Mapping[str, int]
    mark: Mark


@dataclass(frozen=True)
class WriteStatus:
    """Write the plan's status to the store."""


@dataclass(frozen=True)
class LoadVersion:
    """Load and pin `version` in `slot` through Triton's repository API; idempotent, answered by the next observation."""

    slot: str
    version: str


@dataclass(frozen=True)
class WarmUp:
    """Send a warm-up request to `version` in `slot`."""

    slot: str
    version: str


@dataclass(frozen=True)
class SetImage:
    """Set the image of the slot's workload to that of `version`; idempotent, answered by later observations."""

    slot: str
    version: str


@dataclass(frozen=True)
class Scale:
    """Set the replicas of the slot's workload, with our note of it in the same patch."""

    slot: str
    replicas: int
    note: str


@dataclass(frozen=True)
class Tell:
    """Something people should hear about; told after what moves traffic, never in the way. `dedup` makes it told once."""

    code: str
    sentence: str
    dedup: str
    warning: bool = False
    again: bool = False
    """It may happen more than once: then the event that told it counts on (its series)."""
    drift: bool = False
    """Somebody else had a hand on the route."""
    news: bool = False
    """It is known to be new, also where its code is the status' reason already."""
    quiet: bool = False
    """Told before or elsewhere as well: an event that is missing is written, and nothing else."""
    attempt: str = ""
    """Id of the attempt that it is about; empty: none."""


Deed = LoadVersion | WarmUp | SetImage | Scale
"""What is done to a slot."""
Action = SetWeights | WriteStatus | Deed | Tell


@dataclass(frozen=True)
class Plan:
    """One turn's result.

    The actions are performed in this order; the first that fails ends the turn, and the next turn decides anew.
    """

    status: RolloutStatus
    actions: tuple[Action, ...]
    look_again: float
    """Seconds since 1970."""
    reason: Reason
    calm: Calm | None = None
    """Which news can wait until then; None: all of it is looked at at once."""
