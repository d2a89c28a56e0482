"""Plays dcgm-exporter at the wire where there is no GPU: utilisation from the GPU time that the slots' models declare."""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
AT_ONCE_S = 0.2
"""Scrapes closer together than this see the same value."""

BACKLOG_S = 1.0
"""How much work that was asked for may wait: a GPU works it off at one second per second."""

GAUGES = (
    ("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).", 1.0),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active (0-1).", 0.01),
)
PLAYED = "Played by the lab of rollout-controller: there is no GPU here; this is the GPU time that the models declare."


class Gpu:
    """One slot's GPU. `percent` is busy time over elapsed time since the scrape before."""

    def __init__(self, directory: Path, now: float) -> None:
        self._directory = directory
        self._asked_s = self._read_s()
        self._backlog_s = 0.0
        self._at = now
        self._percent = 0.0

    def percent(self, now: float) -> float:
        elapsed_s = now - self._at
        if elapsed_s < AT_ONCE_S:
            return self._percent
        asked_s = self._read_s()
        waiting_s = self._backlog_s + max(0.0, asked_s - self._asked_s)
        busy_s = min(elapsed_s, waiting_s)
        self._backlog_s = min(waiting_s - busy_s, BACKLOG_S)
        self._asked_s, self._at, self._percent = asked_s, now, 100.0 * busy_s / elapsed_s
        return self._percent

    def _read_s(self) -> float:
        """Each process of a model has a file of eight bytes; those of ended processes stay, so the sum never falls."""
        total_us = 0
        for path in self._directory.glob("*"):
            content = path.read_bytes()
            if len(content) == struct.calcsize("<Q"):
                total_us += struct.unpack("<Q", content)[0]
        return total_us / 1e6


class Exporter:
    """All slots' GPUs, one per slot, as one page."""

    def __init__(self, slots: Mapping[str, Path], namespace: str) -> None:
        self._gpus = {slot: Gpu(directory, time.monotonic()) for slot, directory in slots.items()}
        self._namespace = namespace
        self._one_at_a_time = threading.Lock()

    def page(self, now: float) -> str:
        with self._one_at_a_time:
            used = {slot: gpu.percent(now) for slot, gpu in self._gpus.items()}
        lines = []
        for name, text, scale in GAUGES:
            lines += [f"# HELP {name} {text} {PLAYED}", f"# TYPE {name} gauge"]
            lines += [
                f"{name}{{{self._labels(n, slot)}}} {percent * scale:.6g}" for n, (slot, percent) in enumerate(used.items())
            ]
        return "\n".join(lines) + "\n"

    def _labels(self, number: int, slot: str) -> str:
        labels = {
            "gpu": str(number),
            "UUID": f"GPU-00000000-0000-0000-0000-{number:012d}",
            "pci_bus_id": f"00000000:00:{number + 4:02X}.0",
            "device": f"nvidia{number}",
            "modelName": "none (lab)",
            "Hostname": "lab",
            "container": "triton",
            "namespace": self._namespace,
            "pod": f"{slot}-0",
        }
        return ",".join(f'{name}="{value}"' for name, value in labels.items())


def handler(exporter: Exporter) -> type[BaseHTTPRequestHandler]:
    """A request handler that serves this exporter's page on every path."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            body = exporter.page(time.monotonic()).encode()
            self.send_response(200)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """A line a second would be said here; nobody needs it."""

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rollout_controller.lab.gpu_exporter", description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--namespace", default="default")
    parser.add_argument("slots", nargs="+", metavar="HOST=DIRECTORY", help="a slot and the directory of its models' counters")
    chosen = parser.parse_args()
    slots = {host: Path(directory) for host, _, directory in (slot.partition("=") for slot in chosen.slots)}
    sys.stderr.write(f"{PLAYED}\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ThreadingHTTPServer(("127.0.0.1", chosen.port), handler(Exporter(slots, chosen.namespace))) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
