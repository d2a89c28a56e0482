"""`rollouts simulate`: a tiny run through the command line, its forms, and every way to ask wrongly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout_controller.cli.main import main
from tests.unit.replay.plays import SLOS

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    spec = {
        "steps": [{"weight": 20}, {"weight": 100}],
        "slos": SLOS,
        "hold": {"min": "1m", "minRequests": 0},
        "undecided": {"after": "1m"},
    }
    raw = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "short"}, "spec": spec}
    path = tmp_path / "short.yaml"
    path.write_text(yaml.safe_dump(raw))
    return str(path)


ALONE = ("--processes", "1")
"""A process takes a second to start; what many of them do is asked about once, and in tests/unit/replay."""


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    try:
        code = main(["simulate", *argv])
    except SystemExit as exit_:
        code = int(exit_.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_price_and_gain_side_by_side(policy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    drawn = tmp_path / "out.svg"
    argv = ("--rps", "20", "--attempts", "3", *ALONE, "--harm", "outage", "--harm", "errors=20%,from=100%")
    code, out, err = run(capsys, "-f", policy, *argv, "--picture", str(drawn))
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("short   ")
    assert lines[2].split("  ")[-1].strip() == "errors=20%,from=100%"
    assert lines[3].split() == ["attempts", "6", "3", "3"]
    assert "Price: an identical version was rolled back in none of 6 attempts" in out
    assert "Gain: of versions with outage, 100 % are rolled back" in out
    assert f"picture: {drawn}" in err
    assert drawn.read_text().startswith("<svg")


def shape(value: Any) -> Any:
    """Names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return [shape(value[0])]
    return "number" if isinstance(value, (int, float)) else type(value).__name__


SHARE = dict.fromkeys(("count", "share", "low_share", "high_share"), "number")
NEVER = {"count": "number", "median_s": "NoneType", "p95_s": "NoneType"}
TIMES = dict.fromkeys(("count", "median_s", "p95_s"), "number")
REQUESTS = dict.fromkeys(("count", "median_requests", "p95_requests"), "number")


def test_json_has_units_in_its_names(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "-f", policy, "--rps", "20", "--attempts", "2", *ALONE, "--harm", "outage", "-o", "json")
    assert code == 0
    found = json.loads(out)
    version = {
        "name": "str",
        "harm": "NoneType",
        "attempts": "number",
        "outcomes": dict.fromkeys(("rolled_back", "gave_up", "promoted", "paused", "not_started", "unfinished"), SHARE),
        "unproven": SHARE,
        "harm_met": SHARE,
        "traffic_off": NEVER,
        "verdict": NEVER,
        "promotion": TIMES,
        "failed_on_canary": REQUESTS,
        "slow_on_canary": REQUESTS,
        "canary_requests": REQUESTS,
        "retreats_per_attempt": "number",
        "needless_retreats_per_attempt": "number",
        "reasons": {"Promoted": "number"},
    }
    assert shape(found["versions"]) == [version]
    assert [each["name"] for each in found["versions"]] == ["identical version", "outage"]
    assert found["versions"][1]["harm"] == {"outage": True, "hang": "0%", "fromWeight": "0%", "after": "0s"}
    assert (found["policy"], found["seed"], found["false_rollback_promised_share"]) == ("short", 1, 0.01)


def test_a_world_of_a_file_and_options_that_go_before(policy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world = tmp_path / "world.yaml"
    world.write_text("rps: 7\nscrape: 5s\nhiccups: [{length: 20s, every: 5m, pods: 4}]\nharms: {dead: {outage: true}}\n")
    code, out, _ = run(capsys, "-f", policy, "--world", str(world), "--rps", "9", "--attempts", "2", "-o", "json")
    found = json.loads(out)
    assert code == 0
    assert (found["world"]["rps"], found["world"]["scrape"], found["world"]["hiccups"][0]["length"]) == (9, "5s", "20s")
    assert [each["name"] for each in found["versions"]] == ["identical version", "dead"]


def test_without_a_harm_the_usual_ones_are_asked_about(policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, "-f", policy, "--rps", "20", "--attempts", "1", *ALONE, "-o", "json")
    assert [each["name"] for each in json.loads(out)["versions"]] == ["identical version", "errors=5%", "p95=120ms", "outage"]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ((), "how many requests a second? Say --rps N, or rps: N in a --world FILE"),
        (("--rps", "0"), "argument --rps: '0' is not a number over 0"),
        (
            ("--rps", "3", "--errors", "5"),
            "--errors: '5' is not a percentage; write it with its sign, for example '1%' or '0.5%'",
        ),
        (("--rps", "3", "--p95", "80"), "--p95: '80' is not a duration; write it with its unit"),
        (("--rps", "3", "--scrape", "0.1s"), "scrape of 0.1s; from 1s to 10m"),
        (("--rps", "3", "--harm", "errors"), "--harm errors: 'errors' was read; it may be errors=5%, p95=120ms, outage"),
        (("--rps", "3", "--harm", "errors=500%"), "--harm errors=500%: '500%' is outside 0% to 100%; from '0%' to '100%'"),
        (("--rps", "3", "--harm", "after=5m"), "--harm after=5m: it says when, but not what"),
        (("--rps", "3", "--hiccups", "20s"), "--hiccups 20s: write LENGTH/EVERY or LENGTH/EVERY/PODS"),
        (("--rps", "3", "--hiccups", "20s/5m/25%"), "--hiccups 20s/5m/25%: '25%' is no number of pods"),
        (("--rps", "3", "--hiccups", "20s/10s"), "a hiccup is as long as the time between two"),
        (("--rps", "3", "--attempts", "0"), "argument --attempts: '0' is not a whole number over 0"),
        (("--rps", "3", "--picture", "out.png"), "--picture out.png: it is drawn as SVG; call it NAME.svg"),
        (("--rps", "3", "--picture", "none/out.svg"), "--picture none/out.svg: cannot be written: No such file or directory"),
        (("--rps", "3", "--world", "none.yaml"), "cannot be read: No such file or directory"),
    ],
)
def test_bad_input_is_one_clear_error(argv: tuple[str, ...], said: str, policy: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "-f", policy, *argv)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert len(err.splitlines()) <= 2


def test_faults_of_files_have_their_line(policy: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    world = tmp_path / "world.yaml"
    world.write_text("rps: 7\nhiccups:\n  - {length: 20s, evry: 5m}\n")
    code, _, err = run(capsys, "-f", policy, "--world", str(world))
    assert code == 2
    assert f"{world}:3  hiccups[0].evry: unknown field" in err
    broken = tmp_path / "broken.yaml"
    broken.write_text(Path(policy).read_text().replace("1%", "one"))
    code, _, err = run(capsys, "-f", str(broken), "--rps", "3")
    assert code == 2
    assert "spec.slos[0].errorRate.max: 'one' is not a percentage" in err
    code, _, err = run(capsys, "-f", str(ROOT / "mesh" / "virtualservice.yaml"), "--rps", "3")
    assert (code, "no RolloutPolicy documents in it; exactly one is simulated" in err) == (2, True)
