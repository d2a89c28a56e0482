"""Bad input, one row a case: what a person writes wrong, and what they are told. Nothing is written, nothing crashes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.api.status import Phase
from rollout_controller.cli import arguments
from rollout_controller.cluster.store import POLICY, ROLLOUT, VIRTUAL_SERVICE
from tests.play import ROUTE, Play
from tests.unit.cli.conftest import LocalShell
from tests.world import Behaviour, World

ROOT = Path(__file__).parents[3]


def documents() -> dict[str, Any]:
    files = {"policy": "policies/demo.yaml", "route": "mesh/virtualservice.yaml", "rollout": "mesh/tritonrollout.yaml"}
    return {name: yaml.safe_load((ROOT / file).read_text()) for name, file in files.items()}


def put(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        here = document
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = value

    return change


CASES: dict[str, tuple[str, Callable[[Any], None], tuple[str, ...]]] = {
    "unknown field": (
        "policy",
        put("spec", "stepz", value=[]),
        ("spec.stepz: unknown field", "steps"),
    ),
    "weights that fall": (
        "policy",
        put("spec", "steps", value=[{"weight": 50}, {"weight": 25}, {"weight": 100}]),
        ("spec.steps", "[50, 25, 100]", "rise"),
    ),
    "101 percent": (
        "policy",
        put("spec", "steps", 0, "weight", value=101),
        ("spec.steps[0].weight", "101", "100"),
    ),
    "max: 5 without a unit": (
        "policy",
        put("spec", "slos", 0, "errorRate", "max", value=5),
        ("spec.slos[0].errorRate.max", "5", "'1%'"),
    ),
    "a limit that is no bucket edge": (
        "policy",
        put("spec", "slos", 1, "latency", "max", value="120ms"),
        ("spec.slos[1].latency.max: 120ms is not a bucket edge of source 'envoy'", "100ms, 250ms"),
    ),
    "an unknown source": (
        "policy",
        put("spec", "slos", 0, "source", value="istioo"),
        ("spec.slos[0].source", "istioo", "envoy"),
    ),
    "the same host in both slots": (
        "rollout",
        put("spec", "slots", "green", "host", value="triton-blue"),
        ("spec.slots", "both slots have host 'triton-blue'"),
    ),
    "a version that is a number": (
        "rollout",
        put("metadata", "annotations", value={"rollouts.triton.dev/version": 2}),
        ("rollouts.triton.dev/version", "quotes"),
    ),
    "a weight below 0": (
        "route",
        put("spec", "http", 0, "route", 0, "weight", value=-1),
        ("spec.http[0].route[0].weight", "-1"),
    ),
}


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_refused_when_it_is_applied(shell: LocalShell, tmp_path: Path, case: str) -> None:
    which, change, said = CASES[case]
    document = copy.deepcopy(documents()[which])
    change(document)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(document))
    before = [shell.store.list(kind).items for kind in (POLICY, VIRTUAL_SERVICE, ROLLOUT)]
    code, out, err = shell.run("apply", "-f", str(file))
    assert code == 2
    assert out == ""
    for part in (f"{file}:", *said):
        assert part in err, err
    assert "Traceback" not in err
    assert [shell.store.list(kind).items for kind in (POLICY, VIRTUAL_SERVICE, ROLLOUT)] == before


def test_a_virtual_service_without_the_route(tmp_path: Path) -> None:
    """Known only when the documents meet: the rollout says it, waits, and goes on when it is mended."""
    play = Play(tmp_path / "rollouts.db", World(behaviours={"1": Behaviour(), "2": Behaviour()}, window_s=10.0))
    play.settle()
    good = play.store.get(VIRTUAL_SERVICE, ROUTE)
    broken = copy.deepcopy(good)
    broken["spec"]["http"][0]["route"] = [{"destination": {"host": "somewhere-else"}}]
    play.store.replace(VIRTUAL_SERVICE, broken)
    play.world.weights = lambda: {"blue": 100, "green": 0}
    play.annotate(version="2", request="run-1")
    play.settle()
    assert play.status.phase is Phase.STALLED
    assert play.status.reason is not None
    assert "triton-blue" in play.status.reason.sentence or "resnet50" in play.status.reason.sentence
    mended = play.store.get(VIRTUAL_SERVICE, ROUTE)
    mended["spec"] = good["spec"]
    play.store.replace(VIRTUAL_SERVICE, mended)
    play.world.weights = play.weights
    play.run_until_rest(2000)
    assert str(play.status.phase) == "Succeeded"


@pytest.mark.parametrize(
    "words", [["up", "--with-receiver", "there"], ["--with-receiver", "up", "there"], ["up", "there", "--with-receiver"]]
)
def test_options_may_stand_anywhere_among_the_words(words: list[str]) -> None:
    args = arguments.parser().parse_args(["lab", *words])
    assert (args.action, args.directory, args.with_receiver) == ("up", "there", True)
