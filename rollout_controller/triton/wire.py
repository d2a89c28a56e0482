"""One HTTP exchange with a Triton: bounded in time and size, no redirects, no hidden retries, errors as two classes.

Connections are plain sockets (`http1`): thousands of slots are asked all day, and a question costs a tenth of what it does
with requests, and a Triton that is kept connected 20 KiB of memory less (docs/benchmarks.md).
"""

from __future__ import annotations

import json
import socket
import ssl
import weakref
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import urlsplit

from urllib3.util.wait import wait_for_read

from rollout_controller.triton import http1
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


class _UrlError(ValueError):
    """Not a URL that can be called."""


class Wire:
    """Connections to one Triton. Safe for several threads."""

    def __init__(self, base_url: str, *, connect_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._connect_s = connect_s
        self._idle: deque[socket.socket] = deque()
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
        except (OSError, ValueError, http1.CutError) as error:
            raise TritonUnreachable(f"{self.base_url} did not answer {verb} {path}: {_short(error, timeout_s)}") from error
        if status == 200:
            return content
        raise _refusal(f"{self.base_url} answered {verb} {path} with status {status}", status, content)

    def _exchange(self, verb: str, path: str, timeout_s: float, *, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        place = _place(self.base_url)
        message = http1.request(verb, f"{place.path}{path}", place.authority, body=body, headers=headers)
        connection = self._idle_one() or _connected(place, min(self._connect_s, timeout_s))
        try:
            answer = http1.exchange(connection, message, timeout_s=timeout_s, most=MAX_ANSWER_BYTES)
        except BaseException:
            connection.close()
            raise
        if not answer.reusable or self._closed or len(self._idle) >= KEPT:
            connection.close()
        else:
            self._idle.append(connection)
        return answer.status, answer.body

    def _idle_one(self) -> socket.socket | None:
        """A connection that was kept and that the other side has not ended meanwhile."""
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                return None
            if not wait_for_read(connection, timeout=0.0):
                return connection
            connection.close()
        return None


@dataclass(frozen=True)
class _Place:
    """Where a base URL leads."""

    tls: bool
    host: str
    port: int
    authority: str
    path: str


@lru_cache(maxsize=20_000)
def _place(base_url: str) -> _Place:
    """Raises ValueError."""
    parts = urlsplit(base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise _UrlError(base_url)
    tls = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = host if parts.port is None else f"{host}:{parts.port}"
    return _Place(tls, parts.hostname, parts.port or (443 if tls else 80), authority, parts.path)


def _connected(place: _Place, limit_s: float) -> socket.socket:
    try:
        connection = socket.create_connection((place.host, place.port), timeout=limit_s)
    except TimeoutError:
        raise http1.CutError("no connection in time") from None
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return _tls().wrap_socket(connection, server_hostname=place.host) if place.tls else connection
    except BaseException as error:
        connection.close()
        if isinstance(error, TimeoutError):
            raise http1.CutError("no connection in time") from None
        raise


def _close_all(connections: deque[socket.socket]) -> None:
    while connections:
        connections.pop().close()


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


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
    if isinstance(error, http1.CutError):
        return str(error)
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, ConnectionError) and not error.strerror:
        return "the connection was closed"
    if isinstance(error, OSError):  # a certificate that is not accepted is both this and a ValueError
        return str(error.strerror or type(error).__name__).lower()
    return "this is not a URL that can be called"
