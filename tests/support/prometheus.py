"""A real Prometheus in a folder of its own, and a small exporter whose truth the test knows."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.lab import parts


def find_prometheus() -> Path:
    """The binary to test with; a missing one is a failure that says how to get it, never a skip."""
    return parts.find_prometheus(print)


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Exporter:
    """Serves what `text()` returns at /metrics."""

    def __init__(self, text: Callable[[], str | bytes], port: int = 0) -> None:
        self.text = text
        self.broken = False
        self.delay_s = 0.0
        self.scrapes = 0
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                exporter.scrapes += 1
                time.sleep(exporter.delay_s)
                if exporter.broken:
                    self.send_error(503)
                    return
                body = exporter.text()
                data = body.encode() if isinstance(body, str) else body
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                with suppress(ConnectionError):  # the one who asked was killed
                    self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class RealPrometheus:
    """One Prometheus process; it can be stopped, continued, killed and started again on the same data."""

    def __init__(self, binary: Path, folder: Path, targets: list[str], *, scrape: str = "1s") -> None:
        self.binary, self.folder, self.port = binary, folder, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        folder.mkdir(parents=True, exist_ok=True)
        self._config = folder / "prometheus.yml"
        self.configure(targets, scrape=scrape)
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def configure(self, targets: list[str], *, scrape: str = "1s") -> None:
        config = {
            "global": {"scrape_interval": scrape, "scrape_timeout": scrape, "evaluation_interval": "1h"},
            "scrape_configs": [{"job_name": "test", "static_configs": [{"targets": targets}]}],
        }
        self._config.write_text(yaml.safe_dump(config))

    def start(self) -> None:
        arguments = [f"--config.file={self._config}", f"--storage.tsdb.path={self.folder / 'data'}"]
        arguments += [f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-lifecycle", "--log.level=warn"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen([self.binary, *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"{self.url}/-/ready", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                time.sleep(0.05)
            if self.process.poll() is not None:
                break
        raise RuntimeError(f"Prometheus did not become ready:\n{(self.folder / 'log').read_text()[-2000:]}")

    def cpu_s(self) -> float:
        """Seconds of CPU it has used so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> None:
        """Kill it, at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None


@contextmanager
def prometheus(binary: Path, folder: Path, targets: list[str], *, scrape: str = "1s") -> Iterator[RealPrometheus]:
    server = RealPrometheus(binary, folder, targets, scrape=scrape)
    try:
        yield server
    finally:
        server.end()
