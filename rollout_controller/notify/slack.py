"""Slack: one message of an attempt after the other through an incoming webhook, or a thread per attempt with a bot's token."""

from __future__ import annotations

import json
import re
from typing import Any

from rollout_controller.api.notices import NoticeKind
from rollout_controller.core.explain.numbers import clock
from rollout_controller.notify.message import Message
from rollout_controller.notify.wire import Answer, Later, MountedSecret, Outcome, Refused, SecretProblem, Sent, Wire

EMOJI = {
    NoticeKind.STARTED: ":package:",
    NoticeKind.STEP: ":arrow_forward:",
    NoticeKind.PAUSED: ":double_vertical_bar:",
    NoticeKind.RETREATED: ":shield:",
    NoticeKind.ROLLED_BACK: ":leftwards_arrow_with_hook:",
    NoticeKind.PROMOTED: ":white_check_mark:",
    NoticeKind.ABORTED: ":black_square_for_stop:",
    NoticeKind.STALLED: ":warning:",
}
PASSING = frozenset({"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"})
"""Error codes of Slack's Web API after which the same call may do."""
_CODE = re.compile(r"[a-z][a-z0-9_]{1,60}")


def escaped(text: str) -> str:
    """Text as Slack wants it: three characters are its markup's."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def text(message: Message) -> str:
    """The message in Slack's mrkdwn."""
    notice, about = message.notice, message.about
    attempt = f" · attempt {notice.number}" if notice.number else ""
    lines = [
        f"{EMOJI[notice.kind]} *{escaped(about.name)}* {escaped(notice.headline)}   ({escaped(about.namespace)}{attempt})",
        escaped(notice.sentence),
        *([escaped(notice.detail)] if notice.detail else []),
        *([f"Next: {escaped(notice.next)}"] if notice.next else []),
    ]
    links = [f"<{escaped(url)}|{escaped(name)}>" for name, url in message.links]
    lines.append(" · ".join([*links, f"{clock(notice.at)} · `{escaped(message.link_id)}`"]))
    return "\n".join(lines)


class SlackWebhook:
    """An incoming webhook: it knows its channel, and no threads."""

    name = "slack"

    def __init__(self, url: MountedSecret, wire: Wire, kinds: frozenset[NoticeKind]) -> None:
        self._url, self._wire, self.kinds = url, wire, kinds

    def send(self, message: Message, thread: str) -> Outcome:  # noqa: ARG002 - a webhook gives no reference to a thread
        """See Target."""
        try:
            url = self._url.read_url()
        except SecretProblem as problem:
            return Later(str(problem))
        body: dict[str, Any] = {"text": text(message), "unfurl_links": False, "unfurl_media": False}
        answer = self._wire.post(url, json.dumps(body).encode(), {})
        return answer if isinstance(answer, Later) else _with_code(answer.outcome(), answer.body.decode(errors="replace"))


class SlackBot:
    """chat.postMessage with a bot's token: what an attempt's first message began is a thread."""

    name = "slack"

    def __init__(self, api: str, token: MountedSecret, channel: str, wire: Wire, kinds: frozenset[NoticeKind]) -> None:
        self._api, self._token, self._channel, self._wire, self.kinds = api, token, channel, wire, kinds

    def send(self, message: Message, thread: str) -> Outcome:
        """See Target."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read()}"}
        except SecretProblem as problem:
            return Later(str(problem))
        body: dict[str, Any] = {
            "channel": self._channel,
            "text": text(message),
            "unfurl_links": False,
            "unfurl_media": False,
            "metadata": {"event_type": "rollout_news", "event_payload": {"key": message.key, "attempt": message.notice.attempt}},
        }
        if thread:
            ends = message.notice.kind in (NoticeKind.ROLLED_BACK, NoticeKind.STALLED)
            body |= {"thread_ts": thread, "reply_broadcast": ends}
        answer = self._wire.post(f"{self._api}/chat.postMessage", json.dumps(body).encode(), headers)
        return answer if isinstance(answer, Later) else _of_api(answer)


def _of_api(answer: Answer) -> Outcome:
    """The Web API answers 200 also where it refuses; then `error` says why."""
    said: Any = answer.json()
    if not 200 <= answer.status < 300:
        return answer.outcome()
    if not isinstance(said, dict) or "ok" not in said:
        return Later("answered with no JSON of its API")
    if said["ok"] is True:
        return Sent(str(said.get("ts") or ""))
    code = str(said.get("error") or "")
    outcome: Outcome = Later("refused", answer.retry_after_s) if code in PASSING else Refused("refused")
    return _with_code(outcome, code)


def _with_code(outcome: Outcome, said: str) -> Outcome:
    """The outcome with Slack's own code, where it gave one: anything longer might be what we sent."""
    code = said.strip()
    if isinstance(outcome, Sent) or not _CODE.fullmatch(code):
        return outcome
    if isinstance(outcome, Later):
        return Later(f"{outcome.why}: {code}", outcome.retry_after_s)
    return Refused(f"{outcome.why}: {code}")
