"""The lane: is this bad enough to get users out of the way at once? The version is judged later (judge.md, Retreat).

The same formulae as for the verdict, without its speed limit, on every window as it comes, and about larger harm only: errors
over 3 times the objective, slow requests over 6 times, alone and against stable. It costs no error probability of the verdict:
a retreat fails no attempt, and what is bet on here is bet apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf, log
from typing import NamedTuple

from rollout_controller.api.evidence import Alarm, Dispersion, Lane, QuestionEvidence, Tally
from rollout_controller.core.judge import dispersion, mixture
from rollout_controller.core.judge.questions import PRIORS, AbsoluteQuestion, Arms, Question, RelativeQuestion
from rollout_controller.core.judge.step import StepView
from rollout_controller.core.observation import Window

FACTOR = {"errors": 3.0, "latency": 6.0}
"""By kind of SLO: so many times the objective is the harm that is looked for."""
THRESHOLD = log(100)
"""ln M of a retreat: a version within those bounds gets there with a chance of 1 % at most, at each return of the traffic."""
MOST_RETREATS = 5
"""Then the lane closes, and the verdict alone decides."""
STRIKE_S = 15.0
"""Harm that comes back within this time after the traffic (or within its first window) is a strike."""
_CAP = 40.0
_RATIO = 1.1
_LARGEST_BOUND = 0.6
_COARSE = tuple(prior / sum(PRIORS[::2]) for prior in PRIORS[::2])

Answers = dict[str, QuestionEvidence]


def questions(kind: str, p0: float) -> tuple[Question, ...]:
    """What the lane asks about one SLO."""
    bound = min(FACTOR[kind] * p0, _LARGEST_BOUND)
    return AbsoluteQuestion(bound), RelativeQuestion(_RATIO, bound, "relative", coarse=True)


class Look(NamedTuple):
    """One window as the lane sees it."""

    arms: Arms
    seconds: float
    guarded: bool
    """Stable misses the objective, too."""
    new_step: bool
    effect: float
    step_count: int


def fresh(asked: Sequence[Question]) -> Answers:
    """The evidence when the traffic comes, or comes back."""
    return {question.name: mixture.LANE.none_spent() for question in asked}


def grow(asked: Sequence[Question], answers: Answers, look: Look, step: StepView) -> Answers:
    """Take in one window."""
    grown = {}
    for question in asked:
        before = answers[question.name]
        priors = _COARSE if isinstance(question, RelativeQuestion) else PRIORS
        increments: Sequence[float] = (0.0,) * len(priors)
        if not (look.guarded and question.needs_good_stable):
            increments = [min(ratio / look.effect, _CAP) for ratio in question.log_likelihoods(look.arms)]
        start = mixture.start_mass(before, new_step=look.new_step, steps=max(look.step_count, 2), masses=mixture.LANE)
        spread = mixture.spread_mass(before, look.seconds, step.planned_s, mixture.LANE)
        grown[question.name] = mixture.grow(before, increments, priors, start=start, spread=spread)
    return grown


def effect(before: Dispersion, beforehand: float) -> float:
    """D of the lane: not clipped to the batch size, so that pods that are known to hiccup cause no needless retreat."""
    return max(beforehand, dispersion.design_effect(before, inf))


def misses(last: Sequence[Tally], objective: float) -> bool:
    """Whether stable misses the objective over its last or its last two windows with traffic."""
    for count in (1, 2):
        total, bad = sum(t.total for t in last[-count:]), sum(t.bad for t in last[-count:])
        if bad >= 3 and bad > objective * total:
            return True
    return False


def is_open(step: StepView) -> bool:
    """Whether anybody asks the lane."""
    return step.retreat and step.retreats < MOST_RETREATS


def at_entry(memory: Lane, step: StepView) -> Lane:
    """The lane of this return of the traffic: it begins anew."""
    return memory if memory.entry == step.retreats else Lane(entry=step.retreats)


def log_mean(answers: Sequence[Answers]) -> float:
    """Ln of M_lane: the mean over all questions about all SLOs."""
    logs = [answer.log_e for each in answers for answer in each.values()]
    top = max(logs)
    return top + log(sum([exp(value - top) for value in logs]) / len(logs))


def alarm(slo: str, window: Window) -> Alarm:
    """What people are told of it: the last window of many, or the only one."""
    seconds = round(window.end - window.start, 3)
    return Alarm(slo=slo, at=window.end, seconds=seconds, total=window.canary.total, bad=window.canary.bad)
