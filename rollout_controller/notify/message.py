"""PURE: a notice as it is sent: about which rollout, with which links."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from rollout_controller.api.names import Key
from rollout_controller.api.notices import Notice, NoticeKind
from rollout_controller.core.outbox import dedup_key

MARGIN_S = 120.0
"""A dashboard is opened at the time of the attempt, and so much before and after it."""


@dataclass(frozen=True)
class Links:
    """URLs with places: {namespace}, {name}, {attempt}, {version}, {code}, {kind}, {request}, {from_ms}, {to_ms}; empty: none."""

    dashboard: str = ""
    runbook: str = ""
    request: str = ""


PLACES = ("namespace", "name", "attempt", "version", "code", "kind", "request", "from_ms", "to_ms")


@dataclass(frozen=True)
class Message:
    """A notice of one rollout. `key`: the same however often it is sent; `links`: (text, URL)."""

    about: Key
    uid: str
    notice: Notice
    links: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return dedup_key(self.uid, self.notice)

    @property
    def warns(self) -> bool:
        """Whether somebody should look."""
        return self.notice.kind not in (NoticeKind.STARTED, NoticeKind.STEP, NoticeKind.PROMOTED)

    @property
    def link_id(self) -> str:
        """What log lines, events, messages and annotations of one attempt have in common."""
        return self.notice.attempt or self.notice.id


def message(about: Key, uid: str, notice: Notice, links: Links) -> Message:
    """The notice with its links. What is put into a URL is quoted: versions and request ids come from outside."""
    values = {
        "namespace": about.namespace,
        "name": about.name,
        "attempt": notice.attempt,
        "version": notice.version or "",
        "code": notice.code,
        "kind": str(notice.kind),
        "request": notice.request or "",
        "from_ms": str(round((notice.since - MARGIN_S) * 1000)),
        "to_ms": str(round((notice.at + MARGIN_S) * 1000)),
    }
    found = [("Dashboard", links.dashboard), ("Runbook", links.runbook)]
    if notice.request:
        found.append((f"CI run {notice.request}", links.request))
    return Message(about, uid, notice, tuple((text, filled(template, values)) for text, template in found if template))


def filled(template: str, values: dict[str, str]) -> str:
    """The template with its places filled, each value quoted."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", quote(value, safe=""))
    return template
