"""A webhook of one's own: JSON, signed with HMAC-SHA256 over time and body, so that a receiver can tell who sent it."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

from rollout_controller.api.notices import NoticeKind
from rollout_controller.api.quantities import format_instant
from rollout_controller.notify.message import Message
from rollout_controller.notify.wire import Later, MountedSecret, Outcome, SecretProblem, Wire

TIME, SIGNATURE, KEY = "X-Rollouts-Timestamp", "X-Rollouts-Signature", "Idempotency-Key"


def body(message: Message) -> dict[str, Any]:
    """What is sent. Times are RFC 3339; a field that does not apply is empty or null."""
    notice = message.notice
    return {
        "schema": "rollouts.triton.dev/notice/v1",
        "key": message.key,
        "kind": str(notice.kind),
        "at": format_instant(notice.at),
        "namespace": message.about.namespace,
        "name": message.about.name,
        "attempt": {
            "id": notice.attempt,
            "number": notice.number,
            "startedAt": format_instant(notice.since),
            "version": notice.version,
            "request": notice.request,
        },
        "warning": message.warns,
        "code": notice.code,
        "headline": notice.headline,
        "sentence": notice.sentence,
        "detail": notice.detail,
        "next": notice.next,
        "links": dict(message.links),
    }


def signature(key: str, timestamp: str, content: bytes) -> str:
    """`v1=` and the hexadecimal HMAC-SHA256 of `TIMESTAMP.BODY`."""
    digest = hmac.new(key.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()
    return f"v1={digest}"


class Webhook:
    """POSTs each notice. `url` gives the URL, which may come from a mounted file; without a `key` nothing is signed."""

    name = "webhook"

    def __init__(
        self,
        url: Callable[[], str],
        key: MountedSecret | None,
        wire: Wire,
        kinds: frozenset[NoticeKind],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._url, self._key, self._wire, self.kinds, self._clock = url, key, wire, kinds, clock

    def send(self, message: Message, thread: str) -> Outcome:  # noqa: ARG002 - it has no threads
        """See Target."""
        content = json.dumps(body(message), ensure_ascii=False).encode()
        headers = {TIME: str(int(self._clock())), KEY: message.key}
        try:
            url = self._url()
            if self._key is not None:
                headers[SIGNATURE] = signature(self._key.read(), headers[TIME], content)
        except SecretProblem as problem:
            return Later(str(problem))
        answer = self._wire.post(url, content, headers)
        return answer if isinstance(answer, Later) else answer.outcome()
