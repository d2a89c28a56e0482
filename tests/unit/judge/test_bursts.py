"""What an alternative gains in a burst that it does not explain is its own only while the burst lasts."""

from __future__ import annotations

import pytest

from rollout_controller.core.judge.mixture import SLOW, grow
from rollout_controller.core.judge.questions import GRID, PRIORS, AbsoluteQuestion, Arms, Question, RelativeQuestion
from rollout_controller.core.observation import Counts
from tests.unit.judge.worlds import play, policy, row, step

BURST = ((600, 200), (5400, 27))
QUESTIONS = (AbsoluteQuestion(0.01), RelativeQuestion(1.1, 0.0005, "relative"))


def arms(bad: int, *, together: float = 1.0) -> Arms:
    return Arms(Counts(600, bad), Counts(5400, 27), 0.005, together=together)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.name)
def test_alternatives_that_explain_less_are_counted_from_the_smallest(question: Question) -> None:
    counts = [question.unexplained(arms(bad)) for bad in (0, 3, 10, 20, 60, 200, 600)]
    assert counts[:2] == [0, 0]
    assert counts == sorted(counts)
    assert 0 < counts[3] < counts[-2] < GRID
    assert question.unexplained(arms(60, together=32.0)) < question.unexplained(arms(60)), "batches of 32 fail together"


def test_it_is_lost_with_the_first_window_that_is_no_burst() -> None:
    before = grow(SLOW.none_spent(), (-0.5,) * GRID, PRIORS, start=0.7, spread=0.0)
    burst, more = (True,) * 3 + (False,) * 4, (2.0,) * GRID
    during = grow(before, more, PRIORS, start=0.0, spread=0.0, unexplained=burst)
    longer = grow(during, more, PRIORS, start=0.0, spread=0.0, unexplained=burst)
    assert longer.burst == (4.0, 4.0, 4.0, 0.0, 0.0, 0.0, 0.0)
    assert longer.log_weights == pytest.approx([weight + 4 for weight in before.log_weights])
    after = grow(longer, (-0.25,) * GRID, PRIORS, start=0.0, spread=0.0)
    assert after.burst == ()
    assert after.log_weights[:3] == pytest.approx([weight - 0.25 for weight in before.log_weights[:3]])
    assert after.log_weights[3:] == pytest.approx([weight + 3.75 for weight in before.log_weights[3:]])
    assert after.max_log_e == longer.max_log_e > before.max_log_e


def test_an_alternative_that_explains_the_rest_of_a_burst_loses_what_it_did_not_explain() -> None:
    before = grow(SLOW.none_spent(), (0.0,) * GRID, PRIORS, start=0.7, spread=0.0)
    wide = grow(before, (2.0,) * GRID, PRIORS, start=0.0, spread=0.0, unexplained=(True,) * 5 + (False,) * 2)
    narrow = grow(wide, (1.0,) * GRID, PRIORS, start=0.0, spread=0.0, unexplained=(True,) * 2 + (False,) * 5)
    assert narrow.burst == (3.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    gained = [now - was for now, was in zip(narrow.log_weights, before.log_weights, strict=True)]
    assert gained == pytest.approx([3.0, 3.0, 1.0, 1.0, 1.0, 3.0, 3.0])


def test_hiccups_do_not_add_up_and_one_as_long_as_all_of_them_is_harm() -> None:
    """Six of 30 s, each half of the tolerance, in a service at its objective: little speaks against small alternatives."""
    usual = ((600, 6), (5400, 54))
    hiccups = ([BURST] * 2 + [usual] * 6) * 6
    assert play(policy(slos=["errors"]), step(), row(hiccups, 15)).harm is None
    assert play(policy(slos=["errors"]), step(), row([usual] * 18 + [BURST] * 12, 15)).harm is not None


@pytest.mark.parametrize("bad", [18, 30, 60])
def test_harm_that_lasts_is_found_as_soon_as_before(bad: int) -> None:
    """3, 5 and 10 %: the alternatives that explain it need nobody else."""
    found = play(policy(slos=["errors"]), step(), row([((600, bad), (5400, 27))] * 12, 15))
    assert found.harm is not None
