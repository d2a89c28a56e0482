"""The judge's memory: small, readable, and enough for a restarted controller to go on exactly where the other stopped.

Numbers are written with all their digits, and times are whole milliseconds before they get here: what is read back is what
was in memory, bit for bit.
"""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from rollout_controller.api.meta import Model
from rollout_controller.api.quantities import Instant


class Counts(NamedTuple):
    """Exact event counts: 0 <= bad <= total."""

    total: int
    bad: int

    def __add__(self, other: Counts) -> Counts:  # type: ignore[override]
        return tuple.__new__(Counts, (self[0] + other[0], self[1] + other[1]))  # without NamedTuple's own call: half the time


class Slower(NamedTuple):
    """Requests that took longer than a bucket edge beside the SLO's own."""

    edge_ms: float
    canary: int
    stable: int


class PendingWindow(Model):
    """Windows at one weight that are together still too short to be judged."""

    end: Instant
    """End of the last of them."""
    seconds: float
    """Their length together."""
    canary: Counts
    """The canary's requests in them, and the bad ones."""
    stable: Counts
    """Stable's requests in them, and the bad ones."""
    slower: tuple[Slower, ...] = ()
    """By edge that is compared: the edge, slower ones of the canary and of stable."""


class StableShare(NamedTuple):
    """Stable's requests of late and the bad ones: each counts less the longer it is ago (half after seven minutes).

    Bad is: slower than `edge_ms`; with 0 as the SLO itself says.
    """

    edge_ms: float
    total: float
    bad: float


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
    effect: float = 1.0
    """D: variance of the counts over that of independent requests, as far as that is sure."""


class Minutes(Model):
    """Stable's last minutes with traffic. Counts are requests first, then for each edge the bad ones among them."""

    edges: tuple[float, ...] = ()
    """Bad is: slower than this. 0: as the SLO itself says."""
    seconds: float = 0.0
    """How long the minute is that is not over yet."""
    now: tuple[int, ...] = ()
    """Its counts."""
    counts: tuple[tuple[int, ...], ...] = ()
    """By count: the whole minutes, oldest first."""
    variation: tuple[float, ...] = ()
    """By edge: variance of the bad share of ordinary minutes, beyond that of independent requests, over p (1 - p)."""


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


class StableBin(NamedTuple):
    """About half a minute in which stable had traffic: its length, requests, bad ones."""

    seconds: float
    total: int
    bad: int


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
    burst: tuple[float, ...] = ()
    """Of ln W, what alternatives gained in a burst that they do not explain; it is theirs while the burst lasts. Empty: none."""


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
    step_canary: Counts = Counts(0, 0)
    """Canary requests, and bad ones, that count as evidence of health for this step."""
    canary: Counts = Counts(0, 0)
    """All canary requests of the attempt, and the bad ones."""
    stable: Counts = Counts(0, 0)
    """Stable's requests in the same windows, and the bad ones."""
    pending: PendingWindow | None = None
    """Windows that wait for more of them."""
    before: Dispersion = Dispersion()
    """Stable before the canary had traffic."""
    recent: tuple[StableShare, ...] = ()
    """Stable's requests of late and the bad ones, as they were before the pending windows: for the SLO itself (edge 0), then by
    the edges beside it."""
    compared: tuple[ComparedEdge, ...] = ()
    """For latency compared with stable: at which edges."""
    stable_bins: tuple[StableBin, ...] = ()
    """Stable's last five minutes with traffic, oldest first, in bins of half a minute: seconds, requests, bad ones."""
    minutes: Minutes = Minutes()
    """Stable's last twenty minutes with traffic."""
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
    last_stable: tuple[Counts, ...] = ()
    """Stable's last two windows with traffic: requests, bad ones."""


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
