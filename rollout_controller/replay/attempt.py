"""One attempt from the ask to its end, turn by turn on a virtual clock, by the product's own `decide`.

A turn happens whenever a controller would have one: when a window can be read from which something may follow (core/calm.py),
and when the last plan asked to be looked at again. No turn is left out that could have done anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import floor
from random import Random
from typing import Literal, NamedTuple

from rollout_controller.api.meta import ANNOTATION_COMMAND, ANNOTATION_VERSION, Raw, evolve, parse
from rollout_controller.api.policy import PolicySpec, RolloutPolicy, Slo
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.core.calm import Calm
from rollout_controller.core.decide import decide
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.observation import (
    Counts,
    GaugeReading,
    Mark,
    Observation,
    RouteState,
    SliReading,
    SlotState,
    Slower,
    Unknown,
    Window,
)
from rollout_controller.core.plan import Plan, SetWeights, WriteStatus
from rollout_controller.core.states import RESTING
from rollout_controller.replay.traffic import Arm, Seen, Traffic
from rollout_controller.replay.world import Harm, World

START = 1_800_000_000.0
"""Attempts begin about here, in seconds since 1970; a multiple of every scrape interval that divides an hour."""
BEFORE_S = 600.0
"""So long before an attempt stable is looked at (as the controller's observer does)."""
PATIENCE = 3
"""Windows without an answer until that is a problem (as in the reader)."""
_GAUGE_S = 30.0
_MOST_TURNS = 50_000
_SETTLE = 20
CANARY, STABLE = "green", "blue"

Outcome = Literal["rolled-back", "gave-up", "promoted", "paused", "not-started", "unfinished"]
"""rolled-back: for harm. gave-up: back to stable for another reason (blind, too few requests). paused: a person is needed."""

HARM_CODES = frozenset({Code.ERRORS_VIOLATED, Code.LATENCY_VIOLATED, Code.HARM_CAME_BACK, Code.GUARD_OVER})


@dataclass(frozen=True)
class Play:
    """What is played: a policy in a world, with a version that may hurt. `edges`: latency edges in seconds by SLO name."""

    policy: RolloutPolicy
    world: World
    harm: Harm
    beside: Mapping[str, tuple[float, ...]]
    """Bucket edges in milliseconds beside an SLO's own, where latency is compared with stable."""
    insist: bool = False
    """A person starts the attempt although stable misses its objective."""


class Result(NamedTuple):
    """How one attempt went. Seconds; None: it did not happen."""

    outcome: Outcome
    code: str
    """Reason code at the end."""
    lasted_s: float
    """From the first traffic to the end."""
    harm_met_s: float | None
    """From the first traffic until users first met the harm."""
    off_s: float | None
    """From then until the canary first had no traffic, whether by a retreat or for good."""
    verdict_s: float | None
    """From then (without harm: from the first traffic) until the rollback was decided."""
    failed: int
    """Canary requests that failed or hung."""
    slow: int
    """Canary requests over the limit of a latency SLO."""
    requests: int
    """Canary requests."""
    retreats: int
    early_retreats: int
    """Those before any harm was there: needless ones."""
    unproven: bool
    """Promoted with at least one step that ended without a verdict."""
    weights: tuple[tuple[float, int], ...]
    """Seconds after the first traffic, and the canary's weight from then on."""


def play(what: Play, seed: str) -> Result:
    """One attempt. The same seed: the same fates and the same result, in any process."""
    return _Attempt(what, Random(seed)).run()


class _Attempt:
    def __init__(self, what: Play, rng: Random) -> None:
        self._what, self._world = what, what.world
        self._spec: PolicySpec = what.policy.spec
        edges = {each.latency.max * 1000 for each in self._spec.slos if each.latency is not None}
        edges |= {edge for beside in what.beside.values() for edge in beside}
        self._edges = tuple(sorted(round(edge, 6) for edge in edges))
        scrape = what.world.scrape
        begin = floor(START / scrape) * scrape
        self._asked_at = begin if what.world.aligned else round(begin + rng.random() * scrape, 3)
        self._traffic = Traffic(what.world, what.harm, [edge / 1000 for edge in self._edges], rng, begin - BEFORE_S)
        self._windows: list[Seen] = []
        self._held: list[Seen] = []
        """Not scraped yet, and not yet answered."""
        self._rollout = parse(TritonRollout, _document())
        self._status = RolloutStatus()
        self._weights: dict[str, int] = {STABLE: 100, CANARY: 0}
        self._mark: Mark | None = None
        self._commands = 0
        self._failed = self._slow = self._requests = 0
        self._first: float | None = None
        self._off_at: float | None = None
        self._verdict_at: float | None = None
        self._early = 0
        self._story: list[tuple[float, int]] = []
        self._calm: Calm | None = None
        """What the last plan lets wait."""

    def run(self) -> Result:
        now, again = self._asked_at, self._asked_at
        for _ in range(_MOST_TURNS):
            self._read_until(now)
            if now >= again or not self._can_wait(now):
                look = self._settle(now)
                if look is None:
                    return self._result(now)
                again = look
            now = round(max(min(again, self._readable_at()), now + 0.001), 3)
        return self._result(now, "unfinished")

    def _readable_at(self) -> float:
        """When the next window can be read."""
        return self._traffic.next_end + self._world.read_after

    def _read_until(self, now: float) -> None:
        while self._readable_at() <= now + 1e-6:
            self._take(self._traffic.window())

    def _take(self, window: Seen) -> None:
        """A window is over: count what users saw, and hand it on if anybody could read it."""
        canary = window.canary
        self._requests += canary.total + canary.hung
        self._failed += canary.errors + canary.hung
        limits = [self._edges.index(round(s.latency.max * 1000, 6)) for s in self._spec.slos if s.latency is not None]
        self._slow += max([canary.slower[i] for i in limits], default=0)
        gaps, gap = self._traffic.fates.gaps, self._world.gaps
        dark = gaps is not None and gaps.within(window.start, window.end) > 0.5
        if dark:
            self._held.append(window)
        elif gap is not None and gap.what == "unscraped" and self._held:
            self._windows.append(_joined([*self._held, window]))
            self._held = []
        else:
            self._windows += [*self._held, window]
            self._held = []

    # --- turns ------------------------------------------------------------------------------------------------

    def _settle(self, now: float) -> float | None:
        """Turn until nothing more happens at this moment; when to look again, None: it is over."""
        for _ in range(_SETTLE):
            plan = decide(self._rollout, self._what.policy, self._observe(now), now, self._status, brief=True)
            moved = self._perform(plan, now)
            if self._over(plan):
                return None
            if not moved:
                if plan.reason.code != Code.STABLE_MISSES or not self._what.insist or self._commands:
                    self._calm = plan.calm
                    return plan.look_again
                self._command("promote")
        raise AssertionError(f"{_SETTLE} turns at one moment: {plan.status.phase} {plan.reason}")

    def _command(self, verb: str) -> None:
        self._commands += 1
        metadata = self._rollout.metadata
        annotations = {**metadata.annotations, ANNOTATION_COMMAND: f"{verb} {self._commands}"}
        self._rollout = evolve(self._rollout, metadata=evolve(metadata, annotations=annotations))

    def _can_wait(self, now: float) -> bool:
        """Whether nothing follows from what is new."""
        return self._calm is not None and self._calm.covers(self._readings(), self._gauges(now))

    def _observe(self, now: float) -> Observation:
        readings = self._readings()
        judged = self._status.judge.slos if self._status.attempt is not None and self._status.judge is not None else {}
        if judged and all(s.window_end is not None for s in judged.values()):
            self._windows = []
        return Observation(
            route=RouteState({}, self._weights, self._mark),
            slots={STABLE: _SERVES_OLD, CANARY: _SERVES_NEW},
            windows=readings,
            gauges=self._gauges(now),
        )

    def _readings(self) -> dict[str, SliReading]:
        """The windows that were not judged yet, by SLO."""
        status = self._status
        if status.attempt is None:
            return {}
        judged = status.judge.slos if status.judge else {}
        problem = Unknown("no-answer", "Prometheus does not answer", self._held[0].end) if len(self._held) >= PATIENCE else None
        readings = {}
        for slo in self._spec.slos:
            end = judged[slo.name].window_end if slo.name in judged else None
            since = status.attempt.started_at - BEFORE_S if end is None else end
            readings[slo.name] = SliReading(tuple([self._window(slo, w) for w in self._windows if w.end > since]), problem)
        return readings

    def _gauges(self, now: float) -> dict[str, GaugeReading | Unknown]:
        return {guard.name: self._gauge(now) for guard in self._spec.guards}

    def _window(self, slo: Slo, seen: Seen) -> Window:
        canary, stable = seen.canary, seen.stable
        if slo.latency is None:
            return Window(seen.start, seen.end, Counts(canary.total, canary.errors), Counts(stable.total, stable.errors))
        own = self._edges.index(round(slo.latency.max * 1000, 6))
        beside = tuple(
            Slower(edge, canary.slower[i], stable.slower[i])
            for edge in self._what.beside.get(slo.name, ())
            for i in (self._edges.index(edge),)
        )
        counts = Counts(canary.total, canary.slower[own]), Counts(stable.total, stable.slower[own])
        return Window(seen.start, seen.end, *counts, beside)

    def _gauge(self, now: float) -> GaugeReading | Unknown:
        if len(self._held) >= PATIENCE:
            return Unknown("no-answer", "Prometheus does not answer", self._held[0].end)
        at = floor(now / _GAUGE_S) * _GAUGE_S
        use = self._world.gpu
        if self._what.harm.gpu is not None and self._traffic.hurts(now):
            use = self._what.harm.gpu
        return GaugeReading(use if self._weights[CANARY] else 0.0, self._world.gpu, at)

    def _perform(self, plan: Plan, now: float) -> bool:
        """Do what the plan says; whether something changed that the next turn will see."""
        before = self._status
        moved = plan.status.phase is not before.phase
        self._note(before, plan, now)
        self._status = plan.status
        for action in plan.actions:
            match action:
                case WriteStatus():
                    self._rollout = evolve(self._rollout, status=plan.status)
                case SetWeights(weights=weights, mark=mark):
                    moved = True
                    if dict(weights) != self._weights:
                        self._traffic.shift(now, weights[CANARY])
                        self._story.append((now, weights[CANARY]))
                    self._weights, self._mark = dict(weights), mark
                    self._first = now if self._first is None and weights[CANARY] else self._first
        return moved

    def _note(self, before: RolloutStatus, plan: Plan, now: float) -> None:
        """What a person would write down of this turn."""
        after = plan.status
        if before.attempt is not None and after.attempt is not None and after.attempt.retreats > before.attempt.retreats:
            harmed = self._traffic.harmed_since
            self._early += harmed is None or harmed > now
        off = after.phase in (Phase.RETREATED, Phase.ROLLING_BACK) and before.phase is not after.phase
        if off and self._off_at is None and self._traffic.harmed_since is not None:
            self._off_at = now
        if after.phase is Phase.ROLLING_BACK and self._verdict_at is None:
            self._verdict_at = now

    def _over(self, plan: Plan) -> bool:
        """Whether the attempt is over, or needs a person; the policy's own pauses are ended at once."""
        status = plan.status
        if status.phase is Phase.PAUSED:
            if plan.reason.code == Code.STEP_PAUSE:
                self._command("resume")
                return False
            return True
        return status.phase in RESTING and status.attempt_count > 0

    def _result(self, now: float, outcome: Outcome | None = None) -> Result:
        status = self._status
        first = self._first if self._first is not None else now
        record = status.attempts[0] if status.attempts and status.attempt is None else None
        code = record.reason.code if record else status.reason.code if status.reason else ""
        harmed = self._traffic.harmed_since
        met = None if harmed is None else harmed - first
        since = first if self._what.harm.none or harmed is None else harmed
        outcome = outcome or _outcome(status, code, started=self._first is not None)
        return Result(
            outcome=outcome,
            code=code,
            lasted_s=round(now - first, 3),
            harm_met_s=None if met is None else round(max(met, 0.0), 3),
            off_s=None if self._off_at is None or harmed is None else round(max(self._off_at - harmed, 0.0), 3),
            verdict_s=round(self._verdict_at - since, 3) if self._verdict_at is not None and outcome == "rolled-back" else None,
            failed=self._failed,
            slow=self._slow,
            requests=self._requests,
            retreats=record_retreats(self._story),
            early_retreats=self._early,
            unproven=record is not None and any(step.unproven for step in record.steps_done),
            weights=tuple((round(at - first, 3), weight) for at, weight in self._story),
        )


def record_retreats(story: list[tuple[float, int]]) -> int:
    """How often the weight came back after it had been 0."""
    return sum(1 for (_, weight), (_, later) in pairwise(story) if weight == 0 and later > 0)


def _outcome(status: RolloutStatus, code: str, *, started: bool) -> Outcome:
    if status.phase is Phase.PAUSED:
        return "paused"
    if not started:
        return "not-started"
    if status.phase is Phase.SUCCEEDED:
        return "promoted"
    return "rolled-back" if code in HARM_CODES else "gave-up"


def _joined(seen: list[Seen]) -> Seen:
    """One long window."""
    return Seen(seen[0].start, seen[-1].end, _total([each.canary for each in seen]), _total([each.stable for each in seen]))


def _total(arms: list[Arm]) -> Arm:
    slower = tuple(sum(counts) for counts in zip(*(arm.slower for arm in arms), strict=True))
    return Arm(sum(a.total for a in arms), sum(a.errors for a in arms), slower, sum(a.hung for a in arms))


_SERVES_OLD = SlotState(version="1", ready=True)
_SERVES_NEW = SlotState(version="2", ready=True)


def _document() -> Raw:
    """A rollout whose versions somebody else brings up: what is simulated begins with traffic."""
    return {
        "apiVersion": "rollouts.triton.dev/v1alpha1",
        "kind": "TritonRollout",
        "metadata": {"name": "simulated", "namespace": "default", "annotations": {ANNOTATION_VERSION: "2"}},
        "spec": {
            "policy": "simulated",
            "route": {"virtualService": "simulated"},
            "slots": {STABLE: {"host": "stable"}, CANARY: {"host": "canary"}},
        },
    }
