"""A Triton at the wire: answers as 2.51 was seen to answer (tests/lab/test_triton_client.py), with faults on request."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CONFIG = {
    "name": "m",
    "backend": "python",
    "max_batch_size": 8,
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["-1"], "optional": False}],
    "dynamic_batching": {"max_queue_delay_microseconds": "500"},
    "version_policy": {"latest": {"num_versions": 1}},
}
METADATA = {"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]}


class WireTriton:
    """Model `m`. `hang` holds every answer back; `calls` keeps what was asked."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        self.broken: set[str] = set()
        self.available = {"1", "2", "3"}
        self.load_s = 0.0
        self.infer_status = 200
        self.infer_s = 0.0
        self.hang = threading.Event()
        self.calls: list[str] = []
        self.overrides: list[dict[str, Any]] = []
        self.infers: list[tuple[dict[str, Any], bytes]] = []
        self.url = ""

    def answer(self, verb: str, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        """Status and document for a request."""
        self.calls.append(f"{verb} {path}")
        while self.hang.is_set():
            time.sleep(0.01)
        if path == "/v2/repository/index":
            states = [{"name": "m", "version": v, "state": s} for v, s in sorted(self.versions.items())]
            return 200, states or [{"name": "m"}]
        if path == "/v2/repository/models/m/load":
            return self._load(json.loads(body or b"{}"))
        if path == "/v2/repository/models/m/unload":
            self.versions = dict.fromkeys(self.versions, "UNAVAILABLE")
            return 200, None
        if path == "/v2/models/m/config":
            if "READY" not in self.versions.values():
                return 404, {"error": "Request for unknown model: 'm' has no available versions"}
            return 200, CONFIG
        return self._of_a_version(path, headers, body)

    def _of_a_version(self, path: str, headers: Any, body: bytes) -> tuple[int, Any]:
        if path.endswith("/config"):
            return 200, CONFIG
        if path.endswith("/infer"):
            length = int(headers["Inference-Header-Content-Length"])
            self.infers.append((json.loads(body[:length]), body[length:]))
            time.sleep(self.infer_s)
            return self.infer_status, {"error": "x is too short"} if self.infer_status != 200 else {"outputs": []}
        if path.endswith("/ready"):
            ready = path == "/v2/health/ready" or self.versions.get(path.split("/")[-2]) == "READY"
            return (200, None) if ready else (400, {"error": "Model version not ready"})
        return 200, METADATA

    def _load(self, request: dict[str, Any]) -> tuple[int, Any]:
        if "parameters" in request:
            config = json.loads(request["parameters"]["config"])
            self.overrides.append(config)
            version = str(config["version_policy"]["specific"]["versions"][0])
        else:
            version = max(self.available)
        if version not in self.available:
            text = "load failed for model 'm': at least one version must be available under the version policy of model 'm'\n"
            return 400, {"error": text}
        if self.load_s:
            self.versions[version] = "LOADING"
            time.sleep(self.load_s)
        if version in self.broken:
            self.versions[version] = "UNAVAILABLE"
            why = "Internal: no weights\n\nAt:\n  model.py;\n"
            text = f"load failed for model 'm': version {version} is at UNAVAILABLE state: {why}"
            return 400, {"error": text}
        self.versions = dict.fromkeys(self.versions, "UNAVAILABLE") | {version: "READY"}
        return 200, None


@contextmanager
def serve(triton: WireTriton) -> Iterator[WireTriton]:
    """Serve on a free port until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            status, document = triton.answer(self.command, self.path, self.headers, self.rfile.read(length))
            body = b"" if document is None else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    triton.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield triton
    finally:
        triton.hang.clear()
        server.shutdown()
        server.server_close()
        thread.join(2)
