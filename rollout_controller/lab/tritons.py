"""The two Triton slots: the model repository that they share, how each is started, and how a version is pinned in one."""

from __future__ import annotations

import hashlib
import json
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from rollout_controller.lab.parts import Triton
from rollout_controller.lab.processes import Server

MODEL = "classifier"
MODELS = Path(__file__).parent / "models"
CALL_TIMEOUT_S = 30.0


class TritonRefused(RuntimeError):
    """Triton answered a repository call with an error; the text is Triton's own."""


def lay_out_models(repository: Path) -> None:
    """Write the lab's model into the repository. Versions that a user has added stay; ours are written anew."""
    for params in sorted(MODELS.glob("*/*/params.json")):
        model, version = params.parent.parent, params.parent.name
        target = repository / model.name / version
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(params, target / "params.json")
        shutil.copyfile(model / "model.py", target / "model.py")
        shutil.copyfile(model / "config.pbtxt", repository / model.name / "config.pbtxt")


def triton_server(
    triton: Triton, slot: str, home: Path, models: Path, *, port: int, metrics_port: int, grpc_port: int | None = None
) -> Server:
    """One slot, nothing loaded. Its name for shared memory is its own, so that what a kill leaves can be removed."""
    gpu = gpu_time(home)
    gpu.mkdir(parents=True, exist_ok=True)
    argv = [
        str(triton.binary),
        f"--model-repository={models}",
        "--model-control-mode=explicit",
        "--disable-auto-complete-config",  # it costs 1.3 s per load
        f"--backend-directory={triton.lay_out_backends(home / 'backends')}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix(home)}",
        *(["--allow-grpc=false"] if grpc_port is None else ["--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}"]),
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--metrics-address=127.0.0.1",
        f"--metrics-port={metrics_port}",
        "--exit-timeout-secs=1",
    ]
    env = {**triton.env, "ROLLOUTS_LAB_GPU_DIR": str(gpu)}
    ready = f"http://127.0.0.1:{port}/v2/health/ready"
    return Server(
        name=slot, argv=argv, log=home / "log", ready=ready, env=env, grace_s=0
    )  # its own exit takes 3 s and saves nothing


def gpu_time(home: Path) -> Path:
    """Where a slot's models count the GPU time that they ask for."""
    return home / "gpu"


def shm_prefix(home: Path) -> str:
    return f"rollouts_lab_{hashlib.sha256(str(home).encode()).hexdigest()[:12]}_"


def remove_shared_memory(home: Path) -> None:
    """Remove what killed model processes leave in /dev/shm (1 MiB each)."""
    for region in Path("/dev/shm").glob(f"{shm_prefix(home)}*"):  # noqa: S108 - Triton's place, not ours
        region.unlink(missing_ok=True)


def load_version(base: str, version: int, model: str = MODEL) -> None:
    """Load the model with one version pinned, and wait until that version is ready. Raises TritonRefused.

    The override replaces the whole config (one without inputs comes up READY and answers nobody), so it is made from the config
    that Triton itself reports. Where nothing is loaded yet, that needs one load from disk, which is pinned to version 1.
    """
    try:
        config = json.loads(_get(base, f"/v2/models/{model}/config"))
    except TritonRefused:
        _post(base, f"/v2/repository/models/{model}/load", {})
        config = json.loads(_get(base, f"/v2/models/{model}/config"))
    pinned = {"specific": {"versions": [version]}}
    if config["version_policy"] != pinned:
        override = json.dumps({**config, "version_policy": pinned})
        _post(base, f"/v2/repository/models/{model}/load", {"parameters": {"config": override}})
    _get(base, f"/v2/models/{model}/versions/{version}/ready")


def is_ready(base: str, version: int, model: str = MODEL) -> bool:
    """What Triton says of that version."""
    try:
        _get(base, f"/v2/models/{model}/versions/{version}/ready")
    except TritonRefused:
        return False
    return True


def _get(base: str, path: str) -> bytes:
    return _call(urllib.request.Request(base + path))  # noqa: S310 - our own http URL


def _post(base: str, path: str, body: dict[str, Any]) -> bytes:
    return _call(urllib.request.Request(base + path, data=json.dumps(body).encode(), method="POST"))  # noqa: S310


def _call(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=CALL_TIMEOUT_S) as answer:  # noqa: S310
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise TritonRefused(f"{request.full_url} answered {error.code}: {error.read().decode(errors='replace')}") from error
