"""One HTTP exchange with a Triton: bounded in time and size, no redirects, no hidden retries, errors as two classes.

The standard library's client, not requests': thousands of slots are asked all day, and there a question costs 0.24 ms of CPU
instead of 1.0, and a Triton that is kept connected 20 KiB of memory less (docs/benchmarks.md).
"""

from __future__ import annotations

import json
import ssl
import time
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, InvalidURL
from typing import Any, Literal
from urllib.parse import urlsplit

from urllib3.util.wait import wait_for_read

from rollout_controller.triton.errors import TritonRefused, TritonUnreachable

MAX_ANSWER_BYTES = 8 << 20
KEPT = 4
"""Idle connections to one Triton."""
_NOT_NOW = frozenset({429, 502, 503, 504})
"""Statuses that say "not now": Triton answers 503 for TRITONSERVER_ERROR_UNAVAILABLE, the others come from proxies."""


@dataclass(frozen=True)
class Timeouts:
    """Limits in seconds. `read_s` bounds the quick questions, `infer_s` a warm-up request, `load_s` a load."""

    connect_s: float = 1.0
    read_s: float = 2.0
    infer_s: float = 60.0
    load_s: float = 600.0


class _CutError(Exception):
    """Why an answer was not read to its end."""


class Wire:
    """Connections to one Triton. Safe for several threads."""

    def __init__(self, base_url: str, *, connect_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._connect_s = connect_s
        self._idle: deque[HTTPConnection] = deque()
        self._closed = False
        weakref.finalize(self, _close_all, self._idle)

    def close(self) -> None:
        """Give back the idle connections; those in use are closed after their answer."""
        self._closed = True
        _close_all(self._idle)

    def call(
        self,
        verb: Literal["GET", "POST"],
        path: str,
        *,
        timeout_s: float,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a 200 answer.

        Raises:
            TritonRefused: another status with Triton's `{"error": ...}`.
            TritonUnreachable: refused, timed out, cut off, "not now", or an answer that is not Triton's.
        """
        try:
            status, content = self._exchange(verb, path, timeout_s, body=body, headers=headers or {})
        except (OSError, HTTPException, ValueError, _CutError) as error:
            raise TritonUnreachable(f"{self.base_url} did not answer {verb} {path}: {_short(error, timeout_s)}") from error
        if status == 200:
            return content
        raise _refusal(f"{self.base_url} answered {verb} {path} with status {status}", status, content)

    def _exchange(self, verb: str, path: str, timeout_s: float, *, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        deadline = time.monotonic() + timeout_s
        prefix, connection = urlsplit(self.base_url).path, self._idle_one() or self._connected(timeout_s)
        try:
            connection.sock.settimeout(timeout_s)
            connection.request(verb, f"{prefix}{path}", body=body or None, headers=dict(headers))
            answer = connection.getresponse()
            content = _read(answer, deadline)
            answer.close()
        except BaseException:
            connection.close()
            raise
        if answer.will_close or self._closed or len(self._idle) >= KEPT:
            connection.close()
        else:
            self._idle.append(connection)
        return answer.status, content

    def _idle_one(self) -> HTTPConnection | None:
        """A connection that was kept and that the other side has not ended meanwhile."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if not wait_for_read(connection.sock, timeout=0.0):
                return connection
            connection.close()
        return None

    def _connected(self, timeout_s: float) -> HTTPConnection:
        parts, limit = urlsplit(self.base_url), min(self._connect_s, timeout_s)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidURL(self.base_url)
        if parts.scheme == "https":
            connection: HTTPConnection = HTTPSConnection(parts.hostname, parts.port, timeout=limit, context=_tls())
        else:
            connection = HTTPConnection(parts.hostname, parts.port, timeout=limit)
        try:
            connection.connect()
        except TimeoutError:
            raise _CutError("no connection in time") from None
        return connection


def _close_all(connections: deque[HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _read(answer: HTTPResponse, deadline: float) -> bytes:
    """The body, read as it comes: a server that sends a byte now and then does not hold us longer than the deadline."""
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(65536):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise _CutError(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise _CutError("the answer came too slowly")
    if answer.length:
        raise _CutError("the answer was cut off")
    return b"".join(parts)


def _refusal(what: str, status: int, content: bytes) -> TritonRefused | TritonUnreachable:
    try:
        words = json.loads(content)["error"]
    except (ValueError, TypeError, KeyError):
        return TritonUnreachable(f"{what}, which is not Triton's own")
    if status in _NOT_NOW:
        return TritonUnreachable(f"{what}: {tidy(words)}")
    return TritonRefused(tidy(words), status=status)


def tidy(words: Any) -> str:
    """Triton's words on one line: its traces have line breaks and a trailing `;`."""
    return " ".join(str(words).split()).removesuffix(";").rstrip()[:2000]


def _short(error: Exception, timeout_s: float) -> str:
    """The kind of failure in a few words."""
    if isinstance(error, _CutError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, (InvalidURL, ValueError)):
        return "this is not a URL that can be called"
    if isinstance(error, ConnectionError) and not error.strerror:
        return "the connection was closed"
    if isinstance(error, OSError):
        return str(error.strerror or type(error).__name__).lower()
    return "the answer was cut off"
