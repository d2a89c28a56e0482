"""What a controller must know of its surroundings: DIR/local.yaml, or on a cluster the file named by --config."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

from rollout_controller.api.documents import MOST_BYTES, load_documents, text_of
from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.meta import Model, evolve, parse
from rollout_controller.api.quantities import Duration, format_duration
from rollout_controller.cluster.lease import LONGEST_S
from rollout_controller.controller.notifications import NotificationsConfig
from rollout_controller.controller.urls import Url, url

FILE_NAME = "local.yaml"
DATABASE_NAME = "rollouts.db"
SHORTEST_LEASE_S = 2
SHORTEST_WINDOW_S = 1

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
M = TypeVar("M", "LocalConfig", "ClusterConfig")
P = TypeVar("P", bound="PrometheusConfig")


def namespace_name(text: str) -> str:
    """A namespace's name; raises ValueError with what is allowed."""
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{text!r} is not a namespace|lower-case letters, digits and '-', at most 63")
    return text


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name|lower-case letters, digits, '-' and '.', at most 253")
    return text


def _template(text: str) -> str:
    names = re.findall(r"\{(.*?)\}", text)
    if names not in (["host"], ["host", "namespace"]):
        raise ValueError(
            f"{text!r} does not say where a host is|a URL with {{host}}, and {{namespace}} after it where it is needed"
        )
    url(text.replace("{host}", "host").replace("{namespace}", "namespace"))
    return text.rstrip("/")


def _lease_seconds(seconds: float) -> float:
    if seconds != int(seconds) or not SHORTEST_LEASE_S <= seconds <= LONGEST_S:
        raise ValueError(f"{format_duration(seconds)!r} was read|whole seconds, from '{SHORTEST_LEASE_S}s' to '{LONGEST_S}s'")
    return seconds


def _window_seconds(seconds: float) -> float:
    if seconds < SHORTEST_WINDOW_S:
        raise ValueError(
            f"{format_duration(seconds)!r} was read|at least '{SHORTEST_WINDOW_S}s', and no shorter than a scrape interval"
        )
    return seconds


Port = Annotated[int, Field(ge=0, le=65535)]


class PrometheusConfig(Model):
    """Where metrics are read. `window`: one batch of queries this often, at least the scrape interval; `lag`: how long a
    scrape takes until its samples can be queried; `token_file`: a mounted file with a bearer token, read anew for each query;
    `ca_file`: who signs its certificate, if not somebody well-known; `headers` and `params` go with each query.
    """

    url: Url
    window: Annotated[Duration, AfterValidator(_window_seconds)] = 5.0
    lag: Duration = 1.0
    token_file: Path | None = None
    ca_file: Path | None = None
    headers: dict[str, str] = Field(default={})
    """For example X-Scope-OrgID, a tenant of Mimir; no secret, which has `token_file`."""
    params: dict[str, str] = Field(default={})
    """For example partial_response: "false", of Thanos."""
    sources: Path | None = None
    """A folder with SLI sources of one's own (docs/sources.md); as it was read, relative to the file that names it."""

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders of sources beside the shipped ones."""
        return () if self.sources is None else (self.sources,)


class EnvoyConfig(Model):
    """Envoy's file-based RDS; the path is relative to the file's folder."""

    rds: str = "envoy/rds/rds.yaml"
    route_config: str = "local"


class MetricsConfig(Model):
    """Where the controller serves /metrics, /healthz and /readyz; 0: a free port."""

    host: str = "127.0.0.1"
    port: Port = 0


class LocalConfig(Model):
    """DIR/local.yaml."""

    prometheus: PrometheusConfig
    envoy: EnvoyConfig = EnvoyConfig()
    triton: dict[str, str]
    """Base URL of the Triton behind each host of the slots."""
    metrics: MetricsConfig = MetricsConfig()
    notifications: NotificationsConfig = NotificationsConfig()


class ClusterPrometheusConfig(PrometheusConfig):
    """The same, with times that fit a scrape interval of 5 s."""

    window: Annotated[Duration, AfterValidator(_window_seconds)] = 10.0
    lag: Duration = 2.0


class TritonConfig(Model):
    """Where the Triton behind a slot's host answers: by a pattern, and by `host` or `namespace/host` where that is wrong."""

    url: Annotated[str, AfterValidator(_template)] = "http://{host}.{namespace}.svc:8000"
    urls: dict[str, Url] = Field(default={})


class ClusterMetricsConfig(MetricsConfig):
    """The same, for kubelet and Prometheus, which are not in the pod."""

    host: str = "0.0.0.0"  # noqa: S104 - a pod's probes and scrapes come from outside of it
    port: Port = 8080


class LeaseConfig(Model):
    """Leadership. `namespace` None: the one the controller runs in. `duration`: how long a lease lasts that nobody renews."""

    name: Annotated[str, AfterValidator(_name)] = "rollout-controller"
    namespace: Annotated[str, AfterValidator(namespace_name)] | None = None
    duration: Annotated[Duration, AfterValidator(_lease_seconds)] = 4.0


class WorkloadsConfig(Model):
    """Whether Deployments and StatefulSets behind slots are read and changed; the rights must be there, then."""

    manage: bool = False


class ClusterConfig(Model):
    """The file that the chart mounts as /etc/rollout-controller/config.yaml."""

    prometheus: ClusterPrometheusConfig
    triton: TritonConfig = TritonConfig()
    metrics: ClusterMetricsConfig = ClusterMetricsConfig()
    lease: LeaseConfig | None = None
    """None: this process always leads; only right where it is the only one."""
    workloads: WorkloadsConfig = WorkloadsConfig()
    notifications: NotificationsConfig = NotificationsConfig()
    namespaces: tuple[Annotated[str, AfterValidator(namespace_name)], ...] = ()
    """Empty: the whole cluster."""


def _beside(prometheus: P, path: Path) -> P:
    return prometheus if prometheus.sources is None else evolve(prometheus, sources=path.parent / prometheus.sources)


def load_local(directory: Path) -> LocalConfig:
    """Read DIR/local.yaml; raises InvalidDocument."""
    return _load(directory / FILE_NAME, LocalConfig, "`rollouts lab up` writes one; docs/local.md says what is in it")


def load_cluster(path: Path) -> ClusterConfig:
    """Read the file named by --config; raises InvalidDocument."""
    return _load(path, ClusterConfig, "the chart mounts one; docs/kubernetes.md says what is in it")


def _load(path: Path, model: type[M], whence: str) -> M:
    file = str(path)
    try:
        with path.open("rb") as stream:
            text = text_of(stream.read(MOST_BYTES + 1))
    except FileNotFoundError:
        raise InvalidDocument(file, [FieldError("", "there is no such file", whence, file)]) from None
    except OSError as error:
        raise InvalidDocument(file, [FieldError("", f"cannot be read: {error.strerror or error}", "YAML text", file)]) from None
    except ValueError as error:
        read, _, allowed = str(error).partition("|")
        raise InvalidDocument(file, [FieldError("", read, allowed, file)]) from None
    documents = load_documents(text, file)
    if len(documents) != 1:
        fields = ", ".join(field.alias or name for name, field in model.model_fields.items())
        raise InvalidDocument(file, [FieldError("", f"{len(documents)} documents", f"one, with the fields {fields}", file)])
    try:
        config = parse(model, documents[0].raw)
        return evolve(config, prometheus=_beside(config.prometheus, path))
    except InvalidDocument as error:
        raise error.at(file, documents[0].lines) from None
