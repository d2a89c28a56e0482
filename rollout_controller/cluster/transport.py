"""The wire under the Kubernetes store: one call, one stream. Who speaks it decides what it costs to import."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from rollout_controller.cluster.store import Unavailable

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Of one answer. A page of a list is far below it; more is not read into memory."""
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Of one line of a watch: an object has at most 1.5 MiB, and JSON may escape it to twice that."""


class Oversize(Unavailable):
    """An answer or a line of a watch has more bytes than we read."""


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """A connection to one API server: address, TLS, credentials (also such that rotate), proxy. Never retries, never redirects.

    Safe for many threads. Paths are absolute (`/apis/...`) and already escaped; `query` is not.
    """

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = {},
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout_s: float,
    ) -> Answer:
        """One request and its whole answer within `timeout_s`, connecting and slow bodies included.

        Raises:
            Unavailable: no whole answer in time, refused, reset, truncated; the sentence names the server's address.
            Oversize: the body has more than MAX_BODY_BYTES.
        """
        ...

    def stream(self, path: str, *, query: Mapping[str, str], connect_s: float, silence_s: float) -> Iterator[bytes]:
        """The lines of a GET that goes on (a watch), without their ends, as they come; its end is the end of the answer.

        The iterator has a `close()` that gives the connection up; it is best callable from any thread, while another reads.

        Raises:
            NotAStream: the answer's status is not 200.
            Unavailable: no connection within `connect_s`, no answer within as long again, no whole line for `silence_s`, reset,
                truncated.
            Oversize: a line has more than MAX_LINE_BYTES.
        """
        ...


class NotAStream(Exception):
    """A stream was asked for and the answer is a refusal. The store makes its own error of it."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(f"HTTP {answer.status}")
