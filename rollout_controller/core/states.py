"""Phases and the one transition table: what can follow what, and on which event."""

from __future__ import annotations

from enum import StrEnum

from rollout_controller.api.status import Phase


class Event(StrEnum):
    """What moves a rollout from one phase to another."""

    ASKED = "a version is asked for"
    ALREADY_SERVED = "the version asked for is the stable one"
    READY = "the version is ready in its slot"
    LOAD_FAILED = "the version cannot be brought up"
    STEP = "a step is done, the next begins"
    LAST_STEP_DONE = "the last step is done"
    PROMOTED = "all traffic is seen on the new version"
    LEAVE = "traffic must go back to stable"
    TRAFFIC_OFF = "no traffic is left on the canary: rolled back"
    TRAFFIC_OFF_ABORTED = "no traffic is left on the canary: aborted"
    TRAFFIC_OFF_SUPERSEDED = "no traffic is left on the canary: another version is asked for"
    RETREAT = "users out of the way, the version is judged later"
    RETURN = "the cool-down is over"
    RETURN_PAUSED = "the cool-down is over, and it was paused before"
    PAUSE = "a person or the policy pauses"
    RESUME = "the pause ends"
    BLOCKED = "something only a person can mend is in the way"
    UNBLOCKED = "nothing is in the way any more"


RESTING = frozenset({Phase.IDLE, Phase.SUCCEEDED, Phase.ROLLED_BACK, Phase.ABORTED, Phase.STALLED})
"""No attempt is under way."""

ON_TRAFFIC = frozenset({Phase.PROGRESSING, Phase.PAUSED, Phase.PROMOTING, Phase.RETREATED})
"""The canary has traffic, or is about to have it again."""

TRANSITIONS: dict[tuple[Phase, Event], Phase] = {
    **{(phase, Event.ASKED): Phase.PREPARING for phase in RESTING},
    **{(phase, Event.ALREADY_SERVED): Phase.SUCCEEDED for phase in RESTING},
    **{(phase, Event.BLOCKED): Phase.STALLED for phase in RESTING},
    (Phase.STALLED, Event.UNBLOCKED): Phase.IDLE,
    (Phase.PREPARING, Event.READY): Phase.PROGRESSING,
    (Phase.PREPARING, Event.LOAD_FAILED): Phase.STALLED,
    (Phase.PROGRESSING, Event.STEP): Phase.PROGRESSING,
    (Phase.PROGRESSING, Event.LAST_STEP_DONE): Phase.PROMOTING,
    (Phase.PROMOTING, Event.PROMOTED): Phase.SUCCEEDED,
    **{(phase, Event.LEAVE): Phase.ROLLING_BACK for phase in (*sorted(ON_TRAFFIC), Phase.PREPARING)},
    (Phase.ROLLING_BACK, Event.TRAFFIC_OFF): Phase.ROLLED_BACK,
    (Phase.ROLLING_BACK, Event.TRAFFIC_OFF_ABORTED): Phase.ABORTED,
    (Phase.ROLLING_BACK, Event.TRAFFIC_OFF_SUPERSEDED): Phase.IDLE,
    **{(phase, Event.BLOCKED): Phase.STALLED for phase in (Phase.ROLLING_BACK, *sorted(ON_TRAFFIC), Phase.PREPARING)},
    (Phase.PROGRESSING, Event.PAUSE): Phase.PAUSED,
    (Phase.PAUSED, Event.RESUME): Phase.PROGRESSING,
    (Phase.PROGRESSING, Event.RETREAT): Phase.RETREATED,
    (Phase.PAUSED, Event.RETREAT): Phase.RETREATED,
    (Phase.RETREATED, Event.RETURN): Phase.PROGRESSING,
    (Phase.RETREATED, Event.RETURN_PAUSED): Phase.PAUSED,
}


class IllegalEvent(Exception):
    """An event that cannot happen in a phase: a fault of ours, never of the outside."""


def transition(phase: Phase, event: Event) -> Phase:
    """The phase after `event`; raises IllegalEvent and changes nothing when the table has no such row."""
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise IllegalEvent(f"{event.name} in phase {phase}") from None
