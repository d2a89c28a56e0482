"""The judge's memory: small, readable, and enough for a restarted controller to go on exactly where the other stopped.

Numbers are written with all their digits, and times are whole milliseconds before they get here: what is read back is what
was in memory, bit for bit.
"""

from __future__ import annotations

from pydantic import Field

from rollout_controller.api.meta import Model
from rollout_controller.api.quantities import Instant


class Tally(Model):
    """Requests, and how many of them were bad."""

    total: int = 0
    """All of them."""
    bad: int = 0
    """Bad ones among them."""


class Slower(Model):
    """Requests that took longer than a bucket edge beside the SLO's own."""

    edge_ms: float
    """The edge."""
    canary: int
    """The canary's."""
    stable: int
    """Stable's."""


class PendingWindow(Model):
    """Windows at one weight that are together still too short to be judged."""

    end: Instant
    """End of the last of them."""
    seconds: float
    """Their length together."""
    canary: Tally
    """The canary's requests in them."""
    stable: Tally
    """Stable's requests in them."""
    slower: tuple[Slower, ...] = ()
    """Slow ones in them, by the edges that are compared."""


class StableShare(Model):
    """Stable's requests of late: each counts less the longer it is ago (half after seven minutes)."""

    edge_ms: float = 0.0
    """Bad is: slower than this. 0: as the SLO itself says."""
    total: float
    """Requests."""
    bad: float
    """Bad ones among them."""


class Dispersion(Model):
    """Stable's counts before the canary had traffic: how much more they vary than those of independent requests."""

    windows: int = 0
    """Windows in which stable had traffic."""
    total: int = 0
    """Requests in them."""
    bad: int = 0
    """Bad ones among them."""
    squares: float = 0.0
    """Sum over the windows of bad squared / total."""


class ComparedEdge(Model):
    """A bucket edge at which the canary is compared with stable; chosen before the first window that is judged by it."""

    edge_ms: float
    """The edge; 0: as the SLO itself says."""
    share: float
    """Of the bet on a slower canary."""
    requests: int = 0
    """The canary's requests that were judged."""
    slow: int = 0
    """Those slower than the edge."""
    stable_requests: int = 0
    """Stable's."""
    stable_slow: int = 0
    """Stable's that were slower than the edge."""


class StableBin(Model):
    """About half a minute in which stable had traffic."""

    seconds: float
    """Its length."""
    total: int
    """Requests in it."""
    bad: int
    """Bad ones among them."""


class QuestionEvidence(Model):
    """Evidence of harm for one question. Logarithms are natural."""

    log_weights: tuple[float, ...] = ()
    """ln W, one for each alternative of the grid; empty before the first window."""
    start_left: float = 0.9
    """Start-time mass kept back for the first traffic and the step starts."""
    spread_left: float = 0.1
    """Start-time mass kept back for the planned time."""
    log_e: float = 0.0
    """ln M, now."""
    max_log_e: float = 0.0
    """The largest ln M so far."""


class Routing(Model):
    """Whether the canary completes its share of the requests, in this step."""

    step: int | None = None
    """The step."""
    weight: int = 0
    """Its weight in percent."""
    log_weights: tuple[float, ...] = ()
    """ln W, one for each share that is bet on."""
    left: float = 1.0
    """Of the bet, what has not started."""
    canary: int = 0
    """Requests that the canary completed."""
    stable: int = 0
    """Requests that stable completed."""


class SloEvidence(Model):
    """Evidence about one SLO."""

    objective: float
    """The share of bad requests that was asked about; other numbers would be about another question."""
    limit_s: float | None = None
    """For latency: the limit that was asked about."""
    window_end: Instant | None = None
    """End of the last window that was taken in; windows that end at or before it change nothing."""
    unusable_since: Instant | None = None
    """Start of the first of the latest windows that could not be used (negative, bad > total)."""
    step: int | None = None
    """The step that the last window of the canary belongs to."""
    step_started_at: Instant | None = None
    """When that step's weight was first seen on the route."""
    new_step: bool = False
    """Nothing of this step was judged yet."""
    step_canary: Tally = Tally()
    """Canary requests that count as evidence of health for this step."""
    canary: Tally = Tally()
    """All canary requests of the attempt."""
    stable: Tally = Tally()
    """Stable's requests in the same windows."""
    pending: PendingWindow | None = None
    """Windows that wait for more of them."""
    before: Dispersion = Dispersion()
    """Stable before the canary had traffic."""
    recent: tuple[StableShare, ...] = ()
    """Stable's share of late, as it was before the pending windows: for the SLO itself, then by the edges beside it."""
    compared: tuple[ComparedEdge, ...] = ()
    """For latency compared with stable: at which edges."""
    stable_bins: tuple[StableBin, ...] = ()
    """Stable's last five minutes with traffic, oldest first."""
    questions: dict[str, QuestionEvidence] = Field(default_factory=dict)
    """Evidence of harm, by question."""
    failures: int = 0
    """With the rule threshold: windows in a row over the objective."""
    fine: bool = False
    """With the rule threshold: the last window of this step was within it."""
    entry: int = 0
    """The return of the traffic (0: the first) that the last judged window belongs to."""
    reentered: bool = False
    """Nothing since the traffic's return was judged yet."""
    routing: Routing = Routing()
    """Whether the canary completes its share of the requests."""
    lane: QuestionEvidence | None = None
    """Evidence for a retreat, since the traffic came or came back."""
    lane_step: int | None = None
    """The last step whose start the lane has bet on."""
    last_stable: tuple[Tally, ...] = ()
    """Stable's last two windows with traffic."""


class Harm(Model):
    """The evidence of harm reached the promised level; this is not forgotten."""

    slo: str
    """Name of the SLO whose data did it."""
    at: Instant
    """End of the window whose data did it."""


class Alarm(Model):
    """So much harm at once that users are taken out of the way: the window that showed it."""

    slo: str
    """Name of the SLO."""
    at: Instant
    """Its end."""
    seconds: float
    """Its length."""
    total: int
    """The canary's requests in it."""
    bad: int
    """Bad ones among them."""


class Lane(Model):
    """Whether users must be taken out of the way, since the traffic came or came back."""

    entry: int = 0
    """How many retreats there were before."""
    entered_at: Instant | None = None
    """Start of the first window since then."""
    fired: Alarm | None = None
    """They must."""


class JudgeState(Model):
    """Evidence of an attempt, by SLO name."""

    slos: dict[str, SloEvidence] = Field(default_factory=dict)
    """What was counted and concluded, by SLO name."""
    max_log_e: float = 0.0
    """The largest ln M so far, M the weighted mean over all questions."""
    lane: Lane = Lane()
    """Whether users must be taken out of the way."""
    harm: Harm | None = None
    """Set once the evidence of harm reached the promised level."""
