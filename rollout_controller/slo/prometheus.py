"""One Prometheus: asks, reads the whole answer, and says in one sentence what was met instead of an answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit, urlunsplit

import requests
from prometheus_api_client import PrometheusConnect
from pydantic_core import from_json
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3 import Retry
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from rollout_controller.core.observation import Unknown
from rollout_controller.slo.decode import Row

MAX_ANSWER_BYTES = 256 * 2**20
_PIECE = 1 << 16


@dataclass(frozen=True)
class Answer:
    """Rows of a vector or a matrix, and the infos that came with them."""

    rows: tuple[Row, ...]
    infos: tuple[str, ...] = ()


class TokenError(Exception):
    """The token file cannot be read."""


class BearerFromFile(AuthBase):
    """Reads the token anew for each request: mounted tokens are rotated."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token()}"
        return request

    def token(self) -> str:
        try:
            token = self.path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TokenError(
                f"the token file {self.path} cannot be read: {getattr(error, 'strerror', None) or 'not text'}"
            ) from None
        if not (token.isascii() and token.isprintable()):  # no header can carry it
            raise TokenError(f"the token file {self.path} must hold ASCII only (no byte order mark, no typographic quotes)")
        return token


class Prometheus:
    """The query API of one server. No method raises for what the server or the network does: the answer is Unknown then.

    `params` go with each query (`partial_response=false` for Thanos), `headers` too (`X-Scope-OrgID` for Mimir).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 5.0,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        verify_tls: bool = True,
    ) -> None:
        parts = urlsplit(url)
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        basic = HTTPBasicAuth(parts.username, parts.password or "") if parts.username else None
        self.url = bare
        self.timeout_s = timeout_s
        self._params = dict(params or {})
        self._session = requests.Session()
        self._session.verify = str(ca_file) if ca_file and verify_tls else verify_tls
        auth = BearerFromFile(token_file) if token_file else basic
        self._connect = PrometheusConnect(
            bare,
            headers=dict(headers or {}),
            retry=Retry(0, redirect=0),
            auth=auth,
            session=self._session,
            timeout=timeout_s,
            method="POST",
        )
        self._secrets = [value for value in (parts.password, *(headers or {}).values()) if value]

    def close(self) -> None:
        self._connect.close()

    def instant(self, query: str, at_s: float, timeout_s: float | None = None) -> Answer | Unknown:
        """The vector at one time."""
        return self._ask("query", {"query": query, "time": f"{at_s:.3f}"}, "vector", timeout_s)

    def range(self, query: str, start_s: float, end_s: float, step_s: float, timeout_s: float | None = None) -> Answer | Unknown:
        """The matrix at start, start + step, ... up to and with the end."""
        form = {"query": query, "start": f"{start_s:.3f}", "end": f"{end_s:.3f}", "step": f"{step_s:.3f}"}
        return self._ask("query_range", form, "matrix", timeout_s)

    def _ask(self, call: str, form: dict[str, str], kind: str, timeout_s: float | None) -> Answer | Unknown:
        limit = min(self.timeout_s, timeout_s) if timeout_s is not None else self.timeout_s
        deadline = time.monotonic() + limit
        try:
            status, body = self._post(
                call, form | {"timeout": f"{max(round(limit * 1000), 1)}ms"} | self._params, limit, deadline
            )
        except TokenError as error:
            return Unknown("no-answer", f"Prometheus at {self.url} was not asked: {error}")
        except (requests.RequestException, HTTPError) as error:
            return Unknown("no-answer", f"Prometheus at {self.url} {_why(error, limit)}")
        except OSError as error:  # `requests` says so of a file of authorities that is not there, or is no such file
            return Unknown("no-answer", f"Prometheus at {self.url} was not asked: {error}")
        except _TooMuchError as error:
            return Unknown(error.code, f"Prometheus at {self.url} {error}")
        return self._read(status, body, kind)

    def _post(self, call: str, form: dict[str, str], limit: float, deadline: float) -> tuple[int, bytes]:
        connect = self._connect
        response = self._session.post(
            f"{self.url}/api/v1/{call}",
            data="&".join([f"{name}={_quoted_form(value)}" for name, value in form.items()]),
            headers={**connect.headers, "Content-Type": "application/x-www-form-urlencoded"},
            auth=connect.auth,
            verify=self._session.verify,  # else $REQUESTS_CA_BUNDLE would go before it
            timeout=limit,
            stream=True,
            allow_redirects=False,
        )
        with response:
            body = bytearray()
            while piece := response.raw.read1(
                _PIECE, decode_content=True
            ):  # returns what is there: `iter_content` waits for all of it
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    raise _TooMuchError("server-error", f"answered more than {MAX_ANSWER_BYTES >> 20} MiB")
                if time.monotonic() > deadline:
                    raise _TooMuchError("no-answer", f"did not end its answer within {limit:g} s")
            return response.status_code, bytes(body)

    def _read(self, status: int, body: bytes, kind: str) -> Answer | Unknown:
        try:
            answer: Any = from_json(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "status" not in answer:
            return self._fault(
                "server-error", f"answered {status} with no JSON of its API: {self._quoted(body.decode(errors='replace'))}"
            )
        if status != 200 or answer["status"] != "success":
            told = answer.get("error") or answer.get("errorType") or answer["status"]
            return self._fault("server-error", f"answered {status}: {self._quoted(str(told))}")
        if answer.get("warnings"):
            return self._fault("partial", f"answered with a warning: {self._quoted(str(answer['warnings'][0]))}")
        data = answer.get("data")
        if not isinstance(data, dict) or data.get("resultType") != kind or not isinstance(data.get("result"), list):
            got = data.get("resultType") if isinstance(data, dict) else type(data).__name__
            return self._fault("server-error", f"answered a {got!s} where a {kind} was asked for")
        return Answer(tuple(data["result"]), tuple(str(info) for info in answer.get("infos") or ()))

    def _fault(self, code: str, sentence: str) -> Unknown:
        return Unknown(code, f"Prometheus at {self.url} {sentence}")

    def _quoted(self, text: str) -> str:
        """What the server said: one line, short, and without our secrets should it have sent them back."""
        secrets = list(self._secrets)
        if isinstance(self._connect.auth, BearerFromFile):
            try:
                secrets.append(self._connect.auth.token())
            except TokenError:
                secrets = [*secrets]
        for secret in filter(None, secrets):
            text = text.replace(secret, "***")
        line = " ".join(text.split())
        return f'"{line[:200]}{"..." if len(line) > 200 else ""}"'


@lru_cache(maxsize=64)
def _quoted_form(value: str) -> str:
    """A value of a form. A query about 1,000 slots has 60 kB, takes 10 ms to quote, and is the same in every window."""
    return quote_plus(value)


class _TooMuchError(Exception):
    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def _why(error: requests.RequestException | HTTPError, limit: float) -> str:
    """What happened to the connection, without addresses, headers or query."""
    inner: object = error.args[0] if error.args else error
    reason = getattr(inner, "reason", None) or inner
    if isinstance(error, (requests.Timeout, ReadTimeoutError)) or isinstance(reason, ReadTimeoutError):
        return f"did not answer within {limit:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "could not be asked: its TLS certificate was not accepted"
    cause = _os_error(error)
    if cause is not None:
        return f"does not answer: {(cause.strerror or type(cause).__name__).lower()}"
    if isinstance(error, ProtocolError):
        return "broke off in the middle of its answer"
    return f"does not answer: {type(reason).__name__}"


def _os_error(error: BaseException) -> OSError | None:
    """The system's own error at the bottom of a chain of libraries' ones."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        here = queue.pop()
        if not isinstance(here, BaseException) or id(here) in seen:
            continue
        seen.add(id(here))
        if isinstance(here, OSError) and not isinstance(here, requests.RequestException) and here.strerror:
            return here
        queue += [here.__cause__, here.__context__, getattr(here, "reason", None), *here.args]
    return None
