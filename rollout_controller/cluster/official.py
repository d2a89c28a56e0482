"""The official client's connection as a Transport: its credentials, TLS and proxies, without its models and its retries."""

from __future__ import annotations

import http.client
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes.client.rest import RESTClientObject

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.cluster.official_config import SERVICE_ACCOUNT, Access, Credentials, load_access
from rollout_controller.cluster.store import Unavailable
from rollout_controller.cluster.transport import MAX_BODY_BYTES, MAX_LINE_BYTES, Answer, NotAStream, Oversize

CONNECT_S = 3.0
"""To connect, TLS included; what is left of a call's time is for the answer."""
RELOAD_S = 10.0
"""After credentials were refused (401), the kubeconfig is read again, at most this often: files may have been renewed."""
_CHUNK = 64 * 1024
_TROUBLE = (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError, ValueError)
"""What a request can end in. ValueError: a header that cannot be sent, or a connection that another thread closed."""


class OfficialTransport:
    """One API server, reached as the official client would reach it. `namespace`: the context's, or the pod's own."""

    def __init__(
        self, kubeconfig: Path | None = None, context: str | None = None, *, service_account: Path = SERVICE_ACCOUNT
    ) -> None:
        """In-cluster when neither is given and there is a service account; see `load_access` for what is raised."""
        self._from = (kubeconfig, context, service_account)
        self._renewing = threading.Lock()
        self._refused = False
        self._use(load_access(*self._from))

    @property
    def server(self) -> str:
        """The API server's address, for people."""
        return self._server

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
        timeout = urllib3.Timeout(connect=min(CONNECT_S, timeout_s), total=timeout_s)
        response = self._send(method, path, query, headers=headers, body=body, timeout=timeout, timeout_s=timeout_s)
        return self._answer(response, ends_at)

    def stream(self, path: str, *, query: Mapping[str, str], connect_s: float, silence_s: float) -> Iterator[bytes]:
        """See Transport. The connection is made at once; `close()` may be called from any thread."""
        timeout = urllib3.Timeout(connect=connect_s, read=connect_s)
        response = self._send("GET", path, query, headers={}, body=None, timeout=timeout, timeout_s=connect_s)
        if response.status != 200:
            raise NotAStream(self._answer(response, monotonic() + connect_s))
        return Lines(response, self._server, silence_s)

    def close(self) -> None:
        """Gives up the connections that are open and not in use."""
        self._pool.clear()

    def _use(self, access: Access) -> None:
        self.namespace = access.namespace
        self._server = str(access.configuration.host).rstrip("/")
        self._credentials = Credentials(access.configuration)
        self._pool = RESTClientObject(access.configuration).pool_manager
        self._loaded_at = monotonic()

    def _renew(self) -> None:
        """Reads the configuration again when its credentials were refused."""
        due = self._refused and monotonic() - self._loaded_at > RELOAD_S
        if not due or not self._renewing.acquire(blocking=False):  # another thread does it
            return
        try:
            self._refused = False
            self._loaded_at = monotonic()
            self._use(load_access(*self._from))
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
        timeout: urllib3.Timeout,
        timeout_s: float,
    ) -> Any:
        """The response with its body unread."""
        self._renew()
        url = self._server + path + (f"?{urlencode(query)}" if query else "")
        sent = {
            "Accept": "application/json",
            "User-Agent": "rollout-controller",
            **headers,
            **self._credentials.headers(timeout_s),
        }
        try:
            response = self._pool.urlopen(
                method,
                url,
                body=body,
                headers=sent,
                timeout=timeout,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        except _TROUBLE as error:
            raise _unavailable(self._server, error) from None
        if response.status == 401:
            self._refused = True
        return response

    def _answer(self, response: Any, ends_at: float) -> Answer:
        chunks: list[bytes] = []
        size = 0
        while chunk := _read(response, self._server, ends_at):
            chunks.append(chunk)
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                response.close()
                raise Oversize(f"{self._server} answers with more than {MAX_BODY_BYTES:,} bytes")
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
            why = _tls(error)
        case urllib3.exceptions.ProtocolError() | http.client.HTTPException() | OSError():
            why = f"cut its answer ({_reason(error)})"
        case _:
            why = f"cannot be asked ({type(error).__name__}): are address and credentials well-formed?"
    return Unavailable(f"{server} {why}")


def _tls(error: Exception) -> str:
    inner = next((each for each in (error, *error.args) if isinstance(each, ssl.SSLError)), None)
    if isinstance(inner, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return "cut the connection while TLS was set up"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"has a certificate that is not trusted ({inner.verify_message})"
    return f"does not speak TLS ({' '.join(str(error).split())[:200]})"


def _reason(error: BaseException) -> str:
    """The operating system's word for it, where it has one, else the innermost class."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
        inner = (
            next((each for each in error.args if isinstance(each, BaseException)), None) or error.__cause__ or error.__context__
        )
    return type(error).__name__
