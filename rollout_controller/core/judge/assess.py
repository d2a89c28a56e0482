"""Verdicts on all SLOs of an attempt, and the one promise over all of them: P(false rollback) <= alpha.

M = sum of w_m M_m over all questions, whatever their dependence; M is looked at after every judged window, so a batch of
windows after a restart decides as one at a time would have. Harm is M >= 1/alpha (Ville), blamed on the largest w_m M_m.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log

from rollout_controller.api.evidence import Alarm, Harm, JudgeState, Lane, QuestionEvidence
from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec
from rollout_controller.api.status import Verdict
from rollout_controller.core.judge import lane
from rollout_controller.core.judge.mixture import log_sum
from rollout_controller.core.judge.slo import SloJudge
from rollout_controller.core.judge.step import StepView, place
from rollout_controller.core.judge.terms import terms_of
from rollout_controller.core.judge.verdicts import verdict_on
from rollout_controller.core.observation import SliReading, Window


@dataclass(frozen=True)
class Assessment:
    """What follows from the windows."""

    state: JudgeState
    """The next memory."""
    verdicts: tuple[Verdict, ...]
    """One per SLO of the policy, in its order."""
    harm: Verdict | None
    """The blamed one, when the evidence has ever reached 1/alpha in this attempt."""
    harm_at: float | None
    """End of the window whose data did it."""

    @property
    def alarm(self) -> Alarm | None:
        """Users must be taken out of the way now."""
        return self.state.lane.fired


def assess(
    policy: PolicySpec,
    step: StepView,
    state: JudgeState | None,
    readings: Mapping[str, SliReading],
    now: float,
    *,
    said: Sequence[Verdict] = (),
) -> Assessment:
    """Take in the new windows of all SLOs and say what is known (judge.md).

    Windows that were taken in before, in part or whole, change nothing. `state` None begins an attempt. `said`: verdicts of
    before whose words (sentence, interval, requests needed) are kept, because nobody will read them: they cost as much as all
    that is decided by.
    """
    before, step = state or JudgeState(), step.to_milliseconds()
    judges = [SloJudge(terms, before.slos.get(terms.name)) for terms in terms_of(policy)]
    watch = LaneWatch(before.lane, judges, step)
    log_threshold = -log(policy.judge.false_rollback)
    max_log_e, harm = before.max_log_e, before.harm
    for at in _judged(judges, readings, step, watch):
        log_e = log_sum([part for judge in judges for part in judge.log_parts()])
        max_log_e = max(max_log_e, log_e)
        over = next((judge for judge in judges if judge.over), None)
        if harm is None and (log_e >= log_threshold or over is not None):
            harm = Harm(slo=(over or max(judges, key=_log_blame)).terms.name, at=at)
    slos = {judge.terms.name: judge.evidence() for judge in judges}
    after = evolve(before, slos=slos, max_log_e=max_log_e, harm=harm, lane=watch.memory)
    words = {verdict.slo: verdict for verdict in said}
    verdicts = tuple(
        [
            verdict_on(
                judge,
                policy,
                step,
                state=after,
                reading=readings.get(judge.terms.name),
                now=now,
                said=_same_subject(words.get(judge.terms.name), judge),
            )
            for judge in judges
        ]
    )
    blamed = next((v for v in verdicts if harm is not None and v.slo == harm.slo), None)
    return Assessment(after, verdicts, blamed, harm.at if harm is not None and blamed is not None else None)


def suspects(policy: PolicySpec, state: JudgeState | None, chance: float) -> frozenset[str]:
    """The SLOs whose evidence, as it is now, comes from a version that meets them with this chance at most.

    Not as it once was: what speaks for the version since then counts, too.
    """
    least, known = -log(chance), state.slos if state is not None else {}
    found = set()
    for terms in terms_of(policy):
        questions = known[terms.name].questions if terms.name in known else {}
        mine = [each.log_weight + questions[name].log_e for each in terms.asked if (name := each.question.name) in questions]
        if max(mine, default=0.0) >= least:
            found.add(terms.name)
    return frozenset(found)


class LaneWatch:
    """A working copy of the lane's memory, looked at after every window."""

    def __init__(self, memory: Lane, judges: list[SloJudge], step: StepView) -> None:
        self.memory, self._judges = lane.at_entry(memory, step), judges
        if self.memory is not memory:
            for judge in judges:
                judge.lane = None

    def look(self, judge: SloJudge, window: Window, before: QuestionEvidence | None) -> None:
        """Whether users must go, now that `judge` has taken in `window`; `before`: its lane as it was."""
        if judge.lane is before:
            return
        entered_at = self.memory.entered_at
        fired = None
        if lane.is_over([each.lane for each in self._judges]):
            fired = lane.alarm(judge.terms.name, window)
        if fired is not None or entered_at is None:
            self.memory = evolve(self.memory, entered_at=window.start if entered_at is None else entered_at, fired=fired)


def _judged(judges: list[SloJudge], readings: Mapping[str, SliReading], step: StepView, watch: LaneWatch) -> Iterator[float]:
    """Take in all windows in the order of time; after each piece of evidence, the end of the window that gave it."""
    windows = [
        (window.to_milliseconds(), judge)
        for judge in judges
        if (reading := readings.get(judge.terms.name)) is not None
        for window in reading.windows
    ]
    windows.sort(key=lambda pair: (pair[0].end, pair[0].start))  # stable: SLOs in the policy's order
    for window, judge in windows:
        if judge.is_new(window):
            where = place(window, step)
            if (at := judge.close(window, where, step)) is not None:
                yield at
            lane_before = judge.lane
            at = judge.take(window, where, step, alarmed=watch.memory.fired is not None)
            watch.look(judge, window, lane_before)
            if at is not None:
                yield at


def _same_subject(said: Verdict | None, judge: SloJudge) -> Verdict | None:
    """Words are kept while the policy asks what it asked when they were said."""
    same = said is not None and (said.objective, said.limit_ms, said.kind) == judge.terms.subject
    return said if same else None


def _log_blame(judge: SloJudge) -> float:
    """Ln of the SLO's largest w_m M_m."""
    return max(judge.log_parts())
