"""Client of one Triton's repository, health and infer API.

How Triton 2.51 behaves in `--model-control-mode=explicit`, measured (tests/lab/test_triton_client.py holds it):

- A config override replaces the *whole* config: `{"version_policy": ...}` alone loses inputs, batching and parameters.
  So a pin sends the config that Triton has now (`GET /v2/models/M/config`) with another `version_policy`.
- That config exists only while a version is loaded. Where none is, a plain load comes first (it reads config.pbtxt and
  loads by the policy there, by default the highest version), then the pin.
- A change of `version_policy` alone does not reload a version that is loaded already: the pin after it costs 1-10 ms. What
  reloads it is a file of its directory with a new time, and Python's first import writes one (`__pycache__`).
- The old version serves until the new one is ready, then it is drained (about a second). A load that fails leaves it serving.
- A pin takes the config of the load before it, so a changed config.pbtxt is read only after an unload (or a restart).
- A load goes on in Triton when its caller has gone, and one asked meanwhile for the same model is queued and loads *again*.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from rollout_controller.triton.errors import TritonRefused, TritonUnreachable
from rollout_controller.triton.warmup import warm_up_request
from rollout_controller.triton.wire import Timeouts, Wire, tidy

__all__ = ["ModelVersion", "Timeouts", "TritonClient"]

_INDEX = "/v2/repository/index"
_VERSION = re.compile(r"[1-9]\d{0,17}")
T = TypeVar("T")


@dataclass(frozen=True)
class ModelVersion:
    """One line of the repository index. `version` None: the model is there and was never loaded.

    `state`: READY, LOADING, UNLOADING, UNAVAILABLE, or empty; `reason`: Triton's words for UNAVAILABLE.
    """

    model: str
    version: str | None = None
    state: str = ""
    reason: str = ""


class TritonClient:
    """One Triton. Every method ends within its timeout and raises TritonRefused or TritonUnreachable.

    `permit` is called before each load and unload; what it raises comes out, and nothing is sent.
    """

    def __init__(self, base_url: str, timeouts: Timeouts | None = None, *, permit: Callable[[], object] = lambda: None) -> None:
        self.timeouts = timeouts or Timeouts()
        self._permit = permit
        self._wire = Wire(base_url, connect_s=self.timeouts.connect_s)
        self._last_index: tuple[bytes, tuple[ModelVersion, ...]] = (b"", ())
        """The newest answer and what it says: it is asked for all day, and seldom changes."""

    @property
    def base_url(self) -> str:
        return self._wire.base_url

    def close(self) -> None:
        """Give back the idle connections."""
        self._wire.close()

    def index(self) -> tuple[ModelVersion, ...]:
        """All models of the repository, with every version that was ever loaded."""
        content = self._wire.call("POST", _INDEX, timeout_s=self.timeouts.read_s)
        known, lines = self._last_index
        if content != known:
            lines = self._parsed(content, "POST", _INDEX, _index)
            self._last_index = (content, lines)
        return lines

    def config(self, model: str) -> dict[str, Any] | None:
        """The model's config as Triton completed it; None when no version of it is loaded."""
        try:
            return self._read("GET", f"{_model(model)}/config", _document)
        except TritonRefused as error:
            if error.status == 404:
                return None
            raise

    def load_pinned(self, model: str, version: str, *, spare: Callable[[], dict[str, Any] | None] = lambda: None) -> None:
        """Load `version` and nothing else; comes back when it is ready. May take minutes.

        `spare` is asked for a config of the same model (the other slot's) where nothing is loaded and the plain load,
        which takes the highest version, fails.

        Raises:
            TritonRefused: it cannot be loaded, in Triton's own words; what was loaded before goes on.
        """
        if not _VERSION.fullmatch(version):
            raise TritonRefused(f"{version!r} is no version of a Triton model repository: those are whole numbers from 1")
        config = self.config(model) or self._first_config(model, spare)
        pinned = config | {"version_policy": {"specific": {"versions": [int(version)]}}}
        self._load(model, json.dumps({"parameters": {"config": json.dumps(pinned)}}).encode())

    def unload(self, model: str) -> None:
        """Unload every version; answered at once, drained in the background."""
        self._permit()
        self._wire.call("POST", f"/v2/repository/models/{quote(model, safe='')}/unload", timeout_s=self.timeouts.read_s)

    def server_ready(self) -> bool:
        """Whether the server says that it is ready; False when it says it is not."""
        return self._says_ready("/v2/health/ready")

    def version_ready(self, model: str, version: str) -> bool:
        """Whether the version can be asked; a Python model whose process died still says yes."""
        return self._says_ready(f"{_model(model, version)}/ready")

    def metadata(self, model: str, version: str) -> dict[str, Any]:
        """Inputs and outputs of a ready version, by name, datatype and shape (batch included)."""
        return self._read("GET", _model(model, version), _document)

    def warm_up(self, model: str, version: str) -> None:
        """Send one request of zeros and wait for its answer.

        Raises:
            TritonRefused: the model answered with an error. Zeros may be no fit input for it: this says nothing certain.
        """
        config = self._read("GET", f"{_model(model, version)}/config", _document)
        try:
            body, headers = warm_up_request(self.metadata(model, version), config)
        except (ValueError, TypeError, KeyError) as error:
            raise TritonRefused(f"no warm-up request can be built for model {model!r}: {error}") from error
        self._wire.call("POST", f"{_model(model, version)}/infer", timeout_s=self.timeouts.infer_s, body=body, headers=headers)

    def _first_config(self, model: str, spare: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
        try:
            self._load(model, b"")
        except TritonRefused:
            if (config := spare()) is None:
                raise
            return config
        if (config := self.config(model)) is None:
            raise TritonUnreachable(f"{self.base_url} loaded model {model!r}, but has no config of it")
        return config

    def _load(self, model: str, body: bytes) -> None:
        path = f"/v2/repository/models/{quote(model, safe='')}/load"
        self._permit()
        self._wire.call("POST", path, timeout_s=self.timeouts.load_s, body=body)

    def _says_ready(self, path: str) -> bool:
        try:
            self._wire.call("GET", path, timeout_s=self.timeouts.read_s)
        except TritonRefused as error:
            if error.status == 400:
                return False
            raise
        return True

    def _read(self, verb: Any, path: str, parse: Callable[[Any], T]) -> T:
        return self._parsed(self._wire.call(verb, path, timeout_s=self.timeouts.read_s), verb, path, parse)

    def _parsed(self, content: bytes, verb: str, path: str, parse: Callable[[Any], T]) -> T:
        try:
            return parse(json.loads(content))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise TritonUnreachable(f"{self.base_url} answered {verb} {path} with something that is not Triton's") from error


def _model(model: str, version: str | None = None) -> str:
    path = f"/v2/models/{quote(model, safe='')}"
    return path if version is None else f"{path}/versions/{quote(version, safe='')}"


def _document(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise TypeError("not a document")
    return answer


def _index(answer: Any) -> tuple[ModelVersion, ...]:
    if not isinstance(answer, list):
        raise TypeError("not a list")
    return tuple(
        ModelVersion(str(line["name"]), line.get("version"), str(line.get("state", "")), tidy(line.get("reason", "")))
        for line in answer
    )
