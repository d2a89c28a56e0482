"""ObjectStore on the Kubernetes API, over any Transport; documents are plain dicts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from time import monotonic
from urllib.parse import quote

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster import admission
from rollout_controller.cluster.answers import Request, Verb, body_of, document_of, patch_failed, version_of
from rollout_controller.cluster.kubernetes_watch import KubernetesWatch
from rollout_controller.cluster.patch import apply_patch
from rollout_controller.cluster.store import Conflict, Expired, Kind, Listing, NotFound, PatchOp, Refused, Unavailable
from rollout_controller.cluster.transport import Answer, Oversize, Transport

PAGE = 250
"""Documents asked for at once when listing."""
SMALL_PAGE = 20
"""The same after a page was too big to read: documents of etcd's limit of 1.5 MiB fit."""
LIST_S = 60.0
"""A list of many pages ends within this time."""
TAKES = 5
"""How often `replace` without a resourceVersion reads and writes again when others write in between."""
JSON_PATCH = "application/json-patch+json"
_AS_GO_WRITES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}
"""The API server's JSON Patch compares texts as they are written, not what they say, so a `test` must be written as the server
writes: these characters escaped, others not. They occur in JSON inside of texts only."""


class KubernetesStore:
    """Documents on an API server, for any number of threads. No call is tried again in here, and none lasts longer than its time.

    Names in managedFields: `manager`. Verbs that the server's RBAC must give: those of ObjectStore by their names, where
    `replace` is get and update, and `replace_status` is patch on the status subresource.
    """

    def __init__(self, transport: Transport, *, timeout_s: float = 10.0, manager: str = "rollout-controller") -> None:
        """`timeout_s` bounds each request, connecting included."""
        self._transport = transport
        self._timeout_s = timeout_s
        self._written_by = {"fieldManager": manager}

    def get(self, kind: Kind, key: Key) -> Raw:
        """Raises NotFound."""
        request = _on("get", kind, key)
        return document_of(request, body_of(request, self._call("GET", _path(kind, key), {})))

    def list(self, kind: Kind, namespace: str | None = None) -> Listing:
        """All documents of a kind, of one namespace or of all, by namespace and name; one state, however many pages it takes."""
        return self._all(kind, namespace, {})

    def select(self, kind: Kind, namespace: str | None, fields: Mapping[str, str]) -> tuple[Raw, ...]:
        """See SelectingStore."""
        escaped = {path: value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=") for path, value in fields.items()}
        selector = ",".join(f"{path}={value}" for path, value in escaped.items())
        return self._all(kind, namespace, {"fieldSelector": selector}).items

    def _all(self, kind: Kind, namespace: str | None, query: Mapping[str, str]) -> Listing:
        ends_at = monotonic() + LIST_S
        for limit in (PAGE, SMALL_PAGE, 0):
            try:
                return self._list(kind, namespace, query, limit, ends_at)
            except Oversize:
                if limit != PAGE:
                    raise
            except Expired:  # the state that the pages are of went while we read them
                continue
        raise Unavailable(f"{Request('list', kind, namespace)}: its pages expired while they were read")

    def create(self, kind: Kind, document: Raw) -> Raw:
        """Raises AlreadyExists, Refused; NotFound when there is no such namespace. A given status is dropped as by the server."""
        key = admission.key_of(document)
        request = _on("create", kind, key)
        answer = self._call("POST", _path(kind, key, name=False), self._written_by, admission.encode(document).encode())
        return document_of(request, body_of(request, answer))

    def replace(self, kind: Kind, document: Raw) -> Raw:
        """Write spec, labels and annotations; raises NotFound, Conflict when metadata.resourceVersion is given and stale.

        The API takes no such write of a custom resource without a resourceVersion, so one is read first when none is given.
        """
        key = admission.key_of(document)
        if document["metadata"].get("resourceVersion"):
            return self._put(kind, key, document)
        for take in range(1, TAKES + 1):
            there = self.get(kind, key)["metadata"]
            uid = document["metadata"].get("uid", there["uid"])
            metadata = {**document["metadata"], "uid": uid, "resourceVersion": there["resourceVersion"]}
            try:
                return self._put(kind, key, {**document, "metadata": metadata})
            except Conflict:
                if uid != there["uid"] or take == TAKES:
                    raise
        raise AssertionError("the last take returns or raises")

    def patch(self, kind: Kind, key: Key, operations: Sequence[PatchOp]) -> Raw:
        """JSON Patch, all or nothing; Conflict when a `test` fails, Refused when an operation cannot be done.

        The server answers both in the same way. Which it was is found by doing the operations on the document as it is now.
        Where all can be done there, it was written in between, or the server, which compares text as it is written in JSON,
        missed an equality: then they are done once more on exactly that document. What fails even there is refused by a rule.
        """
        request = _on("patch", kind, key)
        answer = self._patch(request, _path(kind, key), operations)
        if patch_failed(answer):
            document = self.get(kind, key)
            apply_patch(document, operations, request.what)
            writes = [operation for operation in operations if operation.get("op") != "test"]
            answer = self._patch(request, _path(kind, key), [_unchanged(document["metadata"]["resourceVersion"]), *writes])
            if patch_failed(answer) and self.get(kind, key)["metadata"] != document["metadata"]:
                raise Conflict(f"{request.what} is being changed by others: it was another one each time it was patched")
        return document_of(request, body_of(request, answer))

    def replace_status(self, kind: Kind, key: Key, status: Raw, resource_version: str) -> Raw:
        """Write status only, on exactly what was read; raises Conflict, NotFound.

        A JSON Patch of the status subresource: unlike an update it does not need the rest of the document, and what admission
        webhooks see is whole.
        """
        request = Request("patch", kind, key.namespace, key.name, "status")
        if not kind.status or not isinstance(status, dict):
            raise Refused(f"{request.what}: " + ("status is no map" if kind.status else "this kind has no status of its own"))
        write = {"op": "add", "path": "/status", "value": status}
        answer = self._patch(request, _path(kind, key) + "/status", [_unchanged(resource_version), write])
        if patch_failed(answer):  # of the two operations only the test can fail
            raise Conflict(f"{request.what} has not resourceVersion {resource_version}: it was changed since it was read")
        return document_of(request, body_of(request, answer))

    def delete(self, kind: Kind, key: Key) -> None:
        """Raises NotFound."""
        body_of(_on("delete", kind, key), self._call("DELETE", _path(kind, key), {}))

    def watch(self, kind: Kind, namespace: str | None, since: str, timeout_s: float) -> KubernetesWatch:
        """Changes after `since`, in order, for at most `timeout_s`, and never longer than kubernetes_watch.LONGEST_S.

        The first `next` raises Refused when `since` is no resourceVersion, any `next` Expired when it is too old, Unavailable
        when the server fell silent. `close()`, from any thread, ends it.
        """
        path = _path(kind, None if namespace is None else Key(namespace, ""), name=False)
        return KubernetesWatch(self._transport, path, Request("watch", kind, namespace), since=since, timeout_s=timeout_s)

    def _list(self, kind: Kind, namespace: str | None, fixed: Mapping[str, str], limit: int, ends_at: float) -> Listing:
        request = Request("list", kind, namespace)
        path = _path(kind, None if namespace is None else Key(namespace, ""), name=False)
        items: list[Raw] = []
        query = {**fixed, "limit": str(limit)} if limit else fixed
        while True:
            page = body_of(request, self._call("GET", path, query))
            found = page.get("items")
            if not isinstance(found, list):
                raise Unavailable(f"{request}: the answer is no list")
            items += [document_of(request, item) for item in found]
            version = version_of(request, page.get("metadata"))
            token = page["metadata"].get("continue")
            if not token:
                return Listing(tuple(items), version)
            if monotonic() > ends_at:
                raise Unavailable(f"{request}: {len(items):,} documents were read in {LIST_S:g} s, and there are more")
            query = {**fixed, "limit": str(limit), "continue": str(token)}

    def _put(self, kind: Kind, key: Key, document: Raw) -> Raw:
        request = _on("update", kind, key)
        answer = self._call("PUT", _path(kind, key), self._written_by, admission.encode(document).encode())
        return document_of(request, body_of(request, answer))

    def _patch(self, request: Request, path: str, operations: Sequence[PatchOp]) -> Answer:
        try:
            text = json.dumps(list(operations), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            body = text.translate(_AS_GO_WRITES).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Refused(f"{request}: the operations are not JSON: {error}") from None
        return self._call("PATCH", path, self._written_by, body, JSON_PATCH)

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        content_type: str = "application/json",
    ) -> Answer:
        return self._transport.call(method, path, query=query, body=body, content_type=content_type, timeout_s=self._timeout_s)


def _on(verb: Verb, kind: Kind, key: Key) -> Request:
    return Request(verb, kind, key.namespace, key.name)


def _unchanged(resource_version: str) -> PatchOp:
    return {"op": "test", "path": "/metadata/resourceVersion", "value": resource_version}


def _path(kind: Kind, key: Key | None, *, name: bool = True) -> str:
    """The URL's path of one object, or of all in its namespace (`name=False`), or of all (no key).

    Raises:
        NotFound: no object can have such a name; asked as a path it could mean another one.
    """
    root = f"/apis/{kind.api_version}"
    if key is None:
        return f"{root}/{kind.plural}"
    parts = (key.namespace, key.name) if name else (key.namespace,)
    if not all(admission.is_name(part) for part in parts):
        raise NotFound(f"there is no {kind.name} {key}: that is no name")
    path = f"{root}/namespaces/{quote(key.namespace, safe='')}/{kind.plural}"
    return f"{path}/{quote(key.name, safe='')}" if name else path
