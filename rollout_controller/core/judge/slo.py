"""The judge of one SLO: takes in windows one at a time, in the order of time, and remembers what later ones need.

Each window is counted once. A window that straddles a change of weight is counted for people (totals) and for stable's memory,
but is evidence for neither weight. Windows of one weight are joined until they last a quarter of the tolerance; what is left
when the weight changes is judged as it is. Latency windows that start within `grace` after an increase are no evidence.
"""

from __future__ import annotations

from typing import NamedTuple

from rollout_controller.api.evidence import PendingWindow, QuestionEvidence, SloEvidence, Tally
from rollout_controller.api.meta import evolve
from rollout_controller.core.judge import mixture, stable
from rollout_controller.core.judge.questions import GRID
from rollout_controller.core.judge.step import Place, StepView, place
from rollout_controller.core.judge.terms import SloTerms
from rollout_controller.core.observation import Counts, Window


class _Pending(NamedTuple):
    end: float
    seconds: float
    canary: Counts
    stable: Counts


class SloJudge:
    """A working copy of one SLO's evidence; `evidence()` gives it back as a value."""

    def __init__(self, terms: SloTerms, memory: SloEvidence | None) -> None:
        self.terms = terms
        self._load(self._about_the_same(memory))

    def _about_the_same(self, memory: SloEvidence | None) -> SloEvidence:
        """The memory if it answers the question that the policy asks now; else a fresh one, at the same place in time."""
        objective, limit_s = self.terms.objective, self.terms.limit_s
        if memory is not None and memory.objective == objective and memory.limit_s == limit_s:
            return memory
        return SloEvidence(objective=objective, limit_s=limit_s, window_end=memory.window_end if memory else None)

    def _load(self, memory: SloEvidence) -> None:
        self._memory = memory
        self.window_end = memory.window_end
        self.unusable_since = memory.unusable_since
        self.step = memory.step
        self.step_started_at = memory.step_started_at
        self.step_canary = _counts(memory.step_canary)
        self.canary = _counts(memory.canary)
        self.stable = _counts(memory.stable)
        self.pending = _from_memory(memory.pending)
        self.stable_bins = memory.stable_bins
        self.answers = {q.name: memory.questions.get(q.name) or QuestionEvidence() for q in self.terms.questions}
        self.new_step = memory.new_step

    def evidence(self) -> SloEvidence:
        """What must be remembered."""
        before = self._memory
        return evolve(
            before,
            window_end=self.window_end,
            unusable_since=self.unusable_since,
            step=self.step,
            step_started_at=self.step_started_at,
            new_step=self.new_step,
            step_canary=_tally(self.step_canary, before.step_canary),
            canary=_tally(self.canary, before.canary),
            stable=_tally(self.stable, before.stable),
            pending=_to_memory(self.pending),
            stable_bins=self.stable_bins,
            questions=self.answers,
        )

    def is_new(self, window: Window) -> bool:
        """Whether nothing of the window was taken in before: late, repeated and overlapping ones are not."""
        return self.window_end is None or window.start >= self.window_end

    def close(self, window: Window, step: StepView) -> float | None:
        """Judge what is pending if `window` is not at the same weight; the end of what was judged."""
        if self.pending is None or not _usable(window):
            return None
        where = place(window, step)
        if where is Place.EARLIER_STEP or (where is Place.THIS_STEP and self.step == step.step):
            return None
        return self._judge_pending(step)

    def take(self, window: Window, step: StepView) -> float | None:
        """Take in a new window, for which `close` was called; the end of what was judged, if anything."""
        self.window_end = window.end
        if not _usable(window):
            self.unusable_since = window.start if self.unusable_since is None else self.unusable_since
            return None
        self.unusable_since = None
        seconds = round(window.end - window.start, 3)
        self.stable_bins = stable.remember(self.stable_bins, seconds, window.stable)
        where = place(window, step)
        if where is Place.BEFORE:
            return None
        self.canary, self.stable = self.canary + window.canary, self.stable + window.stable
        if where is Place.ACROSS:
            return None
        self._enter_step(where, step)
        grace_end = self.grace_end()
        if grace_end is not None and window.start < grace_end:
            return None
        self.step_canary += window.canary
        self.pending = _joined(self.pending, window, seconds)
        return self._judge_pending(step) if self.pending.seconds >= self.terms.joined else None

    @property
    def log_e(self) -> float:
        """The present ln M_m of the question with the most evidence of harm."""
        return max(answer.log_e for answer in self.answers.values())

    @property
    def max_log_e(self) -> float:
        """The largest ln M_m so far."""
        return max(answer.max_log_e for answer in self.answers.values())

    def grace_end(self) -> float | None:
        """Until when windows that start are no evidence; None without grace. Errors count at once."""
        if self.terms.grace is None or self.step_started_at is None:
            return None
        return self.step_started_at + self.terms.grace

    def stable_share_over(self) -> float | None:
        """Stable's bad share if stable itself misses the objective, else None."""
        return stable.share_over(self.stable_bins, self.terms.objective)

    def _enter_step(self, where: Place, step: StepView) -> None:
        """The step the window belongs to; of an earlier one never seen only the time of the first traffic is known."""
        if where is Place.EARLIER_STEP and self.step is None:
            self.step, self.step_started_at = max(step.step - 1, 0), step.first_traffic_at
        elif where is Place.THIS_STEP and self.step != step.step:
            self.step, self.step_started_at = step.step, step.step_started_at
            self.step_canary, self.new_step = Counts(0, 0), True

    def _judge_pending(self, step: StepView) -> float:
        """Let every question grow by the pending window."""
        assert self.pending is not None
        pending, self.pending = self.pending, None
        guarded = self.stable_share_over() is not None
        cap = self.terms.speed * min(pending.seconds, self.terms.longest)
        for question in self.terms.questions:
            before = self.answers[question.name]
            if guarded and question.needs_good_stable:
                increments = [0.0] * GRID
            else:
                ratios = question.log_likelihoods(pending.canary, pending.stable)
                increments = [min(ratio / step.design_effect, cap) for ratio in ratios]
            self.answers[question.name] = mixture.grow(
                before,
                increments,
                start=mixture.start_mass(before, new_step=self.new_step, steps=self.terms.step_count),
                spread=mixture.spread_mass(before, pending.seconds, step.planned_s),
            )
        self.new_step = False
        return pending.end


def _usable(window: Window) -> bool:
    return window.end > window.start and all(0 <= c.bad <= c.total for c in (window.canary, window.stable))


def _joined(pending: _Pending | None, window: Window, seconds: float) -> _Pending:
    if pending is None:
        return _Pending(window.end, seconds, window.canary, window.stable)
    seconds = round(pending.seconds + seconds, 3)
    return _Pending(window.end, seconds, pending.canary + window.canary, pending.stable + window.stable)


def _from_memory(pending: PendingWindow | None) -> _Pending | None:
    if pending is None:
        return None
    return _Pending(pending.end, pending.seconds, _counts(pending.canary), _counts(pending.stable))


def _to_memory(pending: _Pending | None) -> PendingWindow | None:
    if pending is None:
        return None
    canary, stable = (Tally(total=c.total, bad=c.bad) for c in (pending.canary, pending.stable))
    return PendingWindow(end=pending.end, seconds=pending.seconds, canary=canary, stable=stable)


def _counts(tally: Tally) -> Counts:
    return Counts(tally.total, tally.bad)


def _tally(counts: Counts, before: Tally) -> Tally:
    return evolve(before, total=counts.total, bad=counts.bad)
