"""The comparison with stable: valid exactly, blind to what both share, and at the edges that say most."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import pytest

from rollout_controller.api.evidence import Dispersion, QuestionEvidence, StableShare
from rollout_controller.api.policy import PolicySpec
from rollout_controller.core.judge import compared, dispersion, mixture
from rollout_controller.core.judge.questions import GRID, PRIORS, Arms, RelativeQuestion
from rollout_controller.core.judge.slo import SloJudge
from rollout_controller.core.judge.terms import terms_of
from rollout_controller.core.observation import Counts, Slower, Window
from tests.unit.judge.test_harm import binomial
from tests.unit.judge.worlds import T0, play, policy, row, step, window


def comparing(tolerance: str = "10%", **judge: Any) -> PolicySpec:
    raw = policy(**judge).to_raw()
    return PolicySpec.model_validate({**raw, "compareToStable": {"tolerance": tolerance}})


NULLS = [0.0, 0.001, 0.02, 0.2, 0.5, 0.8, 1.0]


@pytest.mark.parametrize(("ratio", "margin"), [(1.0, 0.0005), (1.1, 0.0005), (1.1, 0.03), (1.5, 0.05)])
@pytest.mark.parametrize(("n_c", "n_s"), [(1, 1), (1, 9), (9, 1), (7, 3)])
def test_no_alternative_gains_in_the_mean_wherever_the_canary_is_no_worse(
    ratio: float, margin: float, n_c: int, n_s: int
) -> None:
    """Every outcome of one window with its probability, on the border of the null hypothesis and inside of it."""
    question = RelativeQuestion(ratio, margin, "relative")
    for share in (0.0005, 0.02, 0.3, 0.7):
        arms = {(c, s): Arms(Counts(n_c, c), Counts(n_s, s), share) for c in range(n_c + 1) for s in range(n_s + 1)}
        gains = {place: [math.exp(gain) for gain in question.log_likelihoods(each)] for place, each in arms.items()}
        for p_s, part in product(NULLS, (1.0, 0.5, 0.0)):
            p_c = min(ratio * p_s + margin, 1.0) * part
            chance = {(c, s): binomial(n_c, c, p_c) * binomial(n_s, s, p_s) for c, s in arms}
            for i in range(GRID):
                assert sum(chance[place] * gains[place][i] for place in arms) <= 1 + 1e-9


@pytest.mark.long
def test_the_evidence_of_a_comparison_is_a_supermartingale_while_stable_drifts() -> None:
    """Four windows with all their outcomes; stable goes from 10 to 50 % bad, the canary along, the remembered share behind."""
    question = RelativeQuestion(1.1, 0.01, "relative")
    drift = [0.1, 0.3, 0.5, 0.2]
    mean = [0.0]

    def go_on(evidence: QuestionEvidence, recent: compared.Shares, k: int, probability: float) -> None:
        if k == len(drift):
            mean[0] += probability * math.exp(evidence.log_e)
            return
        p_s, p_c = drift[k], 1.1 * drift[k] + 0.01
        for c, s in product(range(3), range(4)):
            counts = Counts(2, c), Counts(3, s)
            ratios = question.log_likelihoods(Arms(*counts, compared.share(recent[0] if recent else None, 0.01)))
            grown = mixture.grow(
                evidence, ratios, PRIORS, start=mixture.start_mass(evidence, new_step=k == 2, steps=4), spread=0.02
            )
            go_on(
                grown,
                compared.remember(recent, 30, counts[1], ()),
                k + 1,
                probability * binomial(2, c, p_c) * binomial(3, s, p_s),
            )

    go_on(mixture.SLOW.none_spent(), (), 0, 1.0)
    assert 0.2 < mean[0] <= 1 + 1e-5


def test_what_is_nearest_is_found_for_very_uneven_arms() -> None:
    question = RelativeQuestion(1.1, 0.0005, "relative")
    for n_c, n_s, share in product((1, 500, 100_000), (1, 500, 100_000), (1e-5, 0.005, 0.4)):
        worse = question.log_likelihoods(Arms(Counts(n_c, n_c), Counts(n_s, int(n_s * share)), share))
        assert max(worse) > 0
        assert all(math.isfinite(gain) for gain in worse)


@pytest.mark.parametrize("arms", [Arms(Counts(0, 0), Counts(9, 1), 0.1), Arms(Counts(9, 9), Counts(0, 0), 0.1)])
def test_an_arm_without_traffic_compares_nothing(arms: Arms) -> None:
    assert set(RelativeQuestion(1.1, 0.0005, "relative").log_likelihoods(arms)) == {0.0}


def test_a_canary_within_the_objective_that_is_much_worse_than_stable_is_found() -> None:
    counts = [((400, 3), (3600, 2))] * 60
    assert play(policy(), step(), row(counts, 15)).harm is None
    found = play(comparing(), step(), row(counts, 15))
    assert found.harm is not None
    assert found.harm.sentence == (
        "canary error rate 0.8 % [0.5, 1.0] (180 of 24,000), stable 0.06 %, more than 1.1 times as much: "
        "false alarm at most 0.0001 %"
    )


@pytest.mark.parametrize("share", [(4, 36), (40, 360), (200, 1800)])
def test_what_both_share_is_not_blamed_on_the_canary(share: tuple[int, int]) -> None:
    calm, bad = ((400, 2), (3600, 18)), ((400, share[0]), (3600, share[1]))
    assert play(comparing(), step(), row([*[calm] * 10, *[bad] * 60], 15)).harm is None


def latency(k: int, canary: dict[float, int], stable: dict[float, int], seconds: float = 15) -> Window:
    made = window(k * seconds, (k + 1) * seconds, (400, canary[100]), (3600, stable[100]))
    return made._replace(slower=tuple(Slower(edge, canary[edge], stable[edge]) for edge in canary if edge != 100))


def test_a_slower_canary_within_the_objective_is_found_at_an_edge_that_shows_it() -> None:
    windows = [latency(k, {50: 144, 100: 17, 25: 350}, {50: 860, 100: 65, 25: 2700}) for k in range(40)]
    found = play(comparing(), step(), windows, name="latency")
    assert play(policy(), step(), windows, name="latency").harm is None
    assert found.harm is not None
    memory = found.state.slos["latency"]
    assert [(edge.edge_ms, edge.share) for edge in memory.compared] == [(50, 0.5), (0, 0.5)]
    assert found.harm.sentence == (
        "36 % slower than 50 ms [34, 38] (5,616 of 15,600), stable 24 %, more than 1.1 times as much: "
        "false alarm at most 0.0001 %"
    )
    same = [latency(k, {50: 96, 100: 8, 25: 300}, {50: 860, 100: 65, 25: 2700}) for k in range(80)]
    assert play(comparing(), step(), same, name="latency").harm is None


@pytest.mark.parametrize("seconds", [2, 7, 15, 30])
def test_a_hiccup_of_half_the_tolerance_is_survived_also_when_compared(seconds: int) -> None:
    spec = comparing(slos=["errors"])
    for phase, before in product(range(0, seconds, max(seconds // 3, 1)), (1, 600 // seconds + 2)):
        first = before * seconds + phase
        touched = {first // seconds + i for i in range((first + 29) // seconds - first // seconds + 1)}
        counts = [((1000, 1000 if k in touched else 0), (9000, 9)) for k in range(before + 60 // seconds + 3)]
        assert play(spec, step(planned=600), row(counts, seconds)).harm is None, (seconds, phase, before)


def test_edges_are_chosen_from_stables_past() -> None:
    def shares(*pairs: tuple[float, float], total: float = 1000) -> compared.Shares:
        return tuple(StableShare(edge_ms=edge, total=total, bad=share * total) for edge, share in pairs)

    chosen = compared.choose(shares((0, 0.02), (25, 0.75), (50, 0.24), (75, 0.06), (250, 0.001), (60, 0.12)))
    assert [(edge.edge_ms, edge.share) for edge in chosen] == [(50, 0.4), (60, 0.4), (75, 0.2)]
    assert compared.choose(shares((0, 0.1), total=50)) == ()
    assert compared.choose(shares((0, 0.001))) == ()


def test_impossible_counts_at_one_edge_do_not_spoil_the_others() -> None:
    windows = [latency(k, {50: 500, 100: 17, 25: 100}, {50: 860, 100: 65, 25: 900}) for k in range(4)]
    memory = play(comparing(), step(), windows, name="latency").state.slos["latency"]
    assert [edge.edge_ms for edge in memory.compared] == [25, 0]


# --- design effect -----------------------------------------------------------------------------------------------


def remembered(counts: list[tuple[int, int]]) -> Dispersion:
    memory = Dispersion()
    for total, bad in counts:
        memory = dispersion.remember(memory, Counts(total, bad))
    return memory


def test_the_design_effect_is_pearsons_dispersion() -> None:
    counts = [(100, 0), (120, 24), (80, 0), (100, 0), (140, 36), (60, 0), (100, 12), (100, 0)]
    share = sum(b for _, b in counts) / sum(n for n, _ in counts)
    x2 = sum((b - n * share) ** 2 / (n * share * (1 - share)) for n, b in counts)
    assert dispersion.design_effect(remembered(counts)) == pytest.approx(x2 / 7, rel=1e-5)


def test_the_design_effect_of_the_verdict_is_bounded_by_the_batch_size() -> None:
    bursts = [window(-15 * k, -15 * (k - 1), (0, 0), (400, 24 if k % 6 == 0 else 0)) for k in range(40, 0, -1)]
    for spec, most in ((policy(), dispersion.LARGEST), (policy(batchSize=2), 2)):
        memory = play(spec, step(0, None, first=None), bursts).state.slos["errors"]
        judge = SloJudge(terms_of(spec)[0], memory)
        assert judge.effect(step()) == most < dispersion.design_effect(memory.before)


@pytest.mark.parametrize("counts", [[], [(100, 5)] * 4, [(100, 0)] * 30, [(100, 5), (100, 7), (100, 3)] * 10])
def test_counts_that_vary_as_independent_ones_do_have_no_design_effect(counts: list[tuple[int, int]]) -> None:
    assert dispersion.design_effect(remembered(counts)) == 1.0


def test_evidence_counts_less_where_stables_requests_failed_together_before() -> None:
    bursts = [window(-15 * k, -15 * (k - 1), (0, 0), (400, 24 if k % 6 == 0 else 0)) for k in range(40, 0, -1)]
    before = play(policy(), step(0, None, first=None), bursts).state
    assert before.slos["errors"].before.windows == 40
    counts = [((40, 2), (360, 1))] * 20
    calm, batched = (play(policy(), step(), row(counts, 15), state) for state in (None, before))
    assert calm.harm_at is not None
    assert (batched.harm_at or T0 + 1e9) > calm.harm_at
