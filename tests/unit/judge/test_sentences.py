"""The sentences and the numbers in them, as people read them."""

from __future__ import annotations

import pytest

from rollout_controller.core.explain import numbers
from rollout_controller.core.judge import assess
from tests.unit.judge.worlds import T0, play, policy, readings, row, step


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0"), (1e-9, "0.001"), (0.0005, "0.05"), (0.00096, "0.1"), (0.003, "0.3"), (0.01, "1.0"), (0.052, "5.2"),
        (0.0996, "10"), (0.333, "33"), (0.985, "98"), (0.9999, "99.9"), (1, "100"),
    ],
)  # fmt: skip
def test_percent(share: float, text: str) -> None:
    assert numbers.digits(share) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(1, "100 %"), (0.41, "41 %"), (0.0981, "9.9 %"), (0.0021, "0.3 %"), (0.002, "0.2 %"), (0.00012, "0.02 %"), (0, "0.0001 %")],
)
def test_a_bound_is_rounded_up(share: float, text: str) -> None:
    assert numbers.percent_at_most(share) == text


def test_other_numbers() -> None:
    assert [numbers.about(n) for n in (1, 7, 42, 587, 12345)] == ["1", "7", "42", "590", "13,000"]
    assert [numbers.milliseconds(ms) for ms in (100, 2500, 0.5)] == ["100 ms", "2.5 s", "0.5 ms"]
    assert numbers.percent_exact(0.0025) == "0.25 %"


@pytest.mark.parametrize(
    ("name", "counts", "sentence"),
    [
        (
            "errors",
            [((50, 1), (450, 2))] * 2,
            "canary error rate 2.0 % [0.05, 10] (2 of 100), at most 1 %: no verdict yet; about 2,100 more requests needed",
        ),
        (
            "errors",
            [((50, 4), (450, 2))] * 4,
            (
                "canary error rate 8.0 % [3.0, 16] (16 of 200), at most 1 %: no verdict yet, but signs of harm "
                "(false alarm at most 2.3 %)"
            ),
        ),
        (
            "errors",
            [((340, 1), (3060, 12))] * 3,
            "canary error rate 0.3 % [0.01, 1.4] (3 of 1,020), at most 1 %: fine for 25 % of the traffic",
        ),
        (
            "errors",
            [((40, 2), (360, 2))] * 9,
            "canary error rate 5.0 % [1.9, 10] (18 of 360), stable 0.6 %: false alarm at most 0.02 %",
        ),
        (
            "latency",
            [((20, 8), (180, 2))] * 8,
            "40 % slower than 100 ms [28, 53] (64 of 160), at most 5 % allowed, stable 1.1 %: false alarm at most 0.008 %",
        ),
        (
            "latency",
            [((20, 8), (180, 50))] * 8,
            (
                "both versions miss the objective: 40 % slower than 100 ms [28, 53] (64 of 160), stable lately 28 %, "
                "at most 5 %; a rollback would not help; holding"
            ),
        ),
    ],
)
def test_sentences(name: str, counts: list[tuple[tuple[int, int], tuple[int, int]]], sentence: str) -> None:
    result = play(policy(), step(), row(counts, 15), name=name)
    assert next(v for v in result.verdicts if v.slo == name).sentence == sentence


def test_no_requests_yet() -> None:
    verdicts = assess(policy(), step(), None, readings(errors=(), latency=()), T0).verdicts
    assert {v.sentence for v in verdicts} == {"no requests to the canary yet"}


def test_warming_up() -> None:
    result = play(policy(grace="60s"), step(), row([((20, 8), (180, 2))] * 2, 15), name="latency")
    assert result.verdicts[1].sentence == (
        "40 % slower than 100 ms [18, 65] (16 of 40), at most 5 %: no verdict yet; warming up, judged from 08:01:00 UTC on"
    )
