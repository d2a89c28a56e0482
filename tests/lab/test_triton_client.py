"""What a real Triton 2.51 does, and that the client and the prober get along with it."""

from __future__ import annotations

import json
import os
import py_compile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from rollout_controller.api.names import Key
from rollout_controller.core.observation import SlotState
from rollout_controller.lab import processes
from rollout_controller.lab.parts import find_triton
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.tritons import remove_shared_memory, triton_server
from rollout_controller.triton.client import ModelVersion, TritonClient
from rollout_controller.triton.errors import TritonRefused, TritonUnreachable
from rollout_controller.triton.prober import Prober
from rollout_controller.triton.rounds import Pace

pytestmark = pytest.mark.lab

MODEL = "echo"
KEY = Key("demo", "echo")
CONFIG = """
name: "echo"
backend: "python"
max_batch_size: 4
input [{ name: "x" data_type: TYPE_FP32 dims: [ -1 ] }, { name: "text" data_type: TYPE_STRING dims: [ 1 ] optional: true }]
output [{ name: "version" data_type: TYPE_INT32 dims: [ 1 ] }]
dynamic_batching { max_queue_delay_microseconds: 500 }
instance_group [{ kind: KIND_CPU count: 1 }]
parameters { key: "gain" value { string_value: "7" } }
"""
MODEL_PY = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.version = int(args["model_version"])
        {initialize}

    def execute(self, requests):
        out = []
        for request in requests:
            rows = pb_utils.get_input_tensor_by_name(request, "x").as_numpy().shape[0]
            tensor = pb_utils.Tensor("version", np.full((rows, 1), self.version, dtype=np.int32))
            out.append(pb_utils.InferenceResponse([tensor]))
        return out
"""


def write_version(models: Path, version: int, initialize: str = "pass") -> None:
    directory = models / MODEL / str(version)
    directory.mkdir(parents=True, exist_ok=True)
    (models / MODEL / "config.pbtxt").write_text(CONFIG)
    (directory / "model.py").write_text(MODEL_PY.replace("{initialize}", initialize))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    write_version(models, 1)
    write_version(models, 2)
    return models


@pytest.fixture
def start(tmp_path: Path, models: Path) -> Iterator[Callable[[str], str]]:
    """Starts a slot and gives its URL."""
    running: list[processes.Running] = []
    mark = tmp_path / "mark"

    def start_slot(slot: str) -> str:
        port, metrics_port = free_ports(2)
        server = triton_server(find_triton(), slot, tmp_path / slot, models, port=port, metrics_port=metrics_port)
        running.append(processes.start(server, mark, tethered=True))
        processes.wait_ready(running[-1:], 30)
        return f"http://127.0.0.1:{port}"

    yield start_slot
    assert processes.stop(running, mark) == ()
    for slot in running:
        remove_shared_memory(tmp_path / slot.server.name)


@pytest.fixture
def client(start: Callable[[str], str]) -> TritonClient:
    return TritonClient(start("blue"))


def states(client: TritonClient) -> dict[str | None, str]:
    return {line.version: line.state for line in client.index() if line.model == MODEL}


def answering(client: TritonClient) -> int:
    """The version that answers a request that names none."""
    body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [0]}]}
    answer = requests.post(f"{client.base_url}/v2/models/{MODEL}/infer", json=body, timeout=5)
    answer.raise_for_status()
    return int(answer.json()["outputs"][0]["data"][0])


def until(what: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)


def test_load_pin_replace_warm_up_and_unload(client: TritonClient) -> None:
    assert client.server_ready()
    assert client.index() == (ModelVersion(MODEL),)
    assert client.config(MODEL) is None

    client.load_pinned(MODEL, "1")
    config = client.config(MODEL)
    assert config is not None
    assert config["version_policy"] == {"specific": {"versions": [1]}}
    assert config["parameters"]["gain"] == {"string_value": "7"}, "the rest of config.pbtxt is kept"
    assert "dynamic_batching" in config
    assert states(client)["1"] == "READY"
    assert answering(client) == 1

    client.load_pinned(MODEL, "2")
    assert states(client)["2"] == "READY"
    assert states(client)["1"] in {"UNLOADING", "UNAVAILABLE"}
    assert answering(client) == 2
    assert client.version_ready(MODEL, "2")
    assert not client.version_ready(MODEL, "1") or states(client)["1"] == "UNLOADING"
    client.warm_up(MODEL, "2")

    client.unload(MODEL)
    until(lambda: "READY" not in states(client).values() and "UNLOADING" not in states(client).values())
    assert client.config(MODEL) is None
    with pytest.raises(TritonUnreachable):
        client.warm_up(MODEL, "2")


def test_a_pin_of_what_a_plain_load_brought_does_not_load_again(client: TritonClient, models: Path, tmp_path: Path) -> None:
    """As long as the files are the same: Python's first import writes __pycache__, which counts as a change."""
    counter = tmp_path / "loads"
    write_version(models, 2, f"open({str(counter)!r}, 'a').write('x')")
    py_compile.compile(str(models / MODEL / "2" / "model.py"))
    client.load_pinned(MODEL, "2")
    assert counter.read_text() == "x"
    client.load_pinned(MODEL, "2")
    assert counter.read_text() == "x"


def test_a_config_override_replaces_the_whole_config(client: TritonClient) -> None:
    """Why a pin sends everything: the day this fails, the client can become simpler."""
    client.load_pinned(MODEL, "1")
    override = json.dumps({"backend": "python", "version_policy": {"specific": {"versions": [1]}}})
    url = f"{client.base_url}/v2/repository/models/{MODEL}/load"
    requests.post(url, json={"parameters": {"config": override}}, timeout=30)
    config = client.config(MODEL)
    assert config is not None
    assert config["parameters"] == {}
    assert config["input"] == []


def test_a_version_that_is_not_there_is_refused_and_the_old_one_goes_on(client: TritonClient) -> None:
    client.load_pinned(MODEL, "1")
    with pytest.raises(TritonRefused, match="at least one version must be available under the version policy"):
        client.load_pinned(MODEL, "9")
    with pytest.raises(TritonRefused, match="failed to poll from model repository"):
        client.load_pinned("nobody", "1")
    assert answering(client) == 1


def test_a_version_whose_initialize_raises_is_refused_in_its_own_words(client: TritonClient, models: Path) -> None:
    client.load_pinned(MODEL, "1")
    write_version(models, 3, 'raise RuntimeError("the weights file is corrupt")')
    with pytest.raises(TritonRefused) as refused:
        client.load_pinned(MODEL, "3")
    assert "version 3 is at UNAVAILABLE state: Internal: RuntimeError: the weights file is corrupt" in refused.value.message
    assert answering(client) == 1
    client.load_pinned(MODEL, "2")
    assert answering(client) == 2


def test_a_broken_highest_version_does_not_keep_an_older_one_from_an_empty_slot(
    client: TritonClient, start: Callable[[str], str], models: Path
) -> None:
    client.load_pinned(MODEL, "1")
    write_version(models, 3, 'raise RuntimeError("no")')
    empty = TritonClient(start("green"))
    with pytest.raises(TritonRefused, match="version 3"):
        empty.load_pinned(MODEL, "2")
    empty.load_pinned(MODEL, "2", spare=lambda: client.config(MODEL))
    assert answering(empty) == 2


def test_loads_and_swaps_fail_no_request_of_the_other_slot_nor_of_their_own(
    client: TritonClient, start: Callable[[str], str]
) -> None:
    other = TritonClient(start("green"))
    for slot in (client, other):
        slot.load_pinned(MODEL, "1")
    stop = threading.Event()
    answers: list[int] = []
    errors: list[Exception] = []

    def send(slot: TritonClient) -> None:
        while not stop.is_set():
            try:
                answers.append(answering(slot))
            except requests.RequestException as error:
                errors.append(error)
            time.sleep(0.002)

    senders = [threading.Thread(target=send, args=(slot,)) for slot in (client, other)]
    for sender in senders:
        sender.start()
    for version in ("2", "1", "2"):
        other.load_pinned(MODEL, version)
        assert answering(other) == int(version)
        time.sleep(0.05)  # a pin of what is still loaded takes a millisecond: the senders must see it, too
    stop.set()
    for sender in senders:
        sender.join()
    assert errors == []
    assert len(answers) > 100
    assert set(answers) == {1, 2}


def test_the_prober_brings_a_version_up_and_tells_of_a_triton_that_dies(start: Callable[[str], str], models: Path) -> None:
    write_version(models, 2, "import time; time.sleep(1.5)")
    prober = Prober(on_change=lambda _key: None, pace=Pace(active_s=0.1, silent_s=0.1))
    urls = {slot: start(slot) for slot in ("blue", "green")}
    TritonClient(urls["blue"]).load_pinned(MODEL, "1")
    write_version(models, 3, 'raise RuntimeError("the weights file is corrupt")')
    prober.start()
    try:
        for slot, url in urls.items():
            prober.want(KEY, slot, url, MODEL, active=True)
        until(lambda: prober.state(KEY, "blue") == SlotState(version="1", ready=True))
        prober.load(KEY, "green", "2")
        assert prober.state(KEY, "green").loading == "2"
        until(lambda: prober.state(KEY, "green") == SlotState(version="2", ready=True))
        prober.warm_up(KEY, "green", "2")
        until(lambda: prober.state(KEY, "green").warmed == "2")
        prober.load(KEY, "green", "3")
        until(lambda: prober.state(KEY, "green").failed is not None)
        assert "the weights file is corrupt" in (prober.state(KEY, "green").failed or "")
        assert prober.state(KEY, "green").version == "2"
        _kill_listener(urls["green"])
        until(lambda: prober.state(KEY, "green").problem is not None)
        assert not prober.state(KEY, "green").ready
        assert prober.state(KEY, "blue").ready
    finally:
        prober.stop()


def _kill_listener(url: str) -> None:
    port = url.rsplit(":", 1)[1]
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"--http-port={port}".encode() in command and command[0].endswith(b"tritonserver"):
                os.kill(int(entry.name), 9)
