"""What an answer of the API server means: a document or a store's error, by status and structured fields, never by text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rollout_controller.api.names import Raw
from rollout_controller.cluster.store import (
    AlreadyExists,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    Kind,
    NotFound,
    NotInstalled,
    Refused,
    StoreError,
    Unauthorized,
    Unavailable,
)
from rollout_controller.cluster.transport import Answer

Verb = Literal["get", "list", "watch", "create", "update", "patch", "delete"]
"""As RBAC calls them."""
LONGEST_QUOTE = 400
"""Characters of a message of the API server that are repeated in ours."""

_FROM_THE_FUTURE = "ResourceVersionTooLarge"
"""The cause in a 504 when the server has not reached a resourceVersion: it was restored from a backup, or lags behind."""

_NEVER = frozenset({400, 401, 403, 405, 406, 411, 412, 413, 414, 415, 422, 431})
"""Statuses that stay what they are however often the same is asked."""


@dataclass(frozen=True)
class Request:
    """What was asked of the API server, as a sentence names it. No `name`: all of `namespace`, or of all namespaces."""

    verb: Verb
    kind: Kind
    namespace: str | None
    name: str | None = None
    subresource: str = ""

    @property
    def resource(self) -> str:
        """As RBAC calls it: `tritonrollouts.rollouts.triton.dev/status`."""
        group = self.kind.api_version.rpartition("/")[0]
        return f"{self.kind.plural}.{group}" + (f"/{self.subresource}" if self.subresource else "")

    @property
    def what(self) -> str:
        """`TritonRollout vision/resnet50`, or `tritonrollouts in vision`."""
        if self.name is not None:
            return f"{self.kind.name} {self.namespace}/{self.name}"
        return f"{self.kind.plural} in {f'namespace {self.namespace}' if self.namespace else 'all namespaces'}"

    def __str__(self) -> str:
        return f"{self.verb} {self.what}" + (f" ({self.subresource})" if self.subresource else "")


def body_of(request: Request, answer: Answer) -> Raw:
    """The JSON object of an answer that succeeded; raises the StoreError that any other answer means."""
    body = _json(answer.body)
    if not 200 <= answer.status < 300:
        raise error_of(request, answer.status, body, answer)
    if body is None:
        kind = answer.headers.get("content-type", "no content type")
        raise Unavailable(f"{request}: HTTP {answer.status} with {kind} that is no JSON object: {_quoted(answer.body)}")
    return body


def document_of(request: Request, body: Any) -> Raw:
    """One object as the store hands it out: named, with a resourceVersion that is a number, without managedFields.

    managedFields are the API server's own book-keeping, often bigger than the rest; a write without them leaves them as they are.
    Objects inside a list or of built-in kinds may lack apiVersion and kind: they are added.
    """
    metadata = body.get("metadata") if isinstance(body, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise Unavailable(f"{request}: the answer is no {request.kind.name}: {_quoted(body)}")
    version_of(request, metadata)
    metadata.pop("managedFields", None)
    return {**body, "apiVersion": request.kind.api_version, "kind": request.kind.name}


def version_of(request: Request, metadata: Any) -> str:
    """metadata.resourceVersion; Unavailable when it is not a number, which is what Kubernetes promises since 1.35."""
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not (isinstance(version, str) and version.isascii() and version.isdigit()):
        raise Unavailable(f"{request}: resourceVersion {_quoted(version)} is not a number, so it cannot be compared with others")
    return version


def patch_failed(answer: Answer) -> bool:
    """Whether a JSON Patch was refused because its operations cannot be done on the object, a `test` among them.

    Then `details` is empty; where a schema or an admission rule refuses the result, it names the object and the causes.
    """
    return answer.status == 422 and not _details(_json(answer.body))


def error_of(request: Request, status: int, body: Raw | None, answer: Answer | None = None) -> StoreError:
    """The error that an answer with an HTTP status (or an ERROR event with a code) means; `body` is its Status object."""
    said = _said(status, body, answer)
    if status == 404:
        return _not_found(request, body, said)
    if status == 409:
        there = body is not None and body.get("reason") == "AlreadyExists"
        return AlreadyExists(f"{request.what} is there already") if there else Conflict(f"{request}: {said}")
    if status == 410 or (status == 504 and _FROM_THE_FUTURE in _causes(body)):
        return Expired(f"{request}: {said}: list again")
    if status in _NEVER:
        return _refused(request, status, body, f"{request}: {said}")
    return Unavailable(f"{request}: {said}", retry_after_s=_retry_after(body, answer))


def _refused(request: Request, status: int, body: Raw | None, said: str) -> Refused:
    sentence = f"{said}{_hint(request, status, body)}"
    if status == 401:
        return Unauthorized(sentence)
    if status == 403 and not _causes(body):
        return Forbidden(sentence, verb=request.verb, resource=request.resource, namespace=request.namespace, said=_message(body))
    if status == 422 and (faults := _faults(body)):
        return Invalid(sentence, faults=faults)
    return Refused(sentence)


def _not_found(request: Request, body: Raw | None, said: str) -> StoreError:
    """A missing object has its name in `details`; a missing kind has not, or is a page of plain text."""
    details = _details(body)
    if not details.get("name"):
        return NotInstalled(
            f"{request}: the API server knows no {request.kind.plural} of {request.kind.api_version} ({said}):"
            " install the custom resource definitions that they need",
            kind=request.kind,
        )
    if request.verb == "create":
        return NotFound(f"{request}: there is no namespace {request.namespace}")
    return NotFound(f"there is no {request.what}")


def _hint(request: Request, status: int, body: Raw | None) -> str:
    """What a person may do about it. A 403 with causes is no matter of rights: the namespace is going, a quota is used up."""
    if status == 401:
        return ": credentials are missing, wrong or expired"
    if status != 403 or _causes(body):
        return ""
    where = f"in namespace {request.namespace}" if request.namespace else "in all namespaces"
    return f". It needs the verb {request.verb} on {request.resource} {where}; the chart's RBAC gives it to the controller"


def _said(status: int, body: Raw | None, answer: Answer | None) -> str:
    """`HTTP 403 Forbidden, "message"`."""
    if body is not None and body.get("kind") == "Status":
        reason, message = body.get("reason") or "", body.get("message") or ""
    else:
        reason, message = "", answer.body if answer is not None else body or ""
    return f"HTTP {status}" + (f" {reason}" if reason else "") + (f", {_quoted(message)}" if message else "")


def _retry_after(body: Raw | None, answer: Answer | None) -> float | None:
    """Seconds, from the header or the Status; dates, which the API server does not send, are not read."""
    text = answer.headers.get("retry-after", "") if answer is not None else ""
    if text.isascii() and text.isdigit():
        return float(text)
    seconds = _details(body).get("retryAfterSeconds")
    return float(seconds) if isinstance(seconds, int) and seconds > 0 else None


def _details(body: Raw | None) -> Mapping[str, Any]:
    details = body.get("details") if body is not None and body.get("kind") == "Status" else None
    return details if isinstance(details, dict) else {}


def _message(body: Raw | None) -> str:
    """The server's own words, on one line, for people."""
    message = body.get("message") if body is not None else None
    return " ".join(message.split())[:LONGEST_QUOTE] if isinstance(message, str) else ""


def _faults(body: Raw | None) -> list[tuple[str, str]]:
    """(path, message) of each cause that names a field."""
    causes = _details(body).get("causes")
    found = [cause for cause in causes if isinstance(cause, dict)] if isinstance(causes, list) else []
    return [(str(cause["field"]), " ".join(str(cause.get("message")).split())) for cause in found if cause.get("field")]


def _causes(body: Raw | None) -> set[str]:
    causes = _details(body).get("causes")
    return {str(cause.get("reason")) for cause in causes if isinstance(cause, dict)} if isinstance(causes, list) else set()


def _json(body: bytes) -> Raw | None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _quoted(value: Any) -> str:
    """Part of what was read, on one line."""
    if isinstance(value, bytes):
        value = value[: 4 * LONGEST_QUOTE].decode(errors="replace")
    text = " ".join((value if isinstance(value, str) else repr(value)).split())
    return repr(text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 3]}...")
