"""A Transport for a program that lives half a second: the kubeconfig is read by lightkube, quicker to import by far."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.cluster.kubeconfig import Login, login
from rollout_controller.cluster.transport import Answer
from rollout_controller.cluster.wire import RELOAD_S, Connection, Wire


class LightTransport(Wire):
    """The API server of a kubeconfig's context; what is None is as for kubectl. `where` names the context and its file."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """Raises what `login` raises."""
        self.where = ""

        def connect() -> Connection:
            found = login(kubeconfig, context)
            self.where = found.where
            return Connection(
                server=found.server, namespace=found.namespace, pool=_pool(found), headers=lambda _timeout_s: found.headers
            )

        super().__init__(connect)

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
        """See Transport. Credentials that are refused are read again (tokens expire) and tried once more: a 401 did nothing."""
        answer = super().call(method, path, query=query, body=body, content_type=content_type, timeout_s=timeout_s)
        if answer.status == 401 and monotonic() - self._loaded_at > RELOAD_S:
            answer = super().call(method, path, query=query, body=body, content_type=content_type, timeout_s=timeout_s)
        return answer


def _pool(found: Login) -> Any:
    """Raises InvalidDocument."""
    options: dict[str, Any] = {
        "ssl_context": found.tls,
        "cert_reqs": found.tls.verify_mode,
        "server_hostname": found.tls_server_name,
        "retries": False,
    }
    if not found.tls.verify_mode:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the kubeconfig asks for it
    proxy = found.proxy or _proxy_of_the_environment(found)
    if proxy is None:
        return urllib3.PoolManager(**options)
    parts = urlsplit(proxy)
    try:
        if parts.scheme.startswith("socks") and find_spec("socks") is not None:
            from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415 - few have PySocks, which it needs

            return SOCKSProxyManager(proxy, **options)
        person = unquote(f"{parts.username}:{parts.password}") if parts.username else None
        return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=person), **options)
    except (ValueError, urllib3.exceptions.HTTPError) as error:
        read, allowed = f"cannot be used: {error}", "http://HOST:PORT, or with the package PySocks socks5://HOST:PORT"
        raise InvalidDocument(found.where, [FieldError("proxy", read, allowed, found.where)]) from None


def _proxy_of_the_environment(found: Login) -> str | None:
    """$HTTPS_PROXY, unless $NO_PROXY names the host; never to this machine. As for kubectl, but $NO_PROXY knows no CIDR."""
    parts = urlsplit(found.server)
    if found.on_this_machine or proxy_bypass(parts.hostname or ""):
        return None
    return getproxies().get(parts.scheme)
