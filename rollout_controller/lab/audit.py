"""Counts an API server's calls by user, verb and resource, from its audit log."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

Call = tuple[str, str]
"""Verb and resource: `("patch", "virtualservices")`, `("patch", "tritonrollouts/status")`; a path where it is no resource."""


class Audit:
    """Follows a log that grows. Each call counts once; a watch when it begins.

    An answer can reach its caller a moment before its line reaches the log.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        self._seen: set[str] = set()
        self._calls: dict[str, Counter[Call]] = defaultdict(Counter)

    def calls(self, user: str) -> Counter[Call]:
        """What that user has called so far, refused calls too."""
        self._read()
        return Counter(self._calls[user])

    def users(self) -> frozenset[str]:
        self._read()
        return frozenset(self._calls)

    def _read(self) -> None:
        with self._log.open("rb") as log:
            log.seek(self._offset)
            whole, newline, _half = log.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        for line in whole.splitlines():
            event = json.loads(line)
            if event["auditID"] not in self._seen:
                self._seen.add(event["auditID"])
                self._calls[event["user"].get("username", "")][event["verb"], _resource(event)] += 1


def _resource(event: dict[str, dict[str, str]]) -> str:
    of = event.get("objectRef", {})
    if not of.get("resource"):
        return str(event["requestURI"]).partition("?")[0]
    return of["resource"] + (f"/{of['subresource']}" if of.get("subresource") else "")
