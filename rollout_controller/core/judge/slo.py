"""The judge of one SLO: takes in windows one at a time, in the order of time, and remembers what later ones need.

Each window is counted once. A window that straddles a change of weight is counted for people (totals) and for stable's memory,
but is evidence for neither weight. Windows of one weight are joined until they last a quarter of the tolerance; what is left
when the weight changes is judged as it is. Latency windows that start within `grace` after an increase are no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from rollout_controller.api.evidence import (
    ComparedEdge,
    Counts,
    Dispersion,
    Minutes,
    PendingWindow,
    QuestionEvidence,
    Routing,
    SloEvidence,
    Slower,
)
from rollout_controller.api.meta import unchecked
from rollout_controller.core.judge import compared, dispersion, lane, mixture, routing, stable, thresholds, variation
from rollout_controller.core.judge.compared import Shares
from rollout_controller.core.judge.facts import Facts
from rollout_controller.core.judge.pending import joined
from rollout_controller.core.judge.questions import GRID, PRIORS, Arms, Question
from rollout_controller.core.judge.stable import Bins
from rollout_controller.core.judge.step import Place, StepView
from rollout_controller.core.judge.terms import Asked, SloTerms
from rollout_controller.core.observation import Window
from rollout_controller.core.rounding import rounded

_NO_EVIDENCE = (0.0,) * GRID
_BESIDE_LAST, _LARGEST_FLOOR = 3.0, 0.6
"""With all traffic on the canary, how much worse than stable's last share, while that missed the objective, is harm."""


class SloJudge:
    """A working copy of one SLO's evidence, whose fields are the judge's own; `evidence()` gives it back as a value.

    What is no evidence has slots, so that `vars()` is the evidence and nothing else.
    """

    __slots__ = ("__dict__", "_memory", "_share_over", "terms")

    window_end: float | None
    unusable_since: float | None
    step: int | None
    step_started_at: float | None
    new_step: bool
    step_canary: Counts
    canary: Counts
    stable: Counts
    pending: PendingWindow | None
    before: Dispersion
    minutes: Minutes
    recent: Shares
    compared: tuple[ComparedEdge, ...]
    stable_bins: Bins
    questions: dict[str, QuestionEvidence]
    failures: int
    fine: bool
    entry: int
    reentered: bool
    routing: Routing
    lane: QuestionEvidence | None
    lane_step: int | None
    last_stable: tuple[Counts, ...]

    def __init__(self, terms: SloTerms, memory: SloEvidence | None) -> None:
        self.terms = terms
        self._memory = self._about_the_same(memory)
        self._share_over: tuple[Bins, float | None] | None = None
        vars(self).update(vars(self._memory))
        self.questions = {asked.question.name: self._known(asked) for asked in terms.asked}

    def _about_the_same(self, memory: SloEvidence | None) -> SloEvidence:
        """The memory if it answers the question that the policy asks now; else a fresh one, at the same place in time."""
        objective, limit_s = self.terms.objective, self.terms.limit_s
        if memory is not None and memory.objective == objective and memory.limit_s == limit_s:
            return memory
        return SloEvidence(objective=objective, limit_s=limit_s, window_end=memory.window_end if memory else None)

    def _known(self, asked: Asked) -> QuestionEvidence:
        """The evidence so far; none that is not about the alternatives of now (another version of this program wrote it)."""
        known = self._memory.questions.get(asked.question.name)
        if known is None:
            return mixture.SLOW.none_spent()
        size = GRID * len(self.compared) if self._at_edges(asked) else GRID
        fits = not known.log_weights or len(known.log_weights) == size
        return known if fits and len(known.burst) in {0, size} else mixture.SLOW.none_spent()

    def evidence(self) -> SloEvidence:
        """What must be remembered."""
        return unchecked(SloEvidence, vars(self).copy())

    def is_new(self, window: Window) -> bool:
        """Whether nothing of the window was taken in before: late, repeated and overlapping ones are not."""
        return self.window_end is None or window.start >= self.window_end

    def close(self, window: Window, where: Place, step: StepView) -> float | None:
        """Judge what is pending if `window`, which lies `where`, is not at the same weight; the end of what was judged."""
        if self.pending is None or not _usable(window):
            return None
        same = self.step == step.step and self.entry == step.retreats
        if (same and where is Place.THIS_STEP) or where is Place.EARLIER_STEP:
            return None
        return self._judge_pending(step)

    def take(self, window: Window, where: Place, step: StepView, *, alarmed: bool = False) -> float | None:
        """Take in a new window, for which `close` was called; the end of what was judged, if anything.

        `alarmed`: the lane has said already that users must go, and looks no more.
        """
        self.window_end = window.end
        if not _usable(window):
            self.unusable_since = window.start if self.unusable_since is None else self.unusable_since
            return None
        self.unusable_since = None
        seconds = rounded(window.end - window.start, 1e3)
        self.stable_bins = stable.remember(self.stable_bins, seconds, window.stable)
        slower = compared.usable(window.slower, window.canary, window.stable)
        if step.retreat and window.stable.total:
            self.last_stable = (*self.last_stable[-1:], window.stable)
        here = where is Place.THIS_STEP
        if not here and where is not Place.EARLIER_STEP:
            self._take_stable(window, where)
            self._remember(seconds, window.stable, slower)
            return None
        self.canary, self.stable = self.canary + window.canary, self.stable + window.stable
        self._enter_step(step, here=here)
        if here and self.terms.hanging:
            self.routing = routing.remember(self.routing, window, step)
        grace_end = self.grace_end()
        if grace_end is not None and window.start < grace_end:
            self._remember(seconds, window.stable, slower)
            return None
        if lane.is_open(step) and not alarmed and (here or step.left_at is None):
            self._look(window, seconds, step)
        self.step_canary += window.canary
        self.pending = joined(self.pending, window, seconds, slower)
        return self._judge_pending(step) if self._is_whole(self.pending) else None

    def _take_stable(self, window: Window, where: Place) -> None:
        """Count a window that says something about stable only."""
        if where is Place.BEFORE:
            self.before = dispersion.remember(self.before, window.stable)
        elif where is Place.ACROSS:
            self.canary, self.stable = self.canary + window.canary, self.stable + window.stable

    def _is_whole(self, pending: PendingWindow) -> bool:
        """Whether it is long enough. Without a request of the canary there is nothing to judge: its time goes to the next."""
        return pending.seconds >= self.terms.joined and (pending.canary.total > 0 or self.terms.failures is not None)

    def _look(self, window: Window, seconds: float, step: StepView) -> None:
        """Let the lane take in a window."""
        guarded, floor = self._common_cause(step)
        guarded = guarded or (step.weight < 100 and lane.misses(self.last_stable, self.terms.objective))
        look = lane.Look(
            window.canary,
            window.stable,
            seconds,
            guarded=guarded,
            new_step=self.lane_step != self.step,
            effect=max(step.design_effect, self.before.effect),
            step_count=self.terms.step_count,
        )
        self.lane = lane.grow(max(self.terms.lane_bound, floor), self.lane, look, step)
        self.lane_step = self.step

    def _remember(self, seconds: float, counts: Counts, slower: Sequence[Slower]) -> None:
        """Stable's past: its shares of late, where it is compared with, and how it varies."""
        self.minutes = variation.remember(self.minutes, seconds, counts, slower)
        if self.terms.ratio is not None:
            self.recent = compared.remember(self.recent, seconds, counts, slower)

    def log_parts(self) -> list[float]:
        """Ln (w_m M_m) of each question."""
        return [asked.log_weight + self.questions[asked.question.name].log_e for asked in self.terms.asked]

    @property
    def over(self) -> bool:
        """With the rule threshold: enough windows in a row are over the objective."""
        return self.terms.failures is not None and self.failures >= self.terms.failures

    @property
    def blamed(self) -> Asked:
        """The question with the largest w_m M_m ever."""
        return max(self.terms.asked, key=lambda asked: asked.log_weight + self.questions[asked.question.name].max_log_e)

    @property
    def max_log_part(self) -> float:
        """The largest ln (w_m M_m) so far."""
        return max([asked.log_weight + self.questions[asked.question.name].max_log_e for asked in self.terms.asked])

    @property
    def log_e(self) -> float:
        """The present ln M_m of the question with the most evidence of harm."""
        return max([each.log_e for each in self.questions.values()])

    def health_effect(self, step: StepView) -> float:
        """What evidence of health for this step is divided by."""
        varies, effect, since = variation.at(self.minutes, compared.OWN), self.effect(step), self.step_started_at
        if varies == 0 or since is None or self.window_end is None:
            return effect
        minutes = max((self.window_end - since) / variation.MINUTE_S, 1.0)
        return max(effect, variation.effect(varies, self.step_canary.total / minutes))

    def effect(self, step: StepView) -> float:
        """Design effect of the SLO's counts."""
        return max(step.design_effect, min(self.before.effect, self.terms.largest_effect))

    def grace_end(self) -> float | None:
        """Until when windows that start are no evidence; None without grace. Errors count at once."""
        if self.terms.grace is None or self.step_started_at is None:
            return None
        return self.step_started_at + self.terms.grace

    def _common_cause(self, step: StepView) -> tuple[bool, float]:
        """Whether the canary is not asked whether it is bad by itself, because stable is; and what it may be at least.

        With all traffic on the canary nothing new is heard of stable. An outage must not hide behind what it did before: from
        then on the canary may be three times as bad as that.
        """
        over = self.stable_share_over()
        if over is None:
            return False, 0.0
        return (False, min(_BESIDE_LAST * over, _LARGEST_FLOOR)) if step.weight == 100 and self.step == step.step else (True, 0.0)

    def stable_share_over(self) -> float | None:
        """Stable's bad share if stable itself misses the objective, else None."""
        if self._share_over is None or self._share_over[0] is not self.stable_bins:
            self._share_over = (self.stable_bins, stable.share_over(self.stable_bins, self.terms.objective))
        return self._share_over[1]

    def _enter_step(self, step: StepView, *, here: bool) -> None:
        """The window's step: `here`, this one; of an earlier one never seen only the time of the first traffic is known."""
        if not here:
            if self.step is None:
                self.step, self.step_started_at = max(step.step - 1, 0), step.first_traffic_at
        elif self.step != step.step:
            self.step, self.step_started_at = step.step, step.step_started_at
            self.step_canary, self.new_step, self.entry = Counts(0, 0), True, step.retreats
            self.fine = False
        elif self.entry != step.retreats:
            self.entry, self.reentered = step.retreats, True  # the same weight again, without new grace

    def _judge_pending(self, step: StepView) -> float:
        """Let every question grow by the pending window."""
        assert self.pending is not None
        pending, self.pending = self.pending, None
        if self.terms.failures is not None:
            threshold = thresholds.after(self.failures, pending, self.terms)
            self.failures, self.fine = threshold, threshold == 0 if pending.canary.total else self.fine
            self._remember(pending.seconds, pending.stable, pending.slower)
            return pending.end
        by_edge = compared.at_edges(pending.canary, pending.stable, pending.slower)
        facts = Facts(pending, by_edge, self.recent, self.minutes, self.effect(step), self.terms.objective)
        guarded, floor = self._common_cause(step)
        own = facts.own(floor)
        seconds = min(pending.seconds, self.terms.longest)
        if self.terms.ratio is not None and self.terms.kind == "latency" and not self.compared:
            self.compared = compared.choose(self.recent)
        for asked in self.terms.asked:
            before, cap = self.questions[asked.question.name], asked.speed * seconds
            priors = self._priors(asked)
            if not priors:
                continue
            if guarded and asked.question.needs_good_stable:
                cap = 0.0  # good requests still speak for the canary; evidence that only stood still would be kept too long
            arms = self._arms(asked, facts, own)
            increments = _ratios(asked.question, arms)
            if max(increments) > cap:
                increments = [min(ratio, cap) for ratio in increments]
            self.questions[asked.question.name] = mixture.grow(
                before,
                increments,
                priors,
                start=mixture.start_mass(before, new_step=self.new_step, steps=self.terms.step_count, reentered=self.reentered),
                spread=mixture.spread_mass(before, pending.seconds, step.planned_s),
                unexplained=_unexplained(asked.question, arms),
            )
        self.new_step = self.reentered = False
        self.compared = compared.counted(self.compared, by_edge)
        self._remember(pending.seconds, pending.stable, pending.slower)
        return pending.end

    def worst_edge(self) -> ComparedEdge | None:
        """For latency compared with stable: the edge with the most evidence of harm, when it is not the SLO's own."""
        asked = self.blamed
        weights = self.questions[asked.question.name].log_weights
        if not self._at_edges(asked) or not weights:
            return None
        most = max(range(len(self.compared)), key=lambda i: max(weights[i * GRID : (i + 1) * GRID]))
        return self.compared[most] if self.compared[most].edge_ms != compared.OWN else None

    def _at_edges(self, asked: Asked) -> bool:
        return self.terms.kind == "latency" and not asked.question.needs_good_stable

    def _priors(self, asked: Asked) -> tuple[float, ...]:
        """Shares of the bet on each alternative; none while nothing says at which edges to compare."""
        if not self._at_edges(asked):
            return PRIORS
        return _over_edges(tuple([edge.share for edge in self.compared]))

    def _arms(self, asked: Asked, facts: Facts, own: Arms) -> Sequence[Arms | None]:
        """What the question is asked about: what the SLO itself says, or each edge that is compared."""
        return [facts.at(edge.edge_ms) for edge in self.compared] if self._at_edges(asked) else [own]


def _ratios(question: Question, each: Sequence[Arms | None]) -> Sequence[float]:
    """Log likelihood ratios of all alternatives, edge after edge."""
    ratios: list[float] = []
    for arms in each:
        ratios += _NO_EVIDENCE if arms is None else question.log_likelihoods(arms)
    return ratios


def _unexplained(question: Question, each: Sequence[Arms | None]) -> Sequence[bool]:
    """For which alternatives the window is a burst, edge after edge; empty: for none."""
    counts = [0 if arms is None else question.unexplained(arms) for arms in each]
    return [number < count for count in counts for number in range(GRID)] if any(counts) else ()


@lru_cache(maxsize=64)
def _over_edges(shares: tuple[float, ...]) -> tuple[float, ...]:
    return tuple([share * prior for share in shares for prior in PRIORS])


def _usable(window: Window) -> bool:
    start, end, (total, bad), (stable_total, stable_bad), _ = window
    return end > start and 0 <= bad <= total and 0 <= stable_bad <= stable_total
