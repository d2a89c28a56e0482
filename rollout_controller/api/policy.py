"""RolloutPolicy: steps, objectives, guards, and what to do when the evidence does not decide."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rollout_controller.api.meta import Metadata, Model
from rollout_controller.api.names import LABEL_PATTERN
from rollout_controller.api.quantities import Duration, Percent, format_duration


class StepPause(Model):
    """A step that waits for a person; `duration` bounds it (absent: `paused.after` of the policy)."""

    duration: Duration | None = None
    """The pause ends by itself after this long, and the rollout goes on."""


class Step(Model):
    """A weight for the canary, with the time and evidence it needs (absent: the policy's `hold`)."""

    weight: Annotated[int, Field(strict=True, ge=1, le=100)]
    """Share of the traffic that the canary gets, in percent."""
    min_hold: Duration | None = None
    """The step lasts at least this long; absent: `hold.min`."""
    max_hold: Duration | None = None
    """Without a verdict for this long, `undecided.then` happens; absent: `undecided.after`."""
    min_requests: Annotated[int, Field(ge=0)] | None = None
    """Canary requests that the step needs; absent: `hold.minRequests`."""
    probe: bool | None = None
    """A first look that proves nothing: without signs of harm the next step begins after minHold, whatever is undecided. With
    1 % for a minute an outage meets a tenth of the requests that it would meet at 10 %."""
    pause: StepPause | None = None
    """When the step is done, wait for a person; `rollouts promote` goes on."""


class ErrorRate(Model):
    """At most `max` of the requests may fail. `codes`: the classes of HTTP status that count as failures."""

    max: Percent
    """Largest share of failed requests, for example 1%."""
    codes: Annotated[tuple[Literal["4xx", "5xx"], ...], Field(max_length=2)] = ("5xx",)
    """Classes of HTTP status that count as failures."""

    def model_post_init(self, _context: Any, /) -> None:
        """Keep pydantic's note of the given fields: a source without classes of status refuses `codes` that somebody wrote."""


class Latency(Model):
    """`quantile` of the requests at most `max`, which must be a bucket edge of the source."""

    quantile: Annotated[float, Field(ge=0.5, lt=1)] = 0.95
    """Share of the requests that must be fast enough: 0.95 is p95."""
    max: Duration
    """The limit, for example 100ms; it must be a bucket edge of the source."""


class Slo(Model):
    """An objective on good events / total events: errors, or slow requests."""

    name: Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63)]
    """The objective's name; no other SLO or guard of the policy has it."""
    source: Annotated[str, Field(max_length=63)]
    """The SLI source that counts the requests, for example istio, istio-grpc or envoy."""
    error_rate: ErrorRate | None = None
    """The question about errors. Either this or `latency`."""
    latency: Latency | None = None
    """The question about slow requests. Either this or `errorRate`."""
    grace: Duration | None = None
    """For this long after each increase of the weight slow requests are no evidence: caches fill, clocks rise."""

    @model_validator(mode="after")
    def _one_question(self) -> Slo:
        if (self.error_rate is None) == (self.latency is None):
            raise ValueError("needs exactly one question|errorRate: {max: 1%} or latency: {quantile: 0.95, max: 100ms}")
        if self.grace is not None and self.error_rate is not None:
            raise ValueError("grace on errors|only a latency SLO may have a grace: errors count at once")
        if not 0 < self.bad_share <= 0.5:
            raise ValueError(f"allows {self.bad_share * 100:.4g}% of the requests to be bad|more than 0% and at most 50%")
        return self

    @property
    def kind(self) -> Literal["errors", "latency"]:
        return "errors" if self.error_rate is not None else "latency"

    @property
    def bad_share(self) -> float:
        """p0: the largest share of bad requests that the objective allows (p95 <= limit: 5 % slower)."""
        return (
            self.error_rate.max if self.error_rate is not None else round(1 - self.latency.quantile, 9) if self.latency else 0.0
        )


class Guard(Model):
    """A gauge with a limit and a time: over it no step forward; over it for the whole of `for`, what `then` says."""

    name: Annotated[str, Field(pattern=LABEL_PATTERN, max_length=63)]
    """The guard's name; no other SLO or guard of the policy has it."""
    source: Annotated[str, Field(max_length=63)]
    """The source that shows the gauge, for example dcgm."""
    above: Percent
    """The limit, for example 90%."""
    for_: Duration = Field(alias="for", default=120.0)
    """Over the limit for this long: `then` happens."""
    then: Literal["Rollback", "Hold"] = "Rollback"
    """Rollback takes the canary off traffic; Hold only takes no step forward. While stable is over it, too: always Hold."""


class Tolerance(Model):
    """Twice the longest hiccup that must be survived; the speed limit of the judge."""

    errors: Duration = 90.0
    """For the SLOs on errors."""
    latency: Duration = 120.0
    """For the SLOs on latency."""


class Judge(Model):
    """The promises about wrong decisions, per attempt (falseRollback) and per step (falsePromotion); or a simple rule."""

    rule: Literal["evidence", "threshold"] = "evidence"
    """evidence: statistics that keep the promises. threshold: `failures` windows in a row over the objective; it keeps none."""
    failures: Annotated[int, Field(ge=1, le=100)] = 3
    """For threshold: windows in a row over the objective that are harm."""
    window: Duration = 60.0
    """For threshold: length of a window, at least that of the reader's."""

    false_rollback: Percent = 0.01
    """At most this share of the attempts with a version that meets its objectives is rolled back."""
    false_promotion: Percent = 0.05
    """At most this chance, at each step, to go on early with a version that misses an objective."""
    tolerance: Tolerance = Tolerance()
    """Twice the longest hiccup that must be survived: harm is found a little later than this."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Requests that fail together at most, as those of one batch do; absent: 4."""
    hanging: Literal["Hold", "Ignore"] = "Hold"
    """A canary that completes clearly less of the requests than its weight says may hang: Hold does not judge it (then:
    `unknown`). Ignore is for stable slots that get requests by other ways, too, so that shares say nothing."""

    @model_validator(mode="after")
    def _possible(self) -> Judge:
        for name, share in (("falseRollback", self.false_rollback), ("falsePromotion", self.false_promotion)):
            if not 0 < share < 0.5:
                raise ValueError(f"{name} of {share * 100:g}%|more than 0% and less than 50%")
        if self.window < 1:
            raise ValueError("window under 1s|at least 1s, and no shorter than the windows that are read")
        if min(self.tolerance.errors, self.tolerance.latency) < 1:
            raise ValueError("tolerance under 1s|at least 1s; twice the longest hiccup that must be survived")
        return self


class Hold(Model):
    """What every step needs unless it says otherwise."""

    min: Duration = 180.0
    """Every step lasts at least this long."""
    min_requests: Annotated[int, Field(ge=0)] = 30
    """Canary requests that every step needs."""
    timeout: Duration = 1800.0
    """However little was seen, a step ends after this long (then: `unknown.then`)."""


class Retreat(Model):
    """Users out of the way first, the version judged later."""

    cool_down: Duration = 60.0
    """The canary stays without traffic this long, then it gets the same weight again."""
    strikes: Annotated[int, Field(ge=1, le=10)] = 3
    """So many retreats in a row, each as soon as the users were back, are a rollback."""


class CompareToStable(Model):
    """Relative test against stable on the same SLIs: finds what is worse than before though still within the objective."""

    tolerance: Percent = 0.10
    """The canary may have this much more of bad requests than stable: 10% means 1.1 times as many."""


class Undecided(Model):
    """A step without a verdict after `after` (the step's maxHold)."""

    after: Duration = 360.0
    """A step waits this long for a verdict, unless it says maxHold itself."""
    then: Literal["Advance", "Pause", "Rollback"] = "Advance"
    """Advance goes on and marks the step unproven; Pause waits for a person; Rollback goes back."""


class UnknownRule(Model):
    """Blind for `after`: nothing is known about an SLO because its numbers are missing, stale or impossible."""

    after: Duration = 600.0
    """Traffic stays as it is for this long."""
    then: Literal["Rollback", "Pause"] = "Rollback"
    """Rollback goes back to stable; Pause waits for a person."""


class DriftRule(Model):
    """Somebody else moved the weights."""

    then: Literal["Restore", "Pause", "Abort"] = "Restore"
    """Restore writes our weights again; Pause waits for a person; Abort ends the attempt."""


class PausedRule(Model):
    """No wait is endless: a pause nobody ends, ends after `after`."""

    after: Duration = 86400.0
    """A pause lasts at most this long, unless its step says otherwise."""
    then: Literal["Rollback", "Resume"] = "Rollback"
    """What happens then: back to stable, or on."""


class PolicySpec(Model):
    """What an SRE writes once for many rollouts."""

    steps: Annotated[tuple[Step, ...], Field(max_length=100)]
    """The way from the first traffic to all of it: weights that rise, the last one 100."""
    slos: Annotated[tuple[Slo, ...], Field(max_length=20)]
    """The objectives that the new version must meet; at least one."""
    guards: Annotated[tuple[Guard, ...], Field(max_length=20)] = ()
    """Gauges with a limit, for example GPU saturation."""
    hold: Hold = Hold()
    """What every step needs unless it says otherwise."""
    judge: Judge = Judge()
    """How sure the controller must be before it decides."""
    compare_to_stable: CompareToStable | None = None
    """Relative test against stable on the same SLIs; absent: the objectives alone decide."""
    retreat: Retreat | Literal["off"] = Retreat()
    """Users out of the way on sudden strong harm, the version judged later; or `off`."""
    undecided: Undecided = Undecided()
    """What happens when the evidence does not decide in time."""
    unknown: UnknownRule = UnknownRule()
    """What happens when nothing can be seen: missing, stale or impossible numbers are never evidence against a version."""
    drift: DriftRule = DriftRule()
    """What happens when somebody else moves the weights."""
    on_delete: Literal["Leave", "Restore"] = "Leave"
    """What becomes of traffic when a rollout is deleted in an attempt: it stays as it is, or goes back to stable."""
    paused: PausedRule = PausedRule()
    """What happens to a pause that nobody ends."""

    @field_validator("retreat", mode="before")
    @classmethod
    def _yaml_reads_off_as_false(cls, value: Any) -> Any:
        return "off" if value is False else value

    @field_validator("steps")
    @classmethod
    def _steps_rise_to_100(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        weights = [step.weight for step in steps]
        if not weights:
            raise ValueError("steps is empty|at least one step, and the last must be 100")
        if any(b <= a for a, b in pairwise(weights)):
            raise ValueError(f"weights {weights} do not rise|each step more than the one before, for example 10, 25, 50, 100")
        if weights[-1] != 100:
            raise ValueError(f"the last step is {weights[-1]}|the last step must be 100: all traffic on the new version")
        return steps

    @model_validator(mode="after")
    def _names_and_times(self) -> PolicySpec:
        if not self.slos:
            raise ValueError("slos is empty|at least one objective: without one nothing is judged")
        names = [slo.name for slo in self.slos] + [guard.name for guard in self.guards]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is used twice|a name of its own for each SLO and guard")
        for index, step in enumerate(self.steps):
            if self.min_hold(step) > self.max_hold(step):
                raise ValueError(
                    f"steps[{index}] holds at least {format_duration(self.min_hold(step))}"
                    f" but at most {format_duration(self.max_hold(step))}"
                    "|minHold (hold.min) no longer than maxHold (undecided.after)"
                )
        return self

    def min_hold(self, step: Step) -> float:
        """Seconds a step lasts at least."""
        return self.hold.min if step.min_hold is None else step.min_hold

    def max_hold(self, step: Step) -> float:
        """Seconds after which an undecided step does what `undecided.then` says."""
        if step.max_hold is None:
            return self.min_hold(step) if step.probe else self.undecided.after
        return step.max_hold

    def min_requests(self, step: Step) -> int:
        """Canary requests that a step needs."""
        if step.min_requests is None:
            return 0 if step.probe else self.hold.min_requests
        return step.min_requests


class RolloutPolicy(Model):
    """How versions are brought in: steps, objectives, guards, and what happens when the evidence does not decide."""

    api_version: Literal["rollouts.triton.dev/v1alpha1"]
    kind: Literal["RolloutPolicy"]
    metadata: Metadata
    spec: PolicySpec
    """What an SRE writes once for many rollouts."""
