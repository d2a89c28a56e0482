"""Which cluster, and as whom: kubeconfig files as kubectl finds and merges them, read into lightkube's types."""

from __future__ import annotations

import os
import ssl
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar
from urllib.parse import urlsplit

import yaml
from lightkube.config.client_adapter import verify_cluster
from lightkube.config.kubeconfig import SERVICE_ACCOUNT, KubeConfig
from lightkube.config.models import Cluster, Context, User
from msgspec import ValidationError

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.names import Raw
from rollout_controller.cluster.exec_credentials import Credentials, run

ENVIRONMENT = "KUBECONFIG"
DEFAULT_FILE = Path("~/.kube/config")
IN_CLUSTER = "in-cluster"
"""The name given to the context of a pod's service account."""
REFUSED = ("auth-provider", "as", "as-uid", "as-groups", "as-user-extra")
"""Fields of a user that change who one is and are not supported: an error, because without them the server sees another user."""

Found = TypeVar("Found")


class NoCluster(Exception):
    """No kubeconfig was found, and this is no pod."""


@dataclass(frozen=True)
class Login:
    """All that a connection needs. `where` says for sentences which context of which file it is."""

    server: str
    namespace: str
    where: str
    tls: ssl.SSLContext = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    tls_server_name: str | None = None
    proxy: str | None = None

    @property
    def on_this_machine(self) -> bool:
        """Whether the server is on the loopback interface, which kubectl never reaches through a proxy of the environment."""
        host = urlsplit(self.server).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class _File:
    """One kubeconfig: lightkube's view of it, and the document for the two fields that this leaves out."""

    path: Path
    config: KubeConfig
    raw: Raw


def login(kubeconfig: Path | None, context: str | None) -> Login:
    """From --kubeconfig, else the files of $KUBECONFIG, else ~/.kube/config, else the pod's service account.

    Runs the user's credential plugin, where there is one.

    Raises:
        NoCluster: there is none of these.
        InvalidDocument: a file cannot be read or used, or has no such context.
        Refused: the credential plugin gave no credentials.
    """
    paths = files(kubeconfig)
    if paths:
        return _login([_read(path) for path in paths], context)
    if context is None and (inside := _service_account()) is not None:
        return inside
    raise NoCluster


def files(kubeconfig: Path | None) -> tuple[Path, ...]:
    """The files to read, in kubectl's order: the first that says something wins."""
    if kubeconfig is not None:
        return (kubeconfig,)
    listed = [Path(part).expanduser() for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    return tuple(path for path in listed or [DEFAULT_FILE.expanduser()] if path.exists())


def _read(path: Path) -> _File:
    """Raises InvalidDocument."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where libyaml is there
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - both are safe loaders
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise _invalid(path, "", f"cannot be read: {said}") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _invalid(path, "", f"is not YAML: {' '.join(str(error).split())}") from None
    raw = {} if raw is None else raw
    if not isinstance(raw, dict):
        raise _invalid(path, "", f"{type(raw).__name__} was read", "a kubeconfig: apiVersion: v1, kind: Config")
    if not isinstance(current := raw.get("current-context") or "", str):
        raise _invalid(path, "current-context", f"{current!r} was read", "the name of a context")
    for name in ("clusters", "contexts", "users"):
        if not isinstance(items := raw.get(name) or [], list) or not all(isinstance(item, dict) for item in items):
            raise _invalid(path, name, f"{items!r} was read", "a list of maps, as `kubectl config view` shows it")
    lists = {name: raw.get(name) or [] for name in ("clusters", "contexts", "users")}
    try:
        return _File(path, KubeConfig.from_dict({**raw, **lists}, fname=path), {**raw, **lists})
    except (ValidationError, KeyError, TypeError) as error:
        said = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise _invalid(path, "clusters, contexts, users", said, "as `kubectl config view` shows them") from None


def _login(read: list[_File], name: str | None) -> Login:
    if name is None:
        current = [file.config.current_context for file in read if file.config.current_context]
        name = current[0] if current else None
    contexts = {known: file for file in reversed(read) for known in file.config.contexts}
    if name is None or name not in contexts:
        there = ", ".join(sorted(map(repr, contexts))) or "no contexts at all"
        said = "is not set" if name is None else f"there is no context {name!r}"
        raise _invalid(_names(read), "current-context" if name is None else "contexts", said, f"there are {there}")
    context: Context = contexts[name].config.contexts[name]
    cluster_file, cluster = _first(read, lambda file: file.config.clusters.get(context.cluster), "cluster", context.cluster, name)
    user_file, user = contexts[name], User()
    if context.user:
        wanted = context.user
        user_file, user = _first(read, lambda file: file.config.users.get(wanted), "user", wanted, name)
    more = _entry(cluster_file, "cluster", context.cluster)
    credentials = _credentials(user_file, user, context.user or "", more)
    if not cluster.server.startswith(("https://", "http://")):
        path = f"clusters[{context.cluster}].cluster.server"
        raise _invalid(cluster_file.path, path, f"{cluster.server!r} was read", "https://HOST:PORT is needed")
    return Login(
        server=cluster.server.rstrip("/"),
        namespace=context.namespace or "default",
        where=f"context {name!r} of {contexts[name].path}",
        tls=_tls(cluster_file, cluster, user_file, user, credentials),
        headers=_headers(user, credentials),
        tls_server_name=str(more.get("tls-server-name") or "") or None,
        proxy=str(more.get("proxy-url") or "") or None,
    )


def _first(read: list[_File], get: Callable[[_File], Found | None], kind: str, name: str, context: str) -> tuple[_File, Found]:
    for file in read:
        if (found := get(file)) is not None:
            return file, found
    raise _invalid(_names(read), f"{kind}s", f"there is no {kind} {name!r}, which context {context!r} names")


def _entry(file: _File, kind: str, name: str) -> Raw:
    """The document's own map of a cluster or user: lightkube's types leave some fields out."""
    return next((dict(item.get(kind) or {}) for item in file.raw[f"{kind}s"] if item["name"] == name), {})


def _credentials(file: _File, user: User, name: str, cluster: Raw) -> Credentials:
    """What the user's token, token file or plugin gives; a client certificate of the kubeconfig itself is not part of it."""
    entry = _entry(file, "user", name)
    for refused in REFUSED:
        if entry.get(refused):
            allowed = "client certificate, token, tokenFile, exec, username and password"
            raise _invalid(file.path, f"users[{name}].{refused}", "is not supported", allowed)
    if user.token_file is not None:
        try:
            return Credentials(token=_beside(file, user.token_file).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise _invalid(file.path, f"users[{name}].tokenFile", f"cannot be read: {error}") from None
    if user.token is not None:
        return Credentials(token=user.token)
    if user.exec is not None:
        return run(user.exec, entry["exec"], cluster, folder=file.path.parent, user=f"user {name!r} of {file.path}")
    return Credentials()


def _headers(user: User, credentials: Credentials) -> dict[str, str]:
    if credentials.token:
        return {"Authorization": f"Bearer {credentials.token}"}
    if user.username and user.password:
        return {"Authorization": f"Basic {b64encode(f'{user.username}:{user.password}'.encode()).decode()}"}
    return {}


def _tls(cluster_file: _File, cluster: Cluster, user_file: _File, user: User, credentials: Credentials) -> ssl.SSLContext:
    """Raises InvalidDocument."""
    with TemporaryDirectory(prefix="rollouts-") as folder:  # certificates can be loaded from files only; for us alone, and gone

        def file(name: str, data: bytes, path: str | None, beside: _File) -> str | None:
            if not data:
                return None if path is None else str(_beside(beside, path))
            Path(folder, name).write_bytes(data)
            return str(Path(folder, name))

        try:
            ca = file("ca", _decoded(cluster.certificate_auth_data), cluster.certificate_auth, cluster_file)
            # Without TLS nothing is verified, and to read all authorities of the system takes 50 ms.
            unverified = cluster.insecure or cluster.server.startswith("http://")
            context = verify_cluster(Cluster(cluster.server, certificate_auth=ca, insecure=unverified), User(), Path)
        except (OSError, ValueError) as error:
            field = "clusters[].cluster.certificate-authority"
            raise _invalid(cluster_file.path, field, f"cannot be used: {error}") from None
        try:
            own = credentials.certificate.encode() or _decoded(user.client_cert_data)
            own_key = credentials.key.encode() or _decoded(user.client_key_data)
            certificate = file("certificate", own, user.client_cert, user_file)
            if certificate is not None:
                context.load_cert_chain(certificate, file("key", own_key, user.client_key, user_file))
        except (OSError, ValueError) as error:
            field = "users[].user.client-certificate, client-key"
            raise _invalid(user_file.path, field, f"cannot be used: {error}") from None
    return context


def _decoded(text: str | None) -> bytes:
    """Raises ValueError. Lines may be broken anywhere."""
    return b64decode("".join((text or "").split()), validate=True)


def _beside(file: _File, name: str | os.PathLike[str]) -> Path:
    """Paths in a kubeconfig are relative to it."""
    return file.path.parent / name


def _service_account() -> Login | None:
    """As a pod; None where this is none."""
    if "KUBERNETES_SERVICE_HOST" not in os.environ or not Path(SERVICE_ACCOUNT, "token").exists():
        return None
    config = KubeConfig.from_service_account(SERVICE_ACCOUNT).get()
    assert config is not None
    assert config.user is not None
    file = _File(Path(SERVICE_ACCOUNT, "token"), KubeConfig(clusters={}, contexts={}), {"clusters": [], "users": []})
    return Login(
        server=config.cluster.server,
        namespace=config.namespace,
        where="the pod's service account",
        tls=_tls(file, config.cluster, file, User(), Credentials()),
        headers=_headers(config.user, _credentials(file, config.user, "", {})),
    )


def _names(read: Iterable[_File]) -> str:
    return os.pathsep.join(str(file.path) for file in read)


def _invalid(file: Path | str, path: str, said: str, allowed: str = "") -> InvalidDocument:
    return InvalidDocument(str(file), [FieldError(path, said, allowed, str(file))])
