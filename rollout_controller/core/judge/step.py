"""What the judge must know of an attempt, and which weight a window of counts belongs to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from rollout_controller.core.observation import Window
from rollout_controller.core.rounding import rounded


@dataclass(frozen=True)
class StepView:
    """Where an attempt is. Times are seconds since 1970, weights percent."""

    attempt_started_at: float
    first_traffic_at: float | None
    """When the canary first got weight."""
    step: int
    """Index into the policy's steps."""
    step_started_at: float | None
    """When this step's weight was first seen on the route; None while it was not."""
    weight: int
    next_weight: int
    """Of the next step; 100 for the last."""
    planned_s: float
    """Planned seconds of the whole attempt."""
    retreat: bool = False
    """Whether users are taken out of the way on sudden strong harm."""
    retreats: int = 0
    """How often they were, in this attempt."""
    left_at: float | None = None
    """When they last were, in this step: from then until `step_started_at` (None: until now) the canary had no traffic."""
    design_effect: float = 1.0
    """Variance of the counts over that of independent requests, as far as known beforehand; at least 1."""

    def to_milliseconds(self) -> StepView:
        """The same with whole milliseconds, as status keeps them."""
        first = None if self.first_traffic_at is None else rounded(self.first_traffic_at, 1e3)
        started = None if self.step_started_at is None else rounded(self.step_started_at, 1e3)
        left = None if self.left_at is None else rounded(self.left_at, 1e3)
        if (first, started, left) == (self.first_traffic_at, self.step_started_at, self.left_at):
            return self
        return replace(self, first_traffic_at=first, step_started_at=started, left_at=left)


class Place(Enum):
    """Where a window lies."""

    BEFORE = auto()
    """It starts before the canary had traffic: it says something about stable only."""
    EARLIER_STEP = auto()
    ACROSS = auto()
    """The weight changed within it: its canary requests are counted, but are evidence for neither step."""
    AWAY = auto()
    """In a retreat: no traffic, so that it says something about stable only."""
    THIS_STEP = auto()


def place(window: Window, step: StepView) -> Place:
    """Which weight the window belongs to."""
    if step.first_traffic_at is None or window.start < step.first_traffic_at:
        return Place.BEFORE
    if step.left_at is not None and window.end > step.left_at:
        if window.start < step.left_at:
            return Place.ACROSS
        if step.step_started_at is None or window.end <= step.step_started_at:
            return Place.AWAY
    elif step.step_started_at is None or window.end <= step.step_started_at:
        return Place.EARLIER_STEP
    return Place.ACROSS if window.start < step.step_started_at else Place.THIS_STEP
