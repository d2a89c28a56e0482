"""Every reason code there is: what a condition, an event, a log line, the history and `rollouts explain` may give as reason.

docs/operations.md says of each what it means and what to do; a test holds the two together.
"""

from __future__ import annotations

from enum import StrEnum


class Code(StrEnum):
    """Why something is as it is. The value is what people and machines read."""

    # at rest
    IDLE = "Idle"
    ALREADY_SERVED = "AlreadyServed"
    # what a person wrote cannot be used
    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    SPEC_HELD = "SpecHeld"
    SPEC_CHANGED = "SpecChanged"
    POLICY_INVALID = "PolicyInvalid"
    INVALID_VERSION = "InvalidVersion"
    COMMAND_REFUSED = "CommandRefused"
    STATUS_LOST = "StatusLost"
    SLOT_INVALID = "SlotInvalid"
    # what the cluster will not have
    REFUSED = "Refused"
    # the route
    IN_SYNC = "InSync"
    SHIFTING = "Shifting"
    DRIFT = "Drift"
    DRIFT_REPEATS = "DriftRepeats"
    DRIFT_ABORT = "DriftAbort"
    ROUTE_UNREADABLE = "RouteUnreadable"
    ROLES_UNCLEAR = "RolesUnclear"
    HALF_DONE_FOUND = "HalfDoneFound"
    # bringing a version up
    PREPARING = "Preparing"
    LOAD_FAILED = "LoadFailed"
    LOAD_TIMEOUT = "LoadTimeout"
    STABLE_MISSES = "StableMisses"
    STABLE_LOST = "StableLost"
    # with traffic
    STEP_BEGUN = "StepBegun"
    WAITING = "Waiting"
    UNKNOWN = "Unknown"
    TOO_FEW_REQUESTS = "TooFewRequests"
    GUARD_HOLDS = "GuardHolds"
    BOTH_MISS = "BothMissObjective"
    SIGNS_OF_HARM = "SignsOfHarm"
    WAITING_FOR_PODS = "WaitingForPods"
    RETREAT = "Retreat"
    RETURNED = "Returned"
    # pauses
    NO_CAPACITY = "NoCapacity"
    PAUSED = "Paused"
    RESUMED = "Resumed"
    STEP_PAUSE = "StepPause"
    UNDECIDED_PAUSE = "UndecidedPause"
    PAUSE_RAN_OUT = "PauseRanOut"
    # ends
    PROMOTING = "Promoting"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    ERRORS_VIOLATED = "ErrorsViolated"
    LATENCY_VIOLATED = "LatencyViolated"
    HARM_CAME_BACK = "HarmCameBack"
    GUARD_OVER = "GuardOver"
    CANARY_LOST = "CanaryLost"
    BLIND_TOO_LONG = "BlindTooLong"
    UNDECIDED = "Undecided"
    STUCK = "Stuck"
    SUPERSEDED = "Superseded"
    ASKED_BACK = "AskedBack"
    ABORTED = "Aborted"
    SCALED_DOWN = "ScaledDown"
    DELETED = "Deleted"
    DELETED_RESTORED = "DeletedRestored"
    DELETED_NOT_RESTORED = "DeletedNotRestored"
    # news for people outside of the cluster
    NOT_TOLD = "NotTold"


BLOCKS = frozenset(
    {
        Code.ROUTE_UNREADABLE,
        Code.ROLES_UNCLEAR,
        Code.POLICY_INVALID,
        Code.INVALID_SPEC,
        Code.INVALID_VERSION,
        Code.SLOT_INVALID,
        Code.DRIFT,
    }
)
"""With one of these as reason at rest nothing goes on until a person has mended it; then it does by itself.

(A drift is the reason only where the policy leaves it as it is.)
"""
