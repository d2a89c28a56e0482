"""A lab starts whole or not at all, and leaves no process behind however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from rollout_controller.lab import procfs, tritons
from rollout_controller.lab.lab import SLOTS, Lab, LabFailed
from rollout_controller.lab.processes import probe
from rollout_controller.lab.tritons import TritonRefused
from tests.support.traffic import BLUE, GREEN, ask, infer
from tests.support.world import wait_for

pytestmark = pytest.mark.lab

UP = (
    "import sys, time; from pathlib import Path; from rollout_controller.lab.lab import Lab\n"
    "lab = Lab(Path(sys.argv[1]), lambda line: print(line, flush=True))\n"
    "lab.up(detached=sys.argv[2] == 'detached')\n"
    "if sys.argv[2] != 'detached': time.sleep(600)\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    Lab(tmp_path).down()
    assert procfs.marked(str(tmp_path)) == ()


def start(directory: Path, mode: str) -> subprocess.Popen[str]:
    """Ctrl-C ends it from its first instruction on, also where these tests run behind a shell, which ignores it."""
    argv = ["env", "--default-signal=INT", sys.executable, "-c", UP, str(directory), mode]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def nothing_left(directory: Path, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while procfs.marked(str(directory)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return procfs.marked(str(directory)) == ()


def shared_memory(directory: Path) -> list[Path]:
    return [p for slot in SLOTS for p in Path("/dev/shm").glob(f"{tritons.shm_prefix(directory / slot)}*")]


def test_up_gives_working_servers_and_down_leaves_nothing(directory: Path) -> None:
    said: list[str] = []
    lab = Lab(directory, said.append)
    info = lab.up()
    try:
        assert infer(info.triton[BLUE]) == 200
        assert infer(info.envoy) == 200
        assert probe(f"{info.triton[GREEN]}/v2/models/classifier/ready") == 400
        settings = yaml.safe_load(info.local_yaml.read_text())
        assert settings == {
            "prometheus": {"url": info.prometheus, "window": "1s", "lag": "500ms"},
            "envoy": {"rds": "envoy/rds/rds.yaml", "routeConfig": "local"},
            "triton": dict(info.triton),
            "metrics": {"port": info.controller_port},
        }
        assert (directory / settings["envoy"]["rds"]).exists()
        # envoy twice, two tritons, the GPU exporter; no controller runs
        assert wait_for(lambda: ask(info, "sum(up)") == [5.0] and ask(info, "count(up)") == [6.0], 60)
    finally:
        ended = lab.down()
    assert ended.left == ()
    assert len(ended.ended) >= 5
    assert lab.status().state == "down"
    assert shared_memory(directory) == []
    assert [line for line in said if "is ready" in line and "s)" in line]


def test_a_second_up_changes_nothing_and_says_so(directory: Path) -> None:
    lab = Lab(directory)
    first = lab.up(detached=True)
    said: list[str] = []
    assert Lab(directory, said.append).up() == first
    lab.down()
    assert said == [f"the lab in {directory} is up already: nothing was changed"]


def test_half_a_lab_is_not_taken_for_one(directory: Path) -> None:
    lab = Lab(directory)
    lab.up()
    lab.stop_one("envoy")
    assert lab.status().dead == ("envoy",)
    with pytest.raises(LabFailed, match=r"runs part of a lab .*ended: envoy\): end it first with `rollouts lab down`"):
        lab.up()
    lab.start_one("envoy")
    assert lab.status().state == "up"
    lab.down()


def test_a_detached_lab_outlives_its_starter_and_another_process_ends_it(directory: Path) -> None:
    starter = start(directory, "detached")
    said, _ = starter.communicate(timeout=120)
    assert starter.returncode == 0, said
    assert Lab(directory).status().state == "up"
    ended = Lab(directory).down()
    assert ended.left == ()
    assert procfs.marked(str(directory)) == ()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_foreground_lab_dies_with_its_parent(directory: Path, number: signal.Signals) -> None:
    parent = start(directory, "foreground")
    assert parent.stdout is not None
    while "the lab is up" not in parent.stdout.readline():
        assert parent.poll() is None
    parent.send_signal(number)
    parent.communicate(timeout=60)
    assert nothing_left(directory, within_s=30.0)


@pytest.mark.parametrize("mode", ["foreground", "detached"])
@pytest.mark.parametrize("after_s", [0.15, 0.3, 0.45, 0.7, 1.0, 1.3])
def test_ctrl_c_during_the_start_leaves_nothing(directory: Path, mode: str, after_s: float) -> None:
    parent = start(directory, mode)
    time.sleep(after_s)
    was_up = parent.poll() is not None
    parent.send_signal(signal.SIGINT)
    try:
        said, _ = parent.communicate(timeout=20)
    except subprocess.TimeoutExpired:  # Python drops one that meets it in a finalizer: who waits presses again
        parent.send_signal(signal.SIGINT)
        said, _ = parent.communicate(timeout=60)
    if mode == "detached" and (was_up or "the lab is up" in said):
        Lab(directory).down()  # it was done before the key was pressed
    assert nothing_left(directory, within_s=30.0 if mode == "foreground" else 0.0), said


def test_two_labs_at_once_do_not_touch_each_other(tmp_path: Path) -> None:
    one, two = Lab(tmp_path / "one"), Lab(tmp_path / "two")
    with one as first, two as second:
        assert set(_ports(first)) & set(_ports(second)) == set()
        one.down()
        assert infer(second.envoy) == 200
    assert two.status().state == "down"


def test_versions_that_a_user_added_stay_and_can_be_loaded(directory: Path) -> None:
    mine = directory / "models" / "classifier" / "8"
    with Lab(directory) as info:
        mine.mkdir()
        (mine / "model.py").write_text((info.models / "classifier" / "1" / "model.py").read_text())
        (mine / "params.json").write_text(json.dumps({"latency_ms": {"median": 1.0, "spread": 0.1}, "gpu_ms": 1.0}))
    with Lab(directory) as info:
        tritons.load_version(info.triton[GREEN], 8)
        assert infer(info.triton[GREEN]) == 200


def test_version_7_cannot_be_loaded_and_triton_says_why(directory: Path) -> None:
    with Lab(directory) as info:
        with pytest.raises(
            TritonRefused, match=r"answered 400.*version 7 is at UNAVAILABLE.*ValueError: weights.npz: expected 30720 numbers"
        ):
            tritons.load_version(info.triton[BLUE], 7)
        assert infer(info.triton[BLUE]) == 200  # what served before goes on


def test_a_version_that_cannot_be_the_first_leaves_no_lab(directory: Path) -> None:
    with pytest.raises(TritonRefused, match=r"weights\.npz"):
        Lab(directory).up(version=7)
    assert procfs.marked(str(directory)) == ()
    assert Lab(directory).status().state == "down"


def test_a_lab_that_is_killed_is_cleaned_up_by_down(directory: Path) -> None:
    lab = Lab(directory)
    for record in lab.up().servers:
        os.kill(record.pid, signal.SIGKILL)
    time.sleep(0.2)
    assert lab.status().state in {"partly", "down"}  # model processes need a moment to see that their server is gone
    lab.down()
    assert procfs.marked(str(directory)) == ()
    assert shared_memory(directory) == []


def _ports(info: object) -> list[str]:
    return [part for part in str(info).replace("'", " ").replace(",", " ").split() if part.startswith("http://")]
