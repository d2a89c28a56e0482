"""Where an API server is and how to be let in, read by the official client: kubeconfig or a pod's service account."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import yaml
from kubernetes.client import Configuration
from kubernetes.config import ConfigException
from kubernetes.config.incluster_config import InClusterConfigLoader
from kubernetes.config.kube_config import KubeConfigLoader, KubeConfigMerger

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.cluster.store import Unavailable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes puts a pod's own credentials."""
CONNECTIONS = 16
"""Kept open: one for each watch and each worker that writes. More are made when needed."""
PLUGIN_S = 20.0
"""A credential plugin of a kubeconfig has this long; the client itself would wait for ever."""
FRESH_S = 10.0
"""The credentials of a request are at most this old. The client reads a pod's token again every minute, and asks a plugin
again when its answer has expired."""

_BAD = (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError, IndexError)
"""What the client raises for a kubeconfig that it cannot use."""
T = TypeVar("T")


@dataclass(frozen=True)
class Access:
    """A connection's settings, and the namespace that goes with them."""

    configuration: Any
    namespace: str


class Credentials:
    """The Authorization header of an Access, refreshed by the client's own hook; for any number of threads."""

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._headers: dict[str, str] = {}

    def headers(self, timeout_s: float) -> dict[str, str]:
        """Raises Unavailable when a credential plugin does not answer in time."""
        if not self._lock.acquire(timeout=timeout_s):
            raise Unavailable(f"the kubeconfig's credential plugin has not answered for {timeout_s:g} s")
        try:
            if monotonic() - self._read_at > FRESH_S:
                settings = within(min(timeout_s, PLUGIN_S), self._configuration.auth_settings)
                self._headers = {auth["key"]: str(auth["value"]).strip() for auth in settings.values() if auth["value"]}
                self._read_at = monotonic()
        except _BAD as error:
            raise Unavailable(f"the credentials cannot be read: {type(error).__name__}") from None  # its text may hold them
        finally:
            self._lock.release()
        return self._headers


def load_access(kubeconfig: Path | None, context: str | None, service_account: Path) -> Access:
    """A kubeconfig's context, or the pod's own service account when neither is given and there is one.

    Without either, $KUBECONFIG or ~/.kube/config is read.

    Raises:
        InvalidDocument: it cannot be used; says the file, what is wrong, and what there is.
        Unavailable: a credential plugin does not answer.
    """
    configuration = Configuration()
    configuration.retries = False
    configuration.connection_pool_maxsize = CONNECTIONS
    configuration.keep_alive = True
    if kubeconfig is None and context is None and (service_account / "token").is_file():
        try:
            InClusterConfigLoader(str(service_account / "token"), str(service_account / "ca.crt")).load_and_set(configuration)
            _check_certificates(configuration)
        except _BAD as error:
            needed = "a pod's service account is needed: token, ca.crt, and the address in the environment"
            raise _invalid(str(service_account), error, needed) from None
        return Access(configuration, _read(service_account / "namespace") or "default")
    files = str(kubeconfig) if kubeconfig is not None else os.environ.get("KUBECONFIG") or "~/.kube/config"
    if not any(Path(part).expanduser().is_file() for part in files.split(os.pathsep)):
        raise InvalidDocument(
            files, [FieldError("", "there is no such kubeconfig", "name one by --kubeconfig or $KUBECONFIG", file=files)]
        )
    merged: Any = None
    try:
        merged = KubeConfigMerger(files).config
        loader = KubeConfigLoader(merged, active_context=context, config_base_path=None)
        namespace = loader.current_context["context"].get("namespace")
        within(PLUGIN_S, lambda: loader.load_and_set(configuration))
        _check_certificates(configuration)
    except _BAD as error:
        raise _invalid(files, error, _contexts(merged)) from None
    if not str(configuration.host).startswith(("https://", "http://")):
        fault = FieldError("clusters[].cluster.server", repr(configuration.host), "https://HOST:PORT is needed", file=files)
        raise InvalidDocument(files, [fault])
    return Access(configuration, namespace if isinstance(namespace, str) and namespace else "default")


def within(seconds: float, function: Callable[[], T]) -> T:
    """What `function` gives; Unavailable when it takes longer (it then goes on in a thread that nobody waits for)."""
    result: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)

    thread = threading.Thread(target=run, name="credentials", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not result:
        raise Unavailable(f"the kubeconfig's credential plugin did not answer within {seconds:g} s")
    return result[0]


def _check_certificates(configuration: Any) -> None:
    """Raises ssl.SSLError, OSError now what every connection would raise later."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if configuration.ssl_ca_cert:
        context.load_verify_locations(configuration.ssl_ca_cert)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)


def _contexts(merged: Any) -> str:
    """What could have been named; `merged`: what the client made of the files, None when they could not be read."""
    with suppress(*_BAD):
        return f"contexts in it: {', '.join(sorted(str(each['name']) for each in merged.value['contexts'])) or 'none'}"
    return "a kubeconfig as kubectl reads it is needed"


def _invalid(files: str, error: Exception, allowed: str) -> InvalidDocument:
    said = " ".join(str(error).split())[:300] if isinstance(error, (ConfigException, OSError)) else type(error).__name__
    return InvalidDocument(files, [FieldError("", f"cannot be used: {said}", allowed, file=files)])


def _read(path: Path) -> str:
    with suppress(OSError, ValueError):
        return path.read_text().strip()
    return ""
