"""One HTTP exchange with a Triton: bounded in time and size, no redirects, no hidden retries, errors as two classes."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import requests
import urllib3
from requests.adapters import HTTPAdapter

from rollout_controller.triton.errors import TritonRefused, TritonUnreachable

MAX_ANSWER_BYTES = 8 << 20
_NOT_NOW = frozenset({429, 502, 503, 504})
"""Statuses that say "not now": Triton answers 503 for TRITONSERVER_ERROR_UNAVAILABLE, the others come from proxies."""


@dataclass(frozen=True)
class Timeouts:
    """Limits in seconds. `read_s` bounds the quick questions, `infer_s` a warm-up request, `load_s` a load."""

    connect_s: float = 1.0
    read_s: float = 2.0
    infer_s: float = 60.0
    load_s: float = 600.0


class Wire:
    """A connection pool to one Triton. Safe for several threads."""

    def __init__(self, base_url: str, *, connect_s: float) -> None:
        self.base_url = base_url.rstrip("/")
        self._connect_s = connect_s
        self._session = requests.Session()
        self._session.trust_env = False  # neither proxies nor ~/.netrc: a Triton is next door
        adapter = HTTPAdapter(pool_maxsize=4, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Give back the idle connections."""
        self._session.close()

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
        url = f"{self.base_url}{path}"
        deadline = time.monotonic() + timeout_s
        try:
            with self._session.request(
                verb,
                url,
                data=body or None,
                headers=headers,
                timeout=(min(self._connect_s, timeout_s), timeout_s),
                stream=True,
                allow_redirects=False,
            ) as answer:
                status, content = answer.status_code, _read(answer, deadline)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise TritonUnreachable(f"{self.base_url} did not answer {verb} {path}: {_short(error, timeout_s)}") from error
        if status == 200:
            return content
        raise _refusal(f"{self.base_url} answered {verb} {path} with status {status}", status, content)


def _read(answer: requests.Response, deadline: float) -> bytes:
    """The body, read as it comes: a server that sends a byte now and then does not hold us longer than the deadline."""
    parts: list[bytes] = []
    size = 0
    while part := answer.raw.read1(65536, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise requests.RequestException(f"the answer is larger than {MAX_ANSWER_BYTES >> 20} MiB")
        if time.monotonic() > deadline:
            raise requests.Timeout("the answer came too slowly")
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
    """The kind of failure; requests' own texts hold object addresses and repeat the URL."""
    if isinstance(error, requests.ConnectTimeout):
        return "no connection in time"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.MissingSchema | requests.exceptions.InvalidSchema):
        return "this is not a URL that can be called"
    if isinstance(error, requests.ConnectionError):
        cause: BaseException | None = error
        while cause is not None and not (isinstance(cause, OSError) and cause.strerror):
            cause = cause.__cause__ or cause.__context__
        return str(cause.strerror).lower() if isinstance(cause, OSError) else "the connection failed"
    return str(error) if type(error) is requests.RequestException else "the answer was cut off"
