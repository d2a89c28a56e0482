"""Alertmanager: an alert for what somebody should look at, which ends by itself: it is news, not a state."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rollout_controller.api.notices import NoticeKind
from rollout_controller.api.quantities import format_instant
from rollout_controller.notify.message import Message
from rollout_controller.notify.wire import Later, MountedSecret, Outcome, SecretProblem, Wire

NAME = "RolloutNotice"
"""None of the names in alerts/, so that a rule and a notice of the same rollback are two things to Alertmanager."""
LASTS_S = 900.0
"""After which an alert is resolved. (The rules in alerts/ watch states; these alerts say what happened.)"""
SEVERITY = {NoticeKind.STALLED: "critical"}


def alert(message: Message, now: float) -> dict[str, Any]:
    """One alert. The same labels each time it is sent, so that Alertmanager takes it for one."""
    notice = message.notice
    links = dict(message.links)
    annotations = {
        "summary": f"{message.about.name}: {notice.headline}",
        "description": "\n".join(filter(None, (notice.sentence, notice.detail, notice.next and f"Next: {notice.next}"))),
        "runbook_url": links.get("Runbook", ""),
        "dashboard_url": links.get("Dashboard", ""),
    }
    return {
        "labels": {
            "alertname": NAME,
            "kind": str(notice.kind),
            "severity": SEVERITY.get(notice.kind, "warning" if message.warns else "info"),
            "namespace": message.about.namespace,
            "rollout": message.about.name,
            "attempt": message.link_id,
            "code": notice.code,
        },
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": format_instant(notice.at),
        "endsAt": format_instant(max(notice.at, now) + LASTS_S),
        **({"generatorURL": links["Dashboard"]} if "Dashboard" in links else {}),
    }


class Alertmanager:
    """POST /api/v2/alerts of one Alertmanager."""

    name = "alertmanager"

    def __init__(
        self,
        url: str,
        token: MountedSecret | None,
        wire: Wire,
        kinds: frozenset[NoticeKind],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._url, self._token, self._wire, self.kinds, self._clock = url, token, wire, kinds, clock

    def send(self, message: Message, thread: str) -> Outcome:  # noqa: ARG002 - alerts have no threads
        """See Target."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read()}"} if self._token is not None else {}
        except SecretProblem as problem:
            return Later(str(problem))
        content = json.dumps([alert(message, self._clock())], ensure_ascii=False).encode()
        answer = self._wire.post(f"{self._url}/api/v2/alerts", content, headers)
        return answer if isinstance(answer, Later) else answer.outcome()
