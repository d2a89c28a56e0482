"""What users really saw: Envoy's access log, counted per second and upstream cluster."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KEPT_S = 3600
"""Seconds that are kept; older ones are dropped."""
LINE_LIMIT = 64 * 1024
"""A longer line is not one of Envoy's."""
READ_BYTES = 4 * 1024 * 1024
"""Read from the log at once."""

_STEP = math.log(1.05)
"""Latencies are kept in classes 5 % wide."""
_CLASSES = 300
"""The last class begins at 1.05^299 ms, about 36 minutes."""


@dataclass(frozen=True)
class Seen:
    """One answered request. `at`: seconds since 1970 when it arrived at Envoy; `cluster` None: it was sent to no slot."""

    at: float
    cluster: str | None
    code: int
    duration_ms: float

    @property
    def failed(self) -> bool:
        """The user got an error of the server's making (5xx), as the source `envoy` counts it."""
        return self.code >= 500


def parse(line: str | bytes) -> Seen | None:
    """A line of the log; None for one that is none, and for requests that the client itself gave up (code 0)."""
    try:
        raw: Any = json.loads(line)
        code = int(raw["code"])
        cluster = raw["cluster"]
        if code == 0 or (cluster is not None and not isinstance(cluster, str)):
            return None
        return Seen(at=float(raw["start"]), cluster=cluster, code=code, duration_ms=float(raw["duration_ms"]))
    except (ValueError, KeyError, TypeError):
        return None


@dataclass
class Bucket:
    """Requests of one cluster that arrived within one second, or several such buckets added up."""

    requests: int = 0
    failed: int = 0
    slow: int = 0
    classes: dict[int, int] = field(default_factory=dict)
    first_at: float | None = None
    last_at: float | None = None
    first_failed_at: float | None = None
    first_slow_at: float | None = None

    def take(self, seen: Seen, limit_ms: float) -> None:
        slow = seen.duration_ms > limit_ms
        self.requests += 1
        self.failed += seen.failed
        self.slow += slow
        number = _class_of(seen.duration_ms)
        self.classes[number] = self.classes.get(number, 0) + 1
        self.first_at = _earlier(self.first_at, seen.at)
        self.last_at = max(self.last_at or seen.at, seen.at)
        if seen.failed:
            self.first_failed_at = _earlier(self.first_failed_at, seen.at)
        if slow:
            self.first_slow_at = _earlier(self.first_slow_at, seen.at)

    def add(self, other: Bucket) -> None:
        self.requests += other.requests
        self.failed += other.failed
        self.slow += other.slow
        for number, count in other.classes.items():
            self.classes[number] = self.classes.get(number, 0) + count
        self.first_at = _earlier(self.first_at, other.first_at)
        self.last_at = other.last_at if self.last_at is None else max(self.last_at, other.last_at or self.last_at)
        self.first_failed_at = _earlier(self.first_failed_at, other.first_failed_at)
        self.first_slow_at = _earlier(self.first_slow_at, other.first_slow_at)

    @property
    def failed_share(self) -> float | None:
        return self.failed / self.requests if self.requests else None

    def quantile_ms(self, quantile: float) -> float | None:
        """That quantile of the latency, at most 5 % off; None without requests."""
        if not self.requests:
            return None
        rank = max(math.ceil(quantile * self.requests), 1)
        for number in sorted(self.classes):
            rank -= self.classes[number]
            if rank <= 0:
                return math.exp((number + 0.5) * _STEP)
        raise AssertionError("classes and requests are counted together")


def _class_of(duration_ms: float) -> int:
    return min(int(math.log(max(duration_ms, 1.0)) / _STEP), _CLASSES - 1)


def _earlier(one: float | None, other: float | None) -> float | None:
    return other if one is None else one if other is None else min(one, other)


@dataclass(frozen=True)
class Point:
    """One cluster, some seconds that end at `at` (seconds since 1970)."""

    at: float
    seconds: float
    bucket: Bucket

    @property
    def rps(self) -> float:
        return self.bucket.requests / self.seconds


class Traffic:
    """Buckets by second and cluster. A request counts in the second in which it arrived, once it is answered."""

    def __init__(self, limit_ms: float, kept_s: int = KEPT_S) -> None:
        self.limit_ms = limit_ms
        self._kept_s = kept_s
        self._buckets: dict[int, dict[str | None, Bucket]] = {}
        self._newest = 0

    def take(self, seen: Seen) -> None:
        second = math.floor(seen.at)
        if second <= self._newest - self._kept_s:
            return
        self._buckets.setdefault(second, {}).setdefault(seen.cluster, Bucket()).take(seen, self.limit_ms)
        if second > self._newest:
            self._newest = second
            for old in [s for s in self._buckets if s <= second - self._kept_s]:
                del self._buckets[old]

    def between(self, cluster: str, start: float, end: float) -> Bucket:
        """Whole seconds that begin in [start, end)."""
        total = Bucket()
        for second in range(max(math.ceil(start), self._newest - self._kept_s), min(math.ceil(end), self._newest + 1)):
            if bucket := self._buckets.get(second, {}).get(cluster):
                total.add(bucket)
        return total

    def points(self, cluster: str, start: float, end: float, width_s: int) -> Iterator[Point]:
        """One point a second, each over the last `width_s` seconds; points without requests are among them."""
        for at in range(math.ceil(start) + 1, math.floor(end) + 1):
            yield Point(float(at), float(width_s), self.between(cluster, at - width_s, at))


class Log:
    """Follows an access log that grows, and takes what is new into the buckets."""

    def __init__(self, path: Path, traffic: Traffic) -> None:
        self._path, self._traffic = path, traffic
        self._offset = 0
        self._half = b""

    def read(self) -> int:
        """Take in what was written since the last call; the number of requests in it. A log that is not there yet has none."""
        taken = 0
        while chunk := self._chunk():
            *lines, self._half = (self._half + chunk).split(b"\n")
            if len(self._half) > LINE_LIMIT:
                self._half = b""
            for line in lines:
                if seen := parse(line):
                    self._traffic.take(seen)
                    taken += 1
        return taken

    def _chunk(self) -> bytes:
        try:
            with self._path.open("rb") as log:
                if log.seek(0, 2) < self._offset:  # it was begun anew
                    self._offset, self._half = 0, b""
                log.seek(self._offset)
                chunk = log.read(READ_BYTES)
        except FileNotFoundError:
            return b""
        self._offset += len(chunk)
        return chunk


@dataclass(frozen=True)
class Toll:
    """What one attempt cost users: requests that the canary answered, and the bad ones among them.

    `first_harm_at`, `last_request_at`: seconds since 1970, by Envoy's clock of arrival.
    """

    requests: int
    failed: int
    slow: int
    first_request_at: float | None
    first_harm_at: float | None
    last_request_at: float | None

    @property
    def harm_to_off_s(self) -> float | None:
        """From the first bad request to the last one that reached the canary; None without harm."""
        if self.first_harm_at is None or self.last_request_at is None:
            return None
        return self.last_request_at - self.first_harm_at


def toll(traffic: Traffic, cluster: str, start: float, end: float, harm: str) -> Toll:
    """The toll of the attempt that had `cluster` as its canary. `harm`: `failed`, `slow`, or anything else for both."""
    seen = traffic.between(cluster, math.floor(start), end)
    firsts = {"failed": seen.first_failed_at, "slow": seen.first_slow_at}
    return Toll(
        requests=seen.requests,
        failed=seen.failed,
        slow=seen.slow,
        first_request_at=seen.first_at,
        first_harm_at=firsts.get(harm, _earlier(seen.first_failed_at, seen.first_slow_at)),
        last_request_at=seen.last_at,
    )
