"""ObjectStore: what the controller and the CLI ask of a place that keeps documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rollout_controller.api.names import Key, Raw

PatchOp = dict[str, Any]
"""One JSON Patch operation (RFC 6902)."""


@dataclass(frozen=True)
class Kind:
    """A kind of document.

    `status` is True where status is a subresource: then spec writes keep it and status writes keep the rest.
    """

    api_version: str
    name: str
    plural: str
    status: bool = False


ROLLOUT = Kind("rollouts.triton.dev/v1alpha1", "TritonRollout", "tritonrollouts", status=True)
POLICY = Kind("rollouts.triton.dev/v1alpha1", "RolloutPolicy", "rolloutpolicies")
VIRTUAL_SERVICE = Kind("networking.istio.io/v1", "VirtualService", "virtualservices")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", status=True)
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets", status=True)
KINDS = (ROLLOUT, POLICY, VIRTUAL_SERVICE, EVENT, LEASE, DEPLOYMENT, STATEFUL_SET)


class StoreError(Exception):
    """Base of what a store raises. Callers act on the class, never on the text."""


class NotFound(StoreError):
    """There is no such document."""


class AlreadyExists(StoreError):
    """`create` of a document that is there."""


class Conflict(StoreError):
    """The document is not what was read (stale resourceVersion, failed `test` of a JSON Patch): read again, decide again."""


class Refused(StoreError):
    """The store will not take this document or call, however often it is tried: invalid, forbidden. A person must act."""


class Unauthorized(Refused):
    """The store does not know who asks: credentials are missing, wrong or expired."""


class Forbidden(Refused):
    """Who asks may not do this: `verb` on `resource` (`tritonrollouts.rollouts.triton.dev`), as RBAC calls them.

    `namespace` is None for all namespaces; `said` has the store's own words, which name who asked.
    """

    def __init__(self, sentence: str, *, verb: str, resource: str, namespace: str | None, said: str = "") -> None:
        self.verb, self.resource, self.namespace, self.said = verb, resource, namespace, said
        super().__init__(sentence)


class NotInstalled(Refused):
    """The store knows no such kind: custom resource definitions are missing."""

    def __init__(self, sentence: str, *, kind: Kind) -> None:
        self.kind = kind
        super().__init__(sentence)


class Invalid(Refused):
    """The document breaks rules: `faults` are (path of the field, what is wrong with it)."""

    def __init__(self, sentence: str, *, faults: Sequence[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__(sentence)


class Expired(StoreError):
    """A watch's resourceVersion is too old: list again."""


class Unavailable(StoreError):
    """The store did not answer, is locked, full or overloaded: try again later.

    `retry_after_s`: seconds before which the store asked not to be asked again; None when it said nothing.
    """

    def __init__(self, sentence: str, *, retry_after_s: float | None = None) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(sentence)


class Untrusted(Unavailable):
    """The store cannot show that it is the one we mean: its certificate is unknown, expired or made out to another name."""


@dataclass(frozen=True)
class Listing:
    """Documents of a kind, and the resourceVersion from which a watch goes on."""

    items: tuple[Raw, ...]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """A change of one document; `BOOKMARK` only moves the resourceVersion on."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    document: Raw
    resource_version: str


class ObjectStore(Protocol):
    """Documents with optimistic concurrency, as the Kubernetes API has them.

    Every method ends within a bounded time and raises a StoreError. Documents handed out are the caller's own copies.
    metadata carries uid, resourceVersion, creationTimestamp, and generation (counts spec changes only).
    """

    def get(self, kind: Kind, key: Key) -> Raw:
        """Raises NotFound."""
        ...

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        """All documents of a kind, of one namespace or of all."""
        ...

    def create(self, kind: Kind, document: Raw) -> Raw:
        """Raises AlreadyExists, Refused. A given status is dropped where status is a subresource."""
        ...

    def replace(self, kind: Kind, document: Raw) -> Raw:
        """Write spec, labels and annotations; raises NotFound, Conflict when metadata.resourceVersion is given and stale."""
        ...

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        """JSON Patch, all or nothing; Conflict when a `test` fails, Refused when an operation cannot be done."""
        ...

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        """Write status only, on exactly what was read; raises Conflict, NotFound."""
        ...

    def delete(self, kind: Kind, key: Key) -> None:
        """Raises NotFound."""
        ...

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> Iterator[WatchEvent]:
        """Changes after `since`, in order, for at most `timeout_s`; raises Expired."""
        ...


class SelectingStore(ObjectStore, Protocol):
    """A store that also picks documents by what is in them: for people, who ask about one."""

    def select(self, kind: Kind, namespace: str | None, fields: Mapping[str, str]) -> tuple[Raw, ...]:
        """The documents that have exactly these values, each by its dotted path.

        Paths that every store knows: `metadata.name`, and `regarding.name` of events. Raises Refused for one that it does not.
        """
        ...
