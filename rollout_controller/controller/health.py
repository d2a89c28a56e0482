"""/metrics, /healthz and /readyz over HTTP, and the heartbeats behind /healthz."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from typing import Any

from prometheus_client import CollectorRegistry

from rollout_controller.controller import exposition

Check = Callable[[], str | None]
"""Says what is wrong in a sentence; None: nothing."""
REQUEST_TIMEOUT_S = 10.0
MOST_REQUESTS = 32
"""At once; more are turned away, so that a flood of them cannot take the controller's threads."""


class Heartbeats:
    """When each loop was last alive. A loop says beforehand how long it may be silent."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._loops: dict[str, tuple[float, float]] = {}

    def expect(self, loop: str, within_s: float) -> Callable[[], None]:
        """Watch a loop from now on; gives the function that it calls each time it comes around."""

        def beat() -> None:
            with self._lock:
                if loop in self._loops:
                    self._loops[loop] = (self._monotonic(), within_s)

        with self._lock:
            self._loops[loop] = (self._monotonic(), within_s)
        return beat

    def forget(self, loop: str) -> None:
        """The loop has ended as it should."""
        with self._lock:
            self._loops.pop(loop, None)

    def problem(self) -> str | None:
        """Which loops are silent, for how long; None when all are alive."""
        now = self._monotonic()
        with self._lock:
            silent = [
                f"loop {loop!r} has not come around for {now - last:.0f} s (it may take {within_s:g} s)"
                for loop, (last, within_s) in sorted(self._loops.items())
                if now - last > within_s
            ]
        return "; ".join(silent) or None


class HealthServer:
    """Serves until `stop`. Port 0 takes a free one; `port` says which."""

    def __init__(
        self, registry: CollectorRegistry, *, live: Mapping[str, Check], ready: Mapping[str, Check], host: str, port: int
    ) -> None:
        self._server = _Server((host, port), _handler(registry, {"/healthz": live, "/readyz": ready}))
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True
        )

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more and give the port back; requests that are out end with the process."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(2)
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self._free = threading.BoundedSemaphore(MOST_REQUESTS)
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is no news."""


def _handler(registry: CollectorRegistry, checks: Mapping[str, Mapping[str, Check]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = REQUEST_TIMEOUT_S
        server_version = "rollout-controller"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                self._answer(200, exposition.pieces(registry), exposition.CONTENT_TYPE)
            elif path in checks:
                problems = _problems(checks[path])
                text = "".join(f"{name}: {problem}\n" for name, problem in problems.items()) or "ok\n"
                self._answer(503 if problems else 200, [text.encode()], "text/plain; charset=utf-8")
            else:
                self._answer(404, [b"here are /metrics, /healthz and /readyz\n"], "text/plain; charset=utf-8")

        def _answer(self, status: int, body: list[bytes], content_type: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(sum(map(len, body))))
            self.end_headers()
            self.wfile.writelines(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Probes come every few seconds: nothing to say."""

    return Handler


def _problems(checks: Mapping[str, Check]) -> dict[str, str]:
    found = {}
    for name, check in checks.items():
        try:
            problem = check()
        except Exception as error:  # noqa: BLE001 - a check that fails is an answer
            problem = f"the check itself failed: {type(error).__name__}"
        if problem is not None:
            found[name] = problem
    return found
