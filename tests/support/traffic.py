"""What users of a lab saw, and the route they take: Envoy's access log read, its route file written."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rollout_controller.lab.info import Info
from rollout_controller.lab.load import bodies

BLUE, GREEN = "triton-blue", "triton-green"


@dataclass(frozen=True)
class Seen:
    """One request as its user saw it. `start` is seconds since 1970."""

    start: float
    code: int
    flags: str | None
    cluster: str | None
    duration_ms: int
    path: str
    details: str


def set_weights(info: Info, weights: Mapping[str, int], timeout: str = "15s") -> float:
    """Write the route file by atomic rename; the time of that rename, in seconds since 1970."""
    clusters = [{"name": host, "weight": weight} for host, weight in weights.items()]
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": clusters}, "timeout": timeout}}
    hosts = [{"name": "all", "domains": ["*"], "routes": [route]}]
    kind = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
    resource = {"@type": kind, "name": "local", "virtual_hosts": hosts}
    half = info.rds.with_suffix(".half")
    half.write_text(json.dumps({"version_info": str(time.time_ns()), "resources": [resource]}))
    half.replace(info.rds)
    return time.time()


def seen(info: Info, since: float, cluster: str | None = None) -> list[Seen]:
    """Requests that started at or after `since`; waits for the log's flush first."""
    time.sleep(0.4)
    lines = (json.loads(line) for line in info.access_log.read_text().splitlines())
    requests = (Seen(**{**line, "start": float(line["start"])}) for line in lines)
    return [r for r in requests if r.start >= since and cluster in {None, r.cluster}]


@contextmanager
def all_to(info: Info, weights: Mapping[str, int], timeout: str = "15s") -> Iterator[float]:
    """These weights for the time of the block, then all to blue; gives the time of the change."""
    try:
        yield set_weights(info, weights, timeout)
    finally:
        set_weights(info, {BLUE: 100, GREEN: 0})


def infer(base: str, timeout_s: float = 5.0) -> int:
    """One request straight to a Triton; raises HTTPError when it is not answered well."""
    head, images = bodies(7)
    request = urllib.request.Request(f"{base}/v2/models/classifier/infer", data=images[0], method="POST")
    request.add_header("Inference-Header-Content-Length", str(len(head)))
    with urllib.request.urlopen(request, timeout=timeout_s) as answer:
        return int(answer.status)


def ask(info: Info, promql: str) -> list[float]:
    """The values of an instant query."""
    query = urllib.parse.urlencode({"query": promql})
    with urllib.request.urlopen(f"{info.prometheus}/api/v1/query?{query}", timeout=10) as answer:
        result = json.load(answer)["data"]["result"]
    return [float(sample["value"][1]) for sample in result]


def lines(path: Path) -> list[dict[str, object]]:
    """A file of one JSON object a line; a last half line is left out."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
