"""One HTTP request to a target, within its time, and what became of it: sent, to be tried again, or refused.

No word of it has the URL or a header: a Slack webhook's URL is its password.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from pydantic_core import from_json
from urllib3.exceptions import HTTPError

MOST_BYTES = 64 * 1024
"""Of an answer: longer ones are not read to their end."""
_PIECE = 1 << 14


@dataclass(frozen=True)
class Sent:
    """The target has it; `reference` is where."""

    reference: str = ""


@dataclass(frozen=True)
class Later:
    """It may go another time. `retry_after_s`: not before, as the target asked."""

    why: str
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Refused:
    """It will not go, however often it is tried: a person must act."""

    why: str


Outcome = Sent | Later | Refused


@dataclass(frozen=True)
class Answer:
    """What a server answered."""

    status: int
    body: bytes
    retry_after_s: float | None

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return from_json(self.body)
        except ValueError:
            return None

    def outcome(self) -> Outcome:
        """By its status alone."""
        if 200 <= self.status < 300:
            return Sent()
        said = f"answered {self.status} {_phrase(self.status)}".rstrip()
        if self.status in (408, 425, 429) or self.status >= 500:
            return Later(said, self.retry_after_s)
        return Refused(said)


class Wire:
    """The connections of one target. Redirects are not followed: where a secret goes is for its owner to say."""

    def __init__(self, *, timeout_s: float, ca_file: Path | None = None) -> None:
        self.timeout_s = timeout_s
        self._session = requests.Session()
        self._verify: bool | str = str(ca_file) if ca_file is not None else True

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer | Later:
        """POST; Later: no answer came, or not in time."""
        return self._call("POST", url, body, headers)

    def get(self, url: str, headers: Mapping[str, str]) -> Answer | Later:
        """GET; Later: no answer came, or not in time."""
        return self._call("GET", url, None, headers)

    def _call(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer | Later:
        deadline = time.monotonic() + self.timeout_s
        try:
            with self._session.request(
                method,
                url,
                data=body,
                headers={"Content-Type": "application/json; charset=utf-8", **headers},
                timeout=self.timeout_s,
                verify=self._verify,
                auth=_as_it_is,
                stream=True,
                allow_redirects=False,
            ) as response:
                read = bytearray()
                while len(read) < MOST_BYTES and (piece := response.raw.read1(_PIECE, decode_content=True)):
                    read += piece
                    if time.monotonic() > deadline:
                        return Later(f"did not end its answer within {self.timeout_s:g} s")
                return Answer(response.status_code, bytes(read), retry_after(response.headers.get("Retry-After"), _now))
        except requests.Timeout:
            return Later(f"did not answer within {self.timeout_s:g} s")
        except requests.exceptions.SSLError:
            return Later("could not be asked: its TLS certificate was not accepted")
        except (requests.RequestException, HTTPError, OSError) as error:
            return Later(f"could not be reached ({type(error).__name__})")

    def close(self) -> None:
        self._session.close()


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without this a line for the host in somebody's .netrc would take the place of our own Authorization header."""
    return request


def _now() -> datetime:
    return datetime.now(UTC)


def retry_after(text: str | None, now: Callable[[], datetime]) -> float | None:
    """Seconds from a Retry-After header: a number, or a date."""
    if not text:
        return None
    try:
        return max(0.0, float(text)) if float(text) < 1e9 else None
    except ValueError:
        pass
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now().timestamp())


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


class SecretProblem(Exception):
    """A mounted secret cannot be used; says which file and why, never what is in it."""


class MountedSecret:
    """A file with one line. It is read anew for each message: mounted Secrets are rotated, and a mended one counts at once.

    `hide` hears each value before anybody else: no log line shows it.
    """

    def __init__(self, path: Path, hide: Callable[[str], None]) -> None:
        self.path, self._hide = path, hide

    def read(self) -> str:
        """Raises SecretProblem."""
        try:
            text = self.path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise SecretProblem(f"{self.path} cannot be read: {why}") from None
        if not text or len(text.split()) != 1:
            raise SecretProblem(f"{self.path} must hold one line without spaces, and holds {len(text.split())} words")
        self._hide(text)
        if not (text.isascii() and text.isprintable()):
            raise SecretProblem(f"{self.path} must hold ASCII only (no byte order mark, no typographic quotes)")
        return text

    def read_url(self) -> str:
        """Raises SecretProblem."""
        text = self.read()
        try:
            parts = urlsplit(text)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname)
        except ValueError:
            fine = False
        if not fine:
            raise SecretProblem(f"{self.path} must hold a URL that begins with https:// or http://")
        return text
