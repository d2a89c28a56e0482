"""Grafana: an annotation for each thing that happened, so that every dashboard can show it next to its own graphs."""

from __future__ import annotations

import json
from html import escape
from typing import Any
from urllib.parse import quote

from rollout_controller.api.notices import NoticeKind
from rollout_controller.notify.message import Message
from rollout_controller.notify.wire import Answer, Later, MountedSecret, Outcome, Refused, SecretProblem, Sent, Wire


def annotation(message: Message) -> dict[str, Any]:
    """An annotation of the whole organisation; dashboards pick it by its tags. Its text is HTML to Grafana."""
    notice, about = message.notice, message.about
    links = " · ".join(f'<a href="{escape(url)}">{escape(name)}</a>' for name, url in message.links)
    lines = (f"<b>{escape(about.name)}</b> {escape(notice.headline)}", escape(notice.sentence), escape(notice.detail), links)
    return {
        "time": round(notice.at * 1000),
        "tags": [
            "rollout",
            str(notice.kind),
            f"namespace:{about.namespace}",
            f"rollout:{about.name}",
            f"attempt:{message.link_id}",
            _key(message),
        ],
        "text": "<br>".join(line for line in lines if line),
    }


def _key(message: Message) -> str:
    return f"key:{message.key}"


class Grafana:
    """The annotations API. It takes the same annotation twice, so it is asked first whether it has this one."""

    name = "grafana"

    def __init__(self, url: str, token: MountedSecret, wire: Wire, kinds: frozenset[NoticeKind]) -> None:
        self._url, self._token, self._wire, self.kinds = url, token, wire, kinds

    def send(self, message: Message, thread: str) -> Outcome:  # noqa: ARG002 - annotations have no threads
        """See Target."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read()}"}
        except SecretProblem as problem:
            return Later(str(problem))
        there = self._wire.get(f"{self._url}/api/annotations?tags={quote(_key(message))}&limit=1", headers)
        if isinstance(there, Later):
            return there
        if there.status != 200:
            return _not_sent(there)
        found = there.json()
        if isinstance(found, list) and found and isinstance(found[0], dict):
            return Sent(str(found[0].get("id", "")))
        content = json.dumps(annotation(message), ensure_ascii=False).encode()
        answer = self._wire.post(f"{self._url}/api/annotations", content, headers)
        if isinstance(answer, Later):
            return answer
        said = answer.json()
        if answer.status == 200 and isinstance(said, dict) and "id" in said:
            return Sent(str(said["id"]))
        return _not_sent(answer)


def _not_sent(answer: Answer) -> Outcome:
    """An answer that says 2xx and has no annotation in it is not Grafana's: a login page, a proxy."""
    outcome = answer.outcome()
    return Refused(f"answered {answer.status} without what Grafana's API answers") if isinstance(outcome, Sent) else outcome
