"""RolloutStatus: all that the controller remembers about a rollout, readable by people and by the next controller."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from rollout_controller.api.evidence import JudgeState
from rollout_controller.api.meta import Model
from rollout_controller.api.notices import Outbox
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
    """For machines, for example StepBegun."""
    sentence: str
    """For people, with the numbers."""


class Verdict(Model):
    """What is known about one SLO, with its numbers. Shares are from 0 to 1."""

    slo: str
    """Name of the SLO in the policy."""
    kind: Literal["errors", "latency"]
    """What it asks about."""
    verdict: VerdictKind
    """What is known now."""
    unknown: str | None = None
    """Reason code when the verdict is Unknown."""
    value: float | None = None
    """Bad share of the canary's requests in this attempt."""
    interval: tuple[float, float] | None = None
    """Anytime-valid 95 % interval of it."""
    objective: float
    """Largest share of bad requests that the SLO allows."""
    limit_ms: float | None = None
    """For latency: slower than this is bad."""
    requests: int = 0
    """The canary's requests in this attempt."""
    bad: int = 0
    """Bad ones among them."""
    stable_value: float | None = None
    """Bad share of stable's requests in the same windows."""
    stable_requests: int = 0
    """Stable's requests in the same windows."""
    stable_bad: int = 0
    """Bad ones among them."""
    false_alarm: float = 1.0
    """Anytime p-value: the chance that this much evidence of harm comes from a version that meets the objective."""
    requests_needed: int | None = None
    """About how many more canary requests until Satisfied at the present rate of bad ones; None: unknown."""
    common_cause: bool = False
    """Both versions miss the objective: the canary is not blamed, and nothing goes on."""
    sentence: str = ""
    """All of it for people."""


class GuardReading(Model):
    """What is known about one guard. Shares are from 0 to 1."""

    guard: str
    """Name of the guard in the policy."""
    state: Literal["fine", "over", "unknown"]
    """Whether the canary is over the limit."""
    value: float | None = None
    """The canary's."""
    stable_value: float | None = None
    """Stable's."""
    limit: float
    """More than this is over."""
    over_since: Instant | None = None
    """Since when the canary is over the limit without a break."""
    sentence: str = ""
    """All of it for people."""


class SlotWeight(Model):
    """Share of the route in percent: what we want and what the VirtualService says."""

    desired: int | None = None
    """What the controller wants."""
    observed: int | None = None
    """What the VirtualService says."""


class SlotStatus(Model):
    """One slot: version, role and share."""

    version: str | None = None
    """The version that it runs, as far as known."""
    role: Literal["stable", "canary", "idle"] = "idle"
    """What it is in the present attempt."""
    weight: SlotWeight = SlotWeight()
    """Its share of the route in percent."""
    ready: bool | None = None
    """Whether the version is ready to serve there."""
    replicas: int | None = None
    """Pods asked for, where a workload is named."""
    ready_replicas: int | None = None
    """Pods of the workload's newest template that serve."""
    message: str = ""
    """What there is to say about it."""


class StepDone(Model):
    """A step that lies behind."""

    weight: int
    """The canary's share in percent."""
    seconds: float
    """How long it lasted."""
    unproven: bool = False
    """It ended without a verdict."""


Outcome = Literal["Promoted", "RolledBack", "Aborted", "Superseded", "Failed"]


class Attempt(Model):
    """One try at bringing one version in."""

    id: str
    """Unique among the attempts of the rollout."""
    number: int
    """Counts the attempts of the rollout, from 1."""
    version: str
    """The version that is brought in."""
    request: str | None = None
    """The request id that CI gave with it."""
    slot: str
    """The slot that it comes into: the canary."""
    started_at: Instant
    """When the attempt began."""
    step: int = -1
    """Index into the policy's steps; -1 while preparing."""
    weight: int = 0
    """The canary's share in percent that was decided last."""
    weight_set_at: Instant | None = None
    """When this step's weight was decided."""
    step_started_at: Instant | None = None
    """When this step's weight was first seen on the route: the step clock."""
    first_traffic_at: Instant | None = None
    """When the canary was first seen with traffic."""
    steps_done: tuple[StepDone, ...] = ()
    """Steps that lie behind, in their order."""
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
    """Since when some SLO has been Unknown without a break."""
    paused_at: Instant | None = None
    """In Paused: since when."""
    resume_to: Literal["step", "next"] = "step"
    """In Paused: whether the step is done, so that a resume goes on to the next."""
    step_pause: bool = False
    """In Paused: it is the step's own pause with a duration, which goes on when it ends."""
    lost_since: Instant | None = None
    """Since when the canary's slot says that it does not run the version."""
    stuck_since: Instant | None = None
    """Since when something outside (route, policy, slot) keeps us from going on."""
    last_sample_at: Instant | None = None
    """End of the newest window that was judged."""
    requests_before_step: int = 0
    """Canary requests of the attempt when this step began."""
    retreats: int = 0
    """How often users were taken out of the way."""
    strikes: int = 0
    """How often in a row the harm was there as soon as the users were."""
    back_to: int | None = None
    """In Retreated: the weight that is tried again."""
    returns_at: Instant | None = None
    """In Retreated: when."""
    left_at: Instant | None = None
    """When users were last taken out of the way in this step."""
    held_before: float = 0.0
    """Seconds of this step before that: its clock stands still while they are."""
    ending: Outcome | None = None
    """While traffic is being taken off: how the attempt ends when it is."""
    pause_ends_at: Instant | None = None
    """In Paused: when it ends by itself, resumed or rolled back."""


class AttemptRecord(Model):
    """An attempt that is over."""

    id: str
    """Unique among the attempts of the rollout."""
    number: int
    """Counts the attempts of the rollout, from 1."""
    version: str
    """The version that was to be brought in."""
    from_version: str | None = None
    """The version that stable ran."""
    request: str | None = None
    """The request id that CI gave with it."""
    slot: str
    """The slot that it came into."""
    started_at: Instant
    """When the attempt began."""
    first_traffic_at: Instant | None = None
    """When the canary was first seen with traffic."""
    ended_at: Instant
    """When the attempt was over."""
    outcome: Outcome
    """How it ended."""
    reason: Reason
    """Why it ended so."""
    steps_done: tuple[StepDone, ...] = ()
    """Steps that it finished, in their order."""
    weight: int = 0
    """Canary's weight when it ended (before traffic was moved)."""
    requests: int = 0
    """Canary requests of the attempt."""
    bad: int = 0
    """Bad canary requests, of the SLO that had most of them."""
    last_sample_at: Instant | None = None
    """End of the newest window that was judged."""
    traffic_off_at: Instant | None = None
    """When the weights of the route were seen without the canary."""


class Condition(Model):
    """A Kubernetes condition."""

    type: str
    """Ready, Reconciling or Stalled, by the rules of kstatus; Accepted or RouteInSync."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: str
    """Why, for machines."""
    message: str
    """Why, for people."""
    last_transition_time: Instant
    """When `status` last changed."""
    observed_generation: int = 0
    """The metadata.generation that this was said of."""


class DriftState(Model):
    """Drifts of the route that came one after the other: somebody else's hand on it."""

    found: str
    """What the last one was."""
    first_at: Instant
    """When they began."""
    last_at: Instant
    """When the last one was found."""
    count: int = 0
    """How many of them were put right."""
    open: bool = False
    """The last one is left as it is."""


class StableLoss(Model):
    """The stable slot says that it does not run its version."""

    since: Instant
    """Since when."""
    tries: int = 0
    """How often it was loaded again."""
    next_at: Instant
    """When it is loaded again if it is still lost."""


class RolloutStatus(Model):
    """Status of a TritonRollout."""

    observed_generation: int = 0
    """The metadata.generation that this status answers."""
    observed_version: str | None = None
    """Echo of the version annotation, once it was taken up."""
    observed_request: str | None = None
    """Echo of the request annotation, once it was taken up."""
    observed_command: str | None = None
    """Echo of the command annotation, once it was taken up."""
    command_done: bool = False
    """Whether it was done; False: refused."""
    command_result: str | None = None
    """What became of that command: one sentence."""
    phase: Phase = Phase.IDLE
    """Where the rollout is."""
    attempt: Attempt | None = None
    """The attempt that is under way."""
    stable_slot: str | None = None
    """The slot that has the traffic, or gets it back."""
    stable_version: str | None = None
    """What the stable slot must run: what was promoted, or what it ran when it was first seen."""
    stable_loss: StableLoss | None = None
    """Set while the stable slot says that it does not run its version."""
    drift: DriftState | None = None
    """What somebody else did to the route lately."""
    slots: dict[str, SlotStatus] = Field(default={})
    """What runs in each slot, and its share of the traffic."""
    verdicts: tuple[Verdict, ...] = ()
    """What is known about each SLO of the policy."""
    guards: tuple[GuardReading, ...] = ()
    """What is known about each guard of the policy."""
    reason: Reason | None = None
    """Why the rollout is where it is."""
    next_check_at: Instant | None = None
    """In an attempt: this status is written again by then; much later means that no controller is looking."""
    conditions: tuple[Condition, ...] = ()
    """Ready, Reconciling, Stalled, by the rules of kstatus."""
    judge: JudgeState | None = None
    """Evidence so far, so that a restarted controller goes on exactly where the other stopped."""
    judge_written_at: Instant | None = None
    """When that was written last."""
    attempts: tuple[AttemptRecord, ...] = ()
    """The last ten, newest first."""
    attempt_count: int = 0
    """How many attempts there were."""
    outbox: Outbox | None = None
    """News that not everybody outside of the cluster has yet. Only where the controller is told of somebody to tell."""
