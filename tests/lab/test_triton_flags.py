"""A real Triton with the flags that the chart gives it: it can be reached, and loaded into, whatever failed before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
import requests

from rollout_controller.lab import processes
from rollout_controller.lab.parts import find_triton
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.tritons import remove_shared_memory, triton_server
from rollout_controller.triton.client import TritonClient
from rollout_controller.triton.errors import TritonRefused
from tests.lab.test_triton_client import MODEL, write_version
from tests.support.triton_chart import named, rendered

pytestmark = pytest.mark.lab

STRICT = "--strict-readiness=false"
HERE = ("--model-repository", "--http-port", "--grpc-port", "--metrics-port", "--exit-timeout-secs")
"""What this machine says otherwise: folder, ports, and that nothing is waited for."""


def flags() -> list[str]:
    """Of the chart's container with a model repository, but for those of HERE."""
    pod = named(rendered(), "Deployment")["triton-blue"]["spec"]["template"]["spec"]
    program, *args = pod["containers"][0]["args"]
    assert program == "tritonserver"
    return [arg for arg in args if not arg.startswith(HERE)]


@pytest.fixture(params=["as the chart has it", "by Triton's default"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[TritonClient, bool]]:
    """A Triton with nothing loaded, and whether it has the chart's readiness."""
    ours = request.param == "as the chart has it"
    assert STRICT in flags()
    write_version(tmp_path / "models", 1)
    port, metrics = free_ports(2)
    server = triton_server(find_triton(), "blue", tmp_path / "blue", tmp_path / "models", port=port, metrics_port=metrics)
    server = replace(server, argv=[*server.argv, *(flag for flag in flags() if ours or flag != STRICT)])
    running = [processes.start(server, tmp_path / "mark", tethered=True)]
    try:
        processes.wait_ready(running, 30)
        found = TritonClient(f"http://127.0.0.1:{port}")
        yield found, ours
        found.close()
    finally:
        assert processes.stop(running, tmp_path / "mark") == ()
        remove_shared_memory(tmp_path / "blue")


def test_a_version_that_cannot_be_loaded_does_not_cut_the_slot_off(client: tuple[TritonClient, bool], tmp_path: Path) -> None:
    """By Triton's default the pod is not ready from then on, though the version of before serves: its Service leads nowhere."""
    triton, ours = client
    triton.load_pinned(MODEL, "1")
    assert ready(triton) == HTTPStatus.OK
    write_version(tmp_path / "models", 2, 'raise RuntimeError("no such weights")')
    with pytest.raises(TritonRefused, match="no such weights"):
        triton.load_pinned(MODEL, "2")
    triton.load_pinned(MODEL, "1")
    assert [line.version for line in triton.index() if line.state == "READY"] == ["1"]
    assert ready(triton) == (HTTPStatus.OK if ours else HTTPStatus.BAD_REQUEST)


def ready(triton: TritonClient) -> int:
    """What the kubelet's probe would see: the client reads a 400 as no answer of Triton."""
    return requests.get(f"{triton.base_url}/v2/health/ready", timeout=5).status_code
