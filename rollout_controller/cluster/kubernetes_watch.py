"""One watch of the Kubernetes API: lines of a stream to changes, and its ends told apart."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

from rollout_controller.api.names import Raw
from rollout_controller.cluster.answers import Request, body_of, document_of, error_of, version_of
from rollout_controller.cluster.store import Refused, Unavailable, WatchEvent
from rollout_controller.cluster.transport import NotAStream, Transport

LONGEST_S = 30.0
"""A watch is ended by the server after this long, and whoever needs more opens the next one.

The server says by a bookmark that a quiet watch is alive about once a minute, and once more two seconds before its end. Between
these, a quiet connection looks like a dead one. With this length something must come within 30 s, and a connection on which
nothing came for that and a grace is dead: it is noticed within 40 s. It costs two requests a minute and kind.
"""
GRACE_S = 10.0
CONNECT_S = 5.0
"""To connect, and then until the answer begins, which the server does at once."""


class KubernetesWatch(Iterator[WatchEvent]):
    """The changes of one kind after a resourceVersion; see `KubernetesStore.watch`."""

    def __init__(self, transport: Transport, path: str, request: Request, *, since: str, timeout_s: float) -> None:
        self._transport = transport
        self._path = path
        self._request = request
        self._since = since
        self._seconds = max(1, math.floor(min(timeout_s, LONGEST_S)))
        self._lines: Iterator[bytes] | None = None
        self._closed = False

    def close(self) -> None:
        """Ends the watch; may be called from any thread, and then a `next` under way ends with StopIteration or Unavailable."""
        self._closed = True
        close = getattr(self._lines, "close", None)
        if close is not None:
            with suppress(ValueError):  # a generator that is running in another thread
                close()

    def __next__(self) -> WatchEvent:
        if self._closed:
            raise StopIteration
        try:
            if self._lines is None:
                self._lines = self._open()
            line = next(self._lines, None)
        except NotAStream as error:
            self._closed = True
            body_of(self._request, error.answer)
            raise Unavailable(f"{self._request}: the answer is no stream") from None
        if line is None or self._closed:
            self.close()
            raise StopIteration
        try:
            return self._event(line)
        except BaseException:
            self.close()
            raise

    def _open(self) -> Iterator[bytes]:
        if not (self._since.isascii() and self._since.isdigit()):
            self._closed = True
            raise Refused(f"{self._since!r} is no resourceVersion")
        query = {
            "watch": "true",
            "resourceVersion": self._since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(self._seconds),
        }
        return self._transport.stream(self._path, query=query, connect_s=CONNECT_S, silence_s=self._seconds + GRACE_S)

    def _event(self, line: bytes) -> WatchEvent:
        try:
            event: Any = json.loads(line)
            kind, what = event["type"], event["object"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise Unavailable(f"{self._request}: a line that is no change came: {line[:200]!r}") from None
        if kind == "ERROR":
            status: Raw = what if isinstance(what, dict) else {}
            code = status.get("code")
            raise error_of(self._request, code if isinstance(code, int) else 500, status)
        if kind == "BOOKMARK":
            version = version_of(self._request, what.get("metadata") if isinstance(what, dict) else None)
            return WatchEvent("BOOKMARK", what, version)
        if kind not in ("ADDED", "MODIFIED", "DELETED"):
            raise Unavailable(f"{self._request}: a change of an unknown type came: {line[:200]!r}")
        document = document_of(self._request, what)
        return WatchEvent(cast("Any", kind), document, document["metadata"]["resourceVersion"])
