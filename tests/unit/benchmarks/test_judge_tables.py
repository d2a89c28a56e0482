"""Tables: rounds are kept and found again, and what is worse than promised stands out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import judge_tables
from benchmarks.judge_cells import Cell, policy
from rollout_controller.replay.attempt import Result, play
from rollout_controller.replay.figures import figures
from tests.unit.replay.plays import a_play

FINE = play(a_play(), "1/0")


def cell(kind: str = "identical", **more: object) -> Cell:
    return Cell("without retreat", "a world", "20 rps", a_play(), kind, "0 %", **more)  # type: ignore[arg-type]


def test_rounds_are_found_again_while_the_judge_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_tables, "KEPT", tmp_path / "kept" / "judge.json")
    judge_tables._keep(1, {"a world": [FINE, FINE]})
    assert judge_tables._recall(1) == {"a world": [FINE, FINE]}
    assert judge_tables._recall(2) == {}
    monkeypatch.setattr(judge_tables, "_judge", lambda: "another one")
    assert judge_tables._recall(1) == {}


def back(count: int, of: int, **changes: object) -> list[Result]:
    """So many rolled back, after 100 s."""
    bad = FINE._replace(outcome="rolled-back", verdict_s=100.0, off_s=100.0, failed=20, **changes)  # type: ignore[arg-type]
    return [bad] * count + [FINE] * (of - count)


def test_a_broken_promise_is_bold_only_when_it_is_sure() -> None:
    assert judge_tables._cell(cell(), figures(back(2, 100))) == "2 % [0.55, 7] (0 %)"
    assert judge_tables._cell(cell(), figures(back(9, 100))).startswith("**9 % [4.8, 16.2]")


def test_what_is_slower_than_wanted_is_bold() -> None:
    found = figures(back(4, 4))
    assert judge_tables._cell(cell("errors", seconds=90.0), found) == "100 % [51, 100], 100 s, 20 (0 %)"
    assert judge_tables._cell(cell("errors", seconds=80.0), found).startswith("**")
    assert judge_tables._cell(cell("errors", seconds=80.0), figures(back(0, 4))).startswith("**")


def test_the_policy_of_the_tables_is_the_products_but_for_its_time() -> None:
    spec = policy().spec
    assert (spec.judge.tolerance.errors, spec.judge.tolerance.latency, spec.judge.false_rollback) == (90, 120, 0.01)
    assert sum(spec.max_hold(step) for step in spec.steps) == 24 * 60
