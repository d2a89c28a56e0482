"""Evidence of harm against independent computations of the same formulae."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest

from rollout_controller.api.evidence import JudgeState, QuestionEvidence
from rollout_controller.core.judge import assess, mixture
from rollout_controller.core.judge.questions import GRID, PRIORS, AbsoluteQuestion, Arms, RelativeQuestion
from rollout_controller.core.observation import Counts
from tests.unit.judge.worlds import T0, play, policy, readings, row, step, window, with_effect

NONE = Counts(0, 0)


def alternatives(p0: float) -> list[float]:
    """From 1.3 p0 to 0.99; their log odds ratios to p0 are each the same times the one before."""

    def odds(p: float) -> float:
        return p / (1 - p)

    low, high = math.log(odds(min(1.3 * p0, (p0 + 0.99) / 2)) / odds(p0)), math.log(99 / odds(p0))
    effects = [math.exp(math.log(low) + i * (math.log(high) - math.log(low)) / (GRID - 1)) for i in range(GRID)]
    return [odds(p0) * math.exp(e) / (1 + odds(p0) * math.exp(e)) for e in effects]


def binomial(n: int, k: int, p: float) -> float:
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@pytest.mark.parametrize("p0", [0.001, 0.01, 0.05, 0.5])
@pytest.mark.parametrize(("total", "bad"), [(1, 0), (1, 1), (40, 3), (60, 60)])
def test_the_likelihood_ratio_is_that_of_two_binomials(p0: float, total: int, bad: int) -> None:
    """Up to as many bad requests as the alternative explains; more of them say no more."""
    expected = []
    for p1 in alternatives(p0):
        counted = min(bad, total * p1 + 3 * math.sqrt(total * p1) + 2)
        expected.append(counted * math.log(p1 / p0) + (total - counted) * math.log((1 - p1) / (1 - p0)))
        if counted == bad:
            assert expected[-1] == pytest.approx(math.log(binomial(total, bad, p1) / binomial(total, bad, p0)), abs=1e-9)
    found = AbsoluteQuestion(p0).log_likelihoods(Arms(Counts(total, bad), NONE, 0.0))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_a_burst_says_little_of_a_small_regression() -> None:
    for question in (AbsoluteQuestion(0.01), RelativeQuestion(1.1, 0.0005, "relative")):
        steady = question.log_likelihoods(Arms(Counts(400, 12), Counts(3600, 36), 0.01))
        burst = question.log_likelihoods(Arms(Counts(400, 200), Counts(3600, 36), 0.01))
        assert burst[0] < 2 * steady[0]
        assert burst[-2] > 100 * steady[0]


def test_with_all_traffic_on_the_canary_an_outage_does_not_hide_behind_what_stable_did() -> None:
    """Stable missed the objective just before; nobody will hear of it again."""
    before = play(policy(), step(2, 0), row([((200, 3), (200, 6))] * 8, 15))
    result = play(policy(), step(3, 120), row([((400, 400), (0, 0))] * 12, 15, 120), before.state)
    assert result.harm is not None
    as_bad = play(policy(), step(3, 120), row([((400, 14), (0, 0))] * 60, 15, 120), before.state)
    assert as_bad.harm is None, "as bad as stable was"


@pytest.mark.parametrize("p", [0.0, 0.02, 0.1, 0.3])
def test_under_the_null_hypothesis_each_alternative_gains_nothing_in_the_mean(p: float) -> None:
    ratios = [AbsoluteQuestion(0.3).log_likelihoods(Arms(Counts(6, bad), NONE, 0.0)) for bad in range(7)]
    for alternative in range(GRID):
        mean = sum(binomial(6, bad, p) * math.exp(ratios[bad][alternative]) for bad in range(7))
        assert mean <= 1 + 1e-9
        assert p < 0.3 or mean == pytest.approx(1)


def test_an_arm_without_traffic_gives_no_evidence() -> None:
    assert set(AbsoluteQuestion(0.01).log_likelihoods(Arms(NONE, Counts(1000, 900), 0.9))) == {0.0}


def test_the_evidence_is_the_sum_over_all_start_times() -> None:
    rng = random.Random(1)
    counts = [(rng.randint(1, 40), 0) for _ in range(24)]
    counts = [(n, min(n, rng.choice((0, 0, 1, 4)))) for n, _ in counts]
    spec, design_effect = policy(slos=["errors"]), 1.7
    view = with_effect(step(planned=1440), design_effect)
    state = play(spec, view, row([(c, (0, 0)) for c in counts[:12]], 15)).state
    later = with_effect(step(1, 180, planned=1440), design_effect)
    state = play(spec, later, row([(c, (0, 0)) for c in counts[12:]], 15, 180), state).state

    cap = math.log(100) * 15 / 60
    starts = [0.1 * 15 / 1440 + {0: 0.7, 12: 0.2 / 3}.get(k, 0.0) for k in range(24)]
    evidence = 1 - sum(starts)
    for i, p1 in enumerate(alternatives(0.01)):
        gains = [min(math.log(binomial(n, b, p1) / binomial(n, b, 0.01)) / design_effect, cap) for n, b in counts]
        evidence += sum(starts[s] * math.exp(sum(gains[s:])) for s in range(24)) * (14 - i) / 77
    assert state.slos["errors"].questions["absolute"].log_e == pytest.approx(math.log(evidence), abs=1e-4)


def test_false_alarms_are_bounded_exactly() -> None:
    """All 5^6 courses of six windows of four requests, each with its probability: E[M] = 1 and P(max M >= 1/alpha) <= alpha."""
    p0, alpha, windows, each = 0.3, 0.1, 6, 4
    ratios = [AbsoluteQuestion(p0).log_likelihoods(Arms(Counts(each, bad), NONE, 0.0)) for bad in range(each + 1)]
    chance = [binomial(each, bad, p0) for bad in range(each + 1)]
    alarms = [0.0]
    mean = [0.0]

    def go_on(evidence: QuestionEvidence, k: int, probability: float) -> None:
        if k == windows:
            mean[0] += probability * math.exp(evidence.log_e)
            alarms[0] += probability if evidence.max_log_e >= math.log(1 / alpha) else 0
            return
        start = mixture.start_mass(evidence, new_step=k == 3, steps=4)
        for bad in range(each + 1):
            go_on(mixture.grow(evidence, ratios[bad], PRIORS, start=start, spread=0.015), k + 1, probability * chance[bad])

    go_on(QuestionEvidence(), 0, 1.0)
    assert mean[0] == pytest.approx(1, abs=1e-5)
    assert 0 < alarms[0] <= alpha


def test_all_mass_is_spent_once() -> None:
    evidence = QuestionEvidence()
    for k in range(40):
        start = mixture.start_mass(evidence, new_step=k in {10, 20, 30}, steps=4)
        spread = mixture.spread_mass(evidence, 60, planned_s=1800)
        evidence = mixture.grow(evidence, [0.0] * GRID, PRIORS, start=start, spread=spread)
    assert evidence.start_left == pytest.approx(0, abs=1e-12)
    assert evidence.spread_left == pytest.approx(0, abs=1e-12)
    assert evidence.log_e == pytest.approx(0, abs=1e-5)


def test_huge_counts_do_not_overflow() -> None:
    good = play(policy(), step(), row([((10_000_000, 0), (0, 0))] * 20, 15))
    assert math.isfinite(good.state.slos["errors"].questions["absolute"].log_e)
    bad = play(policy(), step(), row([((10_000_000, 10_000_000), (0, 0))] * 40, 15), good.state)
    assert math.isfinite(bad.state.max_log_e)


def test_an_outage_is_found_in_a_quarter_more_than_the_tolerance() -> None:
    for seconds in (1.0, 5.0, 15.0):
        result = play(policy(), step(), row([((40, 40), (360, 1))] * 120, seconds))
        assert result.harm_at is not None
        assert 1.15 * 60 < result.harm_at - T0 <= 1.4 * 60, seconds


def test_the_speed_limit_with_the_demos_times() -> None:
    """Tolerance 4 s, windows of 1 s: five of them decide, four do not."""
    spec = policy(tolerance="4s")
    result = play(spec, step(planned=60), row([((2, 2), (18, 0))] * 12, 1))
    assert result.harm_at == T0 + 5
    jittery = [window(i * 0.999, (i + 1) * 0.999, (3, 3), (17, 0)) for i in range(12)]
    found = play(spec, step(planned=60), jittery).harm_at
    assert found is not None
    assert found - T0 == pytest.approx(5 * 0.999)


@pytest.mark.parametrize("seconds", [1, 2, 7, 14, 15, 16, 20, 23, 28, 29, 30, 31, 45, 60, 200])
def test_a_hiccup_of_half_the_tolerance_is_survived_whatever_the_windows(seconds: int) -> None:
    """Every window that the hiccup touches is lost wholly, in each phase of the grid, even with all mass at work before it."""
    spec = policy(slos=["errors"])
    for phase, before in product(range(0, seconds, max(seconds // 5, 1)), (1, 600 // seconds + 2)):
        first = before * seconds + phase
        touched = {first // seconds + i for i in range((first + 29) // seconds - first // seconds + 1)}
        counts = [((1000, 1000) if k in touched else (0, 0), (0, 0)) for k in range(before + 60 // seconds + 3)]
        result = play(spec, step(planned=600), row(counts, seconds))
        assert result.harm is None, (seconds, phase, before)


def test_harm_is_not_forgotten() -> None:
    found = play(policy(), step(), row([((40, 40), (360, 1))] * 5, 15))
    assert found.harm is not None
    flooded = play(policy(), step(), row([((4000, 0), (360, 1))] * 40, 15, 75), found.state)
    assert flooded.harm is not None
    assert flooded.harm.verdict == "Violated"
    assert flooded.harm_at == found.harm_at
    restarted = play(policy(), step(), [], JudgeState.model_validate_json(flooded.state.model_dump_json()))
    assert restarted.harm == flooded.harm.model_copy(update={"sentence": restarted.harm.sentence if restarted.harm else ""})


def test_harm_in_the_middle_of_a_batch_is_seen() -> None:
    counts = [((40, 40), (360, 1))] * 5 + [((4000, 0), (360, 1))] * 40
    windows = row(counts, 15)
    result = assess(policy(), step(), None, readings(errors=windows), windows[-1].end)
    assert result.harm is not None
    assert result.harm.slo == "errors"
    assert result.harm_at == T0 + 75


def test_errors_and_slowness_together_decide_sooner_than_either() -> None:
    errors = row([((40, 2), (360, 1))] * 7, 15)
    slow = row([((40, 5), (360, 4))] * 7, 15)
    both = assess(policy(), step(), None, readings(errors=errors[:5], latency=slow[:5]), T0)
    assert both.harm_at == T0 + 75
    assert both.harm is not None
    assert both.harm.slo == "latency"
    assert both.harm.false_alarm <= 0.01
    assert both.verdicts[0].verdict == "Undecided"
    parts = [evidence.questions["absolute"].max_log_e for evidence in both.state.slos.values()]
    assert max(parts) < math.log(2 / 0.01), "neither would have decided alone"
    assert both.verdicts[0].false_alarm == pytest.approx(2 / math.exp(parts[0]))
    for name, windows in (("errors", errors), ("latency", slow)):
        assert play(policy(), step(), windows, name=name).harm_at == T0 + 90


def test_both_over_the_objective_never_violates() -> None:
    result = play(policy(), step(), row([((40, 8), (360, 60))] * 100, 15))
    assert result.harm is None
    assert result.verdicts[0].sentence.startswith("both versions miss the objective: canary error rate 20 %")
    at_100 = step(3, 1500)
    result = play(policy(), at_100, row([((400, 80), (0, 0))] * 100, 15, 1500), result.state)
    assert result.harm is None


def test_when_stable_recovers_the_canary_is_judged_again() -> None:
    shared = play(policy(), step(), row([((40, 8), (360, 60))] * 10, 15))
    result = play(policy(), step(), row([((40, 8), (3600, 1))] * 60, 15, 150), shared.state)
    assert result.harm is not None
    assert result.harm_at is not None
    assert result.harm_at > T0 + 150 + 60


def test_windows_before_the_first_traffic_say_something_about_stable_only() -> None:
    before = play(policy(), step(0, None, first=None), row([((5, 5), (400, 60))] * 4, 15))
    assert before.verdicts[0].requests == 0
    assert before.verdicts[0].verdict == "Undecided"
    result = play(policy(), step(0, 60, first=60), row([((40, 40), (0, 0))] * 10, 15, 60), before.state)
    assert result.verdicts[0].requests == 400
    assert result.harm is None


@pytest.mark.parametrize("left", [0.0, 0.2])
@pytest.mark.parametrize("size", [-5000.0, -600.0, -20.0, 0.0, 20.0, 600.0, 5000.0])
def test_the_mean_of_the_evidence_is_exact_at_any_size(size: float, left: float) -> None:
    """Floats overflow at e^709 and vanish at e^-745; an outage and a day of good requests go beyond either."""
    before = QuestionEvidence(log_weights=(size, size - 1.0), start_left=left, spread_left=0.0)
    after = mixture.grow(before, (0.0, 0.0), (0.25, 0.75), start=0.0, spread=0.0)
    started = size + math.log(0.25 + 0.75 * math.exp(-1.0))
    whole = started if left == 0 else mixture.log_sum([started, math.log(left)])
    assert after.log_e == pytest.approx(whole, abs=1e-6)
