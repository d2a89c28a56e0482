"""What a made world is like: its traffic, how a healthy version behaves, what goes wrong by itself, the harm of a bad version.

Assumptions, all of them; `rollouts simulate` is as honest as these are true:

* **Traffic.** Requests come as a Poisson process (or evenly), `rps` in all; with `daily` the rate is a sine over 24 hours, and
  an attempt begins at a random hour. Each request goes to the canary with its weight's probability, independently.
* **Bad by nature.** A request fails with probability `errors`; it takes a log-normal time with this `p95` and `sigma`. Both
  versions are alike in that, but for the harm. With `batch` k, k requests of one version share both fates.
* **Flicker.** Each version's error rate and share of slow requests are multiplied by a gamma variable of mean 1 and deviation
  `spread`, drawn anew each `every`, for both versions together where `shared`, else for each by itself.
* **Drift.** Error rate and latency of both versions grow by a factor per hour, without a bound but 100 %.
* **Hiccups.** Each pod has them by itself: `length` long, one each `every` from a random moment on (`regular`) or at random at
  this rate. A version's requests are spread evenly over its pods; those that meet a dead one fail at once, those that meet a
  slow one take `slower` times as long.
* **Incidents** hit both versions at once, at a time after the first traffic: errors are added, latency is multiplied.
* **Cold start.** After each new height of the canary's weight its latency is multiplied by `slower`, which falls to 1 over
  `length`; errors are added and fall in the same way.
* **What is seen.** Counts per version and `scrape` interval, `read_after` its end; exact, as the reader has them. In a `gap`
  either Prometheus does not answer (windows come later) or the proxies are not scraped (the counts come with the next window).
  A weight takes effect `shift` after it was written.
* **Harm** of the canary only: another error rate, another p95, an outage (all requests fail at once), requests that hang
  (never completed, so never counted), a busy GPU; from a weight on, and from a time after the first traffic on.

What the world does not have: users who try again, versions that hurt each other, pods that are added late, a mesh that fails.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rollout_controller.api.meta import Model
from rollout_controller.api.quantities import Duration, Percent

Factor = Annotated[float, Field(gt=0, le=1000)]


class Hiccups(Model):
    """Pods that are dead or slow for a while, each by itself."""

    length: Duration
    """How long one lasts."""
    every: Duration
    """From the start of one to the start of the same pod's next, in the mean."""
    pods: Annotated[int, Field(ge=1, le=100)] = 1
    """The canary's pods: with four, a quarter of its requests meet a hiccup."""
    stable_pods: Annotated[int, Field(ge=0, le=100)] | None = None
    """Stable's pods; absent: as many. 0: stable is spared."""
    what: Literal["dead", "slow"] = "dead"
    """Whether requests fail at once, or take longer."""
    slower: Factor = 10.0
    """With slow: so many times as long."""
    regular: bool = False
    """Like clockwork, instead of at random."""

    @model_validator(mode="after")
    def _apart(self) -> Hiccups:
        if not 0 < self.length < self.every:
            raise ValueError("a hiccup is as long as the time between two|length over 0s and shorter than every")
        return self


class Incident(Model):
    """Something that both versions suffer from."""

    at: Duration
    """When it begins, after the canary's first traffic."""
    length: Duration
    """How long it lasts."""
    errors: Percent = 0.0
    """Of all requests, so many fail beside those that fail anyway."""
    slower: Factor = 1.0
    """Latency is so many times as long."""


class Flicker(Model):
    """Rates that are never quite the same."""

    spread: Annotated[float, Field(gt=0, le=5)]
    """Standard deviation over mean of the rates."""
    every: Duration
    """How long one value lasts."""
    shared: bool = False
    """Both versions together."""


class Drift(Model):
    """Both versions get worse, or better, over time."""

    errors_per_hour: Factor = 1.0
    """Factor of the error rate per hour."""
    latency_per_hour: Factor = 1.0
    """Factor of the latency per hour."""


class ColdStart(Model):
    """What a new weight costs at first."""

    length: Duration
    """Until nothing is left of it."""
    slower: Factor = 2.0
    """Latency at its begin is so many times as long."""
    errors: Percent = 0.0
    """Of the canary's requests at its begin, so many fail beside those that fail anyway."""


class Gap(Model):
    """Times without news."""

    length: Duration
    """How long one lasts."""
    every: Duration
    """From the start of one to the start of the next; the first begins at a random moment."""
    what: Literal["unanswered", "unscraped"] = "unanswered"
    """Prometheus does not answer, or the proxies are not scraped."""

    @model_validator(mode="after")
    def _apart(self) -> Gap:
        if not 0 < self.length < self.every:
            raise ValueError("a gap is as long as the time between two|length over 0s and shorter than every")
        return self


class Harm(Model):
    """How the new version hurts."""

    errors: Percent | None = None
    """Its error rate."""
    p95: Duration | None = None
    """Its p95 in seconds."""
    outage: bool = False
    """All its requests fail at once."""
    hang: Percent = 0.0
    """Of its requests, so many are never answered."""
    gpu: Percent | None = None
    """Its GPU use."""
    from_weight: Percent = 0.0
    """Only while it has at least so much of the traffic."""
    after: Duration = 0.0
    """Only from so long after its first traffic on."""

    @property
    def none(self) -> bool:
        """Whether there is none: an identical version."""
        return self.errors is None and self.p95 is None and self.gpu is None and not self.outage and self.hang == 0


class World(Model):
    """A service and its surroundings; see the module's text for what is assumed."""

    rps: Annotated[float, Field(gt=0, le=1e6)]
    """Requests a second of the whole service."""
    arrivals: Literal["poisson", "even"] = "poisson"
    """At random, or as evenly as whole requests can be."""
    daily: Annotated[Percent, Field(lt=1)] = 0.0
    """How much more than the mean comes at the day's height, and less at its depth."""
    errors: Annotated[Percent, Field(lt=1)] = 0.005
    """Error rate of a healthy version."""
    p95: Duration = 0.08
    """p95 of a healthy version."""
    sigma: Annotated[float, Field(gt=0, le=3)] = 0.5
    """Standard deviation of the logarithm of the latency."""
    gpu: Percent = 0.5
    """GPU use of a healthy version with traffic."""
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    """Requests that share their fate."""
    flicker: Flicker | None = None
    """Rates that are never quite the same."""
    drift: Drift = Drift()
    """Rates that change over hours."""
    hiccups: Annotated[tuple[Hiccups, ...], Field(max_length=10)] = ()
    """Pods that are dead or slow for a while."""
    incidents: Annotated[tuple[Incident, ...], Field(max_length=100)] = ()
    """What both versions suffer from."""
    cold_start: ColdStart | None = None
    """What a new weight costs at first."""
    gaps: Gap | None = None
    """Times without news."""
    scrape: Duration = 15.0
    """Length of the windows of counts."""
    read_after: Duration = 2.0
    """How long after its end a window can be read."""
    shift: Duration = 0.5
    """How long a weight takes to get to all proxies."""
    aligned: bool = False
    """Attempts begin with a window; else anywhere in it."""

    @model_validator(mode="after")
    def _possible(self) -> World:
        if not 1 <= self.scrape <= 600:
            raise ValueError(f"scrape of {self.scrape:g}s|from 1s to 10m")
        if self.p95 <= 0:
            raise ValueError("p95 of 0s|more than 0s")
        if max(self.read_after, self.shift) > 600:
            raise ValueError("readAfter or shift over ten minutes|at most 10m")
        return self


class WorldFile(World):
    """A file of `rollouts simulate`: a world, and the versions that hurt, by name."""

    harms: Annotated[dict[str, Harm], Field(default_factory=dict, max_length=10)]
    """Each is simulated beside an identical version."""
