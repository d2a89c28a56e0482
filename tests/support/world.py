"""Requests that were really counted: an exporter that plays Envoy (and dcgm-exporter), and its truth."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

EDGES = (50.0, 100.0)


@dataclass
class World:
    """Counters as Envoy shows them, and all requests ever made, by host."""

    status: Counter[tuple[str, str]] = field(default_factory=Counter)
    buckets: Counter[tuple[str, str]] = field(default_factory=Counter)
    truth: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    slow: Counter[str] = field(default_factory=Counter)
    gpu: dict[str, float] = field(default_factory=dict)
    extra: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, host: str, count: int, *, status: str = "2", latency_ms: float = 10.0) -> None:
        with self.lock:
            self.truth[host] += count
            self.failed[host] += count if status == "5" else 0
            self.slow[host] += count if latency_ms > 100 else 0
            self.status[host, status] += count
            for edge in EDGES:
                self.buckets[host, f"{edge:g}"] += count if latency_ms <= edge else 0
            self.buckets[host, "+Inf"] += count

    def forget(self, host: str) -> None:
        """The process that counted for this host started anew."""
        with self.lock:
            for counter in (self.status, self.buckets):
                for key in [key for key in counter if key[0] == host]:
                    del counter[key]

    def text(self) -> str:
        with self.lock:
            lines = [
                f'envoy_cluster_upstream_rq_xx{{envoy_cluster_name="{host}",envoy_response_code_class="{code}"}} {value}'
                for (host, code), value in self.status.items()
            ]
            lines += [
                f'envoy_cluster_upstream_rq_time_bucket{{envoy_cluster_name="{host}",le="{le}"}} {value}'
                for (host, le), value in self.buckets.items()
            ]
            lines += [
                f'DCGM_FI_DEV_GPU_UTIL{{exported_namespace="default",exported_pod="{pod}",gpu="{i}"}} {value}'
                for i, (pod, value) in enumerate(self.gpu.items())
            ]
            return "\n".join([*lines, self.extra, ""])


def wait_for(what: Callable[[], bool], timeout_s: float, every_s: float = 0.05) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(every_s)
    return what()
