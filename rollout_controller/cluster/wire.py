"""One API server over urllib3: what every connection to Kubernetes does alike, whoever read the kubeconfig."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, TypeVar
from urllib.parse import urlencode

import urllib3

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.cluster.store import Unavailable, Untrusted
from rollout_controller.cluster.transport import MAX_BODY_BYTES, MAX_LINE_BYTES, Answer, NotAStream, Oversize

CONNECT_S = 3.0
"""To connect, TLS included; what is left of a call's time is for the answer."""
LEAST_S = 0.001
RELOAD_S = 10.0
"""After credentials were refused (401), the kubeconfig is read again, at most this often: files may have been renewed."""
_CHUNK = 64 * 1024
Inner = TypeVar("Inner", bound=BaseException)
_TROUBLE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What a request can end in. ValueError: a header that cannot be sent, or a connection that another thread closed."""


@dataclass(frozen=True)
class Connection:
    """Where to and as whom: `pool` is a urllib3 PoolManager; `headers` gives the credentials' headers within so many seconds."""

    server: str
    namespace: str
    pool: Any = field(repr=False)
    headers: Callable[[float], Mapping[str, str]] = field(repr=False)


class Wire:
    """A Transport. `connect` makes its connection, now and again after the credentials were refused."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._renewing = threading.Lock()
        self._refused = False
        self._loaded_at = monotonic()
        self._connection = connect()

    @property
    def server(self) -> str:
        """The API server's address, for people."""
        return self._connection.server

    @property
    def namespace(self) -> str:
        """The context's, or the pod's own."""
        return self._connection.namespace

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
        """See Transport."""
        ends_at = monotonic() + timeout_s
        headers = {"Content-Type": content_type} if body is not None else {}

        def left() -> urllib3.Timeout:  # credentials may have taken their time
            total_s = max(ends_at - monotonic(), LEAST_S)
            return urllib3.Timeout(connect=min(CONNECT_S, total_s), total=total_s)

        response = self._send(method, path, query, headers=headers, body=body, timeout=left, timeout_s=timeout_s)
        return self._answer(response, ends_at)

    def stream(self, path: str, *, query: Mapping[str, str], connect_s: float, silence_s: float) -> Iterator[bytes]:
        """See Transport. The connection is made at once; `close()` may be called from any thread."""
        timeout = urllib3.Timeout(connect=connect_s, read=connect_s)
        response = self._send("GET", path, query, headers={}, body=None, timeout=lambda: timeout, timeout_s=connect_s)
        if response.status != 200:
            raise NotAStream(self._answer(response, monotonic() + connect_s))
        return Lines(response, self.server, silence_s)

    def close(self) -> None:
        """Gives up the connections that are open and not in use."""
        self._connection.pool.clear()

    def _renew(self) -> None:
        """Reads the configuration again when its credentials were refused."""
        due = self._refused and monotonic() - self._loaded_at > RELOAD_S
        if not due or not self._renewing.acquire(blocking=False):  # another thread does it
            return
        try:
            self._refused = False
            self._loaded_at = monotonic()
            self._connection = self._connect()
        except InvalidDocument as error:
            raise Unavailable(f"the credentials were refused, and cannot be read again: {error}") from None
        finally:
            self._renewing.release()

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: Callable[[], urllib3.Timeout],
        timeout_s: float,
    ) -> Any:
        """The response with its body unread. `timeout` is asked when the credentials are there."""
        self._renew()
        connection = self._connection
        url = connection.server + path + (f"?{urlencode(query)}" if query else "")
        sent = {
            "Accept": "application/json",
            "User-Agent": "rollout-controller",
            **headers,
            **connection.headers(timeout_s),
        }
        try:
            response = connection.pool.urlopen(
                method,
                url,
                body=body,
                headers=sent,
                timeout=timeout(),
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except _TROUBLE as error:
            raise _unavailable(connection.server, error) from None
        if response.status == 401:
            self._refused = True
        return response

    def _answer(self, response: Any, ends_at: float) -> Answer:
        chunks: list[bytes] = []
        size = 0
        while chunk := _read(response, self.server, ends_at):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                response.close()
                raise Oversize(f"{self.server} answers with more than {MAX_BODY_BYTES:,} bytes")
        response.release_conn()
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, b"".join(chunks))


class Lines(Iterator[bytes]):
    """The lines of a response as they come, to one reader."""

    def __init__(self, response: Any, server: str, silence_s: float) -> None:
        self._response = response
        self._server = server
        self._silence_s = silence_s
        self._whole: deque[bytes] = deque()
        self._rest = b""
        self._closed = False
        self._reading = threading.Lock()

    def __next__(self) -> bytes:
        line, error = None, None
        with self._reading:
            try:
                line = self._next()
            except Exception as caught:  # noqa: BLE001 - raised below, unless `close` pulled the connection from under our hands
                error = caught
        if line is not None and not self._closed:
            return line
        if self._closed:
            error = None
        self.close()
        raise error or StopIteration

    def close(self) -> None:
        """Ends the stream, from any thread: a `__next__` under way in another one ends with StopIteration."""
        self._closed = True
        with suppress(*_TROUBLE, RuntimeError):  # it has ended by itself
            self._response.shutdown()
        if self._reading.acquire(blocking=False):  # else the reader does it: a response must not be closed while it is read
            try:
                self._response.close()
            finally:
                self._reading.release()

    def _next(self) -> bytes | None:
        """None at the end."""
        due = monotonic() + self._silence_s
        while not self._whole:
            chunk = _read(self._response, self._server, due)
            if not chunk and self._rest:
                raise Unavailable(f"{self._server} cut a stream in the middle of a line")
            if not chunk:
                return None
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            self._whole.extend(line for line in whole if line.strip())
            if len(self._rest) > MAX_LINE_BYTES:
                raise Oversize(f"{self._server} sends a line of more than {MAX_LINE_BYTES:,} bytes")
        return self._whole.popleft()


def _read(response: Any, server: str, ends_at: float) -> bytes:
    """The next bytes of a body, b"" at its end; Unavailable when they do not come before `ends_at`."""
    left = ends_at - monotonic()
    if left <= 0:
        response.close()
        raise Unavailable(f"{server} did not finish its answer in time")
    sock = getattr(response.connection, "sock", None)
    try:
        if sock is not None:  # else the server closes the connection after this answer, and the read timeout stays as it was
            sock.settimeout(left)
        chunk: bytes | None = response.read1(_CHUNK)
    except _TROUBLE as error:
        response.close()
        raise _unavailable(server, error) from None
    return chunk or b""


def _unavailable(server: str, error: Exception) -> Unavailable:
    """By the error's class; its text is quoted only where it cannot hold credentials."""
    if (distrust := _inner(error, ssl.SSLCertVerificationError)) is not None:
        return Untrusted(f"{server} has a certificate that is not trusted: {distrust.verify_message}")
    match error:
        case urllib3.exceptions.ProxyError():
            why = "is behind a proxy that does not answer"
        case urllib3.exceptions.NameResolutionError():
            why = "has a name that cannot be resolved"
        case urllib3.exceptions.NewConnectionError():
            why = f"cannot be reached ({_reason(error)})"
        case urllib3.exceptions.ConnectTimeoutError():
            why = "does not take connections in time"
        case urllib3.exceptions.ReadTimeoutError() | TimeoutError():
            why = "did not answer in time"
        case urllib3.exceptions.SSLError() | ssl.SSLError():
            cut = _inner(error, ssl.SSLEOFError) or _inner(error, ssl.SSLZeroReturnError)
            said = " ".join(str(error).split())[:200]
            why = f"does not speak TLS ({said})" if cut is None else "cut the connection while TLS was set up"
        case urllib3.exceptions.ProtocolError() | http.client.HTTPException() | OSError():
            why = f"cut its answer ({_reason(error)})"
        case _:
            why = f"cannot be asked ({type(error).__name__}): are address and credentials well-formed?"
    return Unavailable(f"{server} {why}")


def _reason(error: BaseException) -> str:
    """The operating system's word for it, where it has one, else the innermost class."""
    for inner in _chain(error):
        error = inner
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    return type(error).__name__


def _inner(error: BaseException, kind: type[Inner]) -> Inner | None:
    return next((each for each in _chain(error) if isinstance(each, kind)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what it was made of, from the outside in."""
    while error is not None:
        yield error
        error = (
            next((each for each in error.args if isinstance(each, BaseException)), None) or error.__cause__ or error.__context__
        )
