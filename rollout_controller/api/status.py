"""RolloutStatus: all that the controller remembers about a rollout, readable by people and by the next controller."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.meta import Model
from rollout_controller.api.quantities import Instant


class Phase(StrEnum):
    """Where a rollout is. The transitions are in core/states.py."""

    IDLE = "Idle"
    PREPARING = "Preparing"
    PROGRESSING = "Progressing"
    RETREATED = "Retreated"
    PAUSED = "Paused"
    PROMOTING = "Promoting"
    SUCCEEDED = "Succeeded"
    ROLLING_BACK = "RollingBack"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    STALLED = "Stalled"


class VerdictKind(StrEnum):
    """What is known about one SLO."""

    VIOLATED = "Violated"
    SATISFIED = "Satisfied"
    UNDECIDED = "Undecided"
    UNKNOWN = "Unknown"


class Reason(Model):
    """Why: a code for machines and one sentence with the numbers for people, the same everywhere."""

    code: str
    sentence: str


class Verdict(Model):
    """What is known about one SLO, with its numbers. Shares are from 0 to 1."""

    slo: str
    kind: Literal["errors", "latency"]
    verdict: VerdictKind
    unknown: str | None = None
    """Reason code when the verdict is Unknown."""
    value: float | None = None
    """Bad share of the canary's requests in this attempt."""
    interval: tuple[float, float] | None = None
    """Anytime-valid 95 % interval of it."""
    objective: float
    limit_ms: float | None = None
    """For latency: slower than this is bad."""
    requests: int = 0
    bad: int = 0
    stable_value: float | None = None
    stable_requests: int = 0
    stable_bad: int = 0
    false_alarm: float = 1.0
    """Anytime p-value: the chance that this much evidence of harm comes from a version that meets the objective."""
    requests_needed: int | None = None
    """About how many more canary requests until Satisfied at the present rate of bad ones; None: unknown."""
    common_cause: bool = False
    """Both versions miss the objective: the canary is not blamed, and nothing goes on."""
    sentence: str = ""


class GuardReading(Model):
    """What is known about one guard. Shares are from 0 to 1."""

    guard: str
    state: Literal["fine", "over", "unknown"]
    value: float | None = None
    stable_value: float | None = None
    limit: float
    over_since: Instant | None = None
    sentence: str = ""


class SlotWeight(Model):
    """Share of the route in percent: what we want and what the VirtualService says."""

    desired: int | None = None
    observed: int | None = None


class SlotStatus(Model):
    """One slot: version, role and share."""

    version: str | None = None
    role: Literal["stable", "canary", "idle"] = "idle"
    weight: SlotWeight = SlotWeight()
    ready: bool | None = None
    replicas: int | None = None
    """Pods asked for, where a workload is named."""
    ready_replicas: int | None = None
    """Pods of the workload's newest template that serve."""
    message: str = ""


class StepDone(Model):
    """A step that lies behind."""

    weight: int
    seconds: float
    unproven: bool = False


Outcome = Literal["Promoted", "RolledBack", "Aborted", "Superseded", "Failed"]


class Attempt(Model):
    """One try at bringing one version in."""

    id: str
    number: int
    version: str
    request: str | None = None
    slot: str
    started_at: Instant
    step: int = -1
    """Index into the policy's steps; -1 while preparing."""
    weight: int = 0
    weight_set_at: Instant | None = None
    """When this step's weight was decided."""
    step_started_at: Instant | None = None
    """When this step's weight was first seen on the route: the step clock."""
    first_traffic_at: Instant | None = None
    steps_done: tuple[StepDone, ...] = ()
    go_full: bool = False
    """`promote --full`: no further step waits."""
    go_next: bool = False
    """A person asked for the next step: it waits for its pods only."""
    next_weight: int | None = None
    """The weight whose pods are being brought up before traffic moves."""
    growing_since: Instant | None = None
    """Since when the next step waits for its pods."""
    stable_replicas: int | None = None
    """The most replicas that stable was seen with in this attempt: what all the traffic needs."""
    unknown_since: Instant | None = None
    paused_at: Instant | None = None
    resume_to: Literal["step", "next"] = "step"
    """In Paused: whether the step is done, so that a resume goes on to the next."""
    lost_since: Instant | None = None
    """Since when the canary's slot says that it does not run the version."""
    stuck_since: Instant | None = None
    """Since when something outside (route, policy, slot) keeps us from going on."""
    last_sample_at: Instant | None = None
    """End of the newest window that was judged."""
    requests_before_step: int = 0
    """Canary requests of the attempt when this step began."""
    ending: Outcome | None = None
    """While traffic is being taken off: how the attempt ends when it is."""
    pause_ends_at: Instant | None = None
    """In Paused: when it ends by itself, resumed or rolled back."""


class AttemptRecord(Model):
    """An attempt that is over."""

    id: str
    number: int
    version: str
    from_version: str | None = None
    request: str | None = None
    slot: str
    started_at: Instant
    first_traffic_at: Instant | None = None
    ended_at: Instant
    outcome: Outcome
    reason: Reason
    steps_done: tuple[StepDone, ...] = ()
    weight: int = 0
    """Canary's weight when it ended (before traffic was moved)."""
    requests: int = 0
    bad: int = 0
    """Bad canary requests, of the SLO that had most of them."""
    last_sample_at: Instant | None = None
    traffic_off_at: Instant | None = None
    """When the weights of the route were seen without the canary."""


class Condition(Model):
    """A Kubernetes condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    last_transition_time: Instant
    observed_generation: int = 0


class RolloutStatus(Model):
    """Status of a TritonRollout."""

    observed_generation: int = 0
    observed_version: str | None = None
    observed_request: str | None = None
    observed_command: str | None = None
    """Echo of the command annotation, once it was taken up."""
    command_done: bool = False
    """Whether it was done; False: refused."""
    command_result: str | None = None
    """What became of that command: one sentence."""
    phase: Phase = Phase.IDLE
    attempt: Attempt | None = None
    stable_slot: str | None = None
    slots: dict[str, SlotStatus] = Field(default={})
    verdicts: tuple[Verdict, ...] = ()
    guards: tuple[GuardReading, ...] = ()
    reason: Reason | None = None
    next_check_at: Instant | None = None
    """In an attempt: this status is written again by then; much later means that no controller is looking."""
    conditions: tuple[Condition, ...] = ()
    judge: JudgeState | None = None
    judge_written_at: Instant | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    """The last ten, newest first."""
    attempt_count: int = 0
