"""The load generator is open-loop: requests arrive whether or not answers come back."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.lab import processes
from rollout_controller.lab.lab import Lab
from tests.support.traffic import BLUE, lines

pytestmark = pytest.mark.lab


def outcomes(path: Path) -> Counter[str]:
    total: Counter[str] = Counter()
    for line in lines(path):
        total.update(line["outcomes"])  # type: ignore[call-overload]
    return total


def total(path: Path, field: str) -> int:
    return sum(int(str(line[field])) for line in lines(path))


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    lab = Lab(tmp_path)
    with lab:
        yield lab


def test_arrivals_do_not_wait_for_answers(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    load = lab.load(rps=50, out=out, seconds=60)
    time.sleep(2.0)
    blue = next(r for r in lab.servers if r.name == BLUE)
    os.kill(blue.pid, signal.SIGSTOP)
    before = total(out, "sent")
    time.sleep(4.0)
    sent = total(out, "sent") - before
    os.kill(blue.pid, signal.SIGCONT)
    assert sent > 100, "arrivals stopped with the server"
    assert max(int(str(line["in_flight"])) for line in lines(out)) > 100
    assert processes.stop([load], lab.directory) == ()


def test_the_rate_is_that_of_a_poisson_process(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    load = lab.load(rps=100, out=out, seconds=8)
    load.handle.wait(timeout=60)
    assert load.handle.returncode == 0
    assert 800 - 4 * 28 < total(out, "sent") < 800 + 4 * 28  # the standard deviation of 800 arrivals is 28
    assert outcomes(out) == Counter({"200": total(out, "sent")})
    per_second = [int(str(line["sent"])) for line in lines(out)][:8]
    assert max(per_second) - min(per_second) > 5, "too even for chance"


def test_the_same_seed_sends_the_same_number(lab: Lab, tmp_path: Path) -> None:
    sent: list[int] = []
    for seed in (1, 1, 2):
        out = tmp_path / f"{len(sent)}.jsonl"
        lab.load(rps=100, out=out, seconds=2, seed=seed).handle.wait(timeout=60)
        sent.append(total(out, "sent"))
    assert sent[0] == sent[1] != sent[2]


def test_sigterm_ends_it_at_once_with_requests_unanswered(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    load = lab.load(rps=50, out=out, seconds=600)
    time.sleep(1.5)
    blue = next(r for r in lab.servers if r.name == BLUE)
    os.kill(blue.pid, signal.SIGSTOP)
    time.sleep(1.5)
    load.handle.terminate()
    assert load.handle.wait(timeout=60) == 0
    os.kill(blue.pid, signal.SIGCONT)
    assert json.loads(out.read_text().splitlines()[-1])["in_flight"] > 10


def test_nobody_there_is_an_outcome_and_not_the_end(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    with lab:
        lab.stop_one("envoy")
        out = tmp_path / "out.jsonl"
        lab.load(rps=50, out=out, seconds=2).handle.wait(timeout=60)
    assert set(outcomes(out)) == {"refused"}
    assert outcomes(out)["refused"] == total(out, "sent") > 50
