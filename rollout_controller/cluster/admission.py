"""What a store takes and what it makes of it: the rules the Kubernetes API has for every object, as pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.store import Conflict, Kind, Refused

MAX_BYTES = 1_572_864
"""Of one document as JSON: etcd's limit."""
MAX_ANNOTATION_BYTES = 262_144
"""Of all annotations of a document together, keys and values: the API server's limit."""
MAX_DEPTH = 200
"""Of nested maps and lists; deeper ones could be written but not safely read again."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")


def key_of(document: Raw) -> Key:
    """Namespace (`default` when absent) and name; raises Refused when they cannot be names."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        raise Refused(f"metadata: {metadata!r} was read; a map with a name is needed")
    name, namespace = metadata.get("name"), metadata.get("namespace", "default")
    if not is_name(name):
        raise Refused(f"metadata.name: {_short(name)} is not a name; lower-case letters, digits, '-' and '.', at most 253")
    if not isinstance(namespace, str) or not _LABEL.fullmatch(namespace):
        raise Refused(f"metadata.namespace: {_short(namespace)} is not a name; lower-case letters, digits and '-', at most 63")
    return Key(namespace, name)


def is_name(text: object) -> TypeGuard[str]:
    """Whether an object or a namespace could be called so."""
    return isinstance(text, str) and len(text) <= 253 and _NAME.fullmatch(text) is not None


def created(kind: Kind, document: Raw, *, uid: str, timestamp: str, version: int) -> Raw:
    """The document as a store keeps it after `create`; raises Refused."""
    key = _admit(kind, document)
    if document["metadata"].get("resourceVersion"):
        raise Refused(f"{kind.name} {key}: metadata.resourceVersion must not be set on a document to be created")
    system = {"uid": uid, "creationTimestamp": timestamp, "generation": 1, "resourceVersion": str(version)}
    return _assembled(kind, key, document, system, status=document.get("status") if not kind.status else None)


def updated(kind: Kind, old: Raw, new: Raw, version: int) -> Raw | None:
    """The document as a store keeps it after its spec, labels or annotations were written; None when nothing changes.

    Raises:
        Conflict: `new` was made from another state (resourceVersion, uid) than `old`.
        Refused: `new` cannot be kept.
    """
    key = _admit(kind, new)
    had, has = old["metadata"], new["metadata"]
    if (key.namespace, key.name) != (had["namespace"], had["name"]):
        raise Refused(f"{kind.name} {had['namespace']}/{had['name']}: its name and namespace cannot be changed to {key}")
    for field in ("resourceVersion", "uid"):
        if has.get(field) and has[field] != had[field]:
            raise Conflict(f"{kind.name} {key} has {field} {had[field]}, not {has[field]}: it was changed since it was read")
    system = {name: had[name] for name in ("uid", "creationTimestamp", "generation", "resourceVersion")}
    result = _assembled(kind, key, new, system, status=old.get("status") if kind.status else new.get("status"))
    if result == old and _text(result) == _text(old):
        return None
    spec_changed = _text(_without_metadata(result)) != _text(_without_metadata(old))
    result["metadata"] |= {"generation": had["generation"] + spec_changed, "resourceVersion": str(version)}
    return result


def with_status(kind: Kind, old: Raw, status: Raw, read_version: str, version: int) -> Raw | None:
    """The document with another status; None when nothing changes. Raises Conflict, Refused."""
    metadata = old["metadata"]
    name = f"{kind.name} {metadata['namespace']}/{metadata['name']}"
    if not kind.status:
        raise Refused(f"{name}: this kind has no status of its own")
    if not isinstance(status, dict):
        raise Refused(f"{name}: status: {_short(status)} was read; a map is needed")
    if read_version != metadata["resourceVersion"]:
        raise Conflict(f"{name} has resourceVersion {metadata['resourceVersion']}, not {read_version}: it was changed since read")
    if status == old.get("status") and _text(status) == _text(old["status"]):
        return None
    result = {**old, "status": status}
    return {**result, "metadata": {**metadata, "resourceVersion": str(version)}}


def encode(document: Raw) -> str:
    """JSON text; raises Refused for what is not JSON (dates, NaN, cycles, lone surrogates) or is too big."""
    try:
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"the document is not JSON: {error}") from None
    return fit(text, document)


def fit(text: str, document: Raw) -> str:
    """The JSON text of the document; raises Refused when it is too big or too deep."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_BYTES:
        raise Refused(f"the document has {size:,} bytes; at most {MAX_BYTES:,}")
    if text.count("{") + text.count("[") > MAX_DEPTH and _depth(document) > MAX_DEPTH:
        raise Refused(f"the document nests deeper than {MAX_DEPTH} maps and lists")
    return text


def _admit(kind: Kind, document: Raw) -> Key:
    if not isinstance(document, dict):
        raise Refused(f"a document is a map; {_short(document)} was read")
    for field, wanted in (("apiVersion", kind.api_version), ("kind", kind.name)):
        if document.get(field) != wanted:
            raise Refused(f"{field}: {_short(document.get(field))} was read; {wanted} is needed")
    key = key_of(document)
    _strings(document["metadata"], "annotations")
    _strings(document["metadata"], "labels")
    annotations = document["metadata"].get("annotations") or {}
    size = sum(len(text.encode(errors="replace")) for pair in annotations.items() for text in pair)
    if size > MAX_ANNOTATION_BYTES:
        raise Refused(f"metadata.annotations: {size:,} bytes; at most {MAX_ANNOTATION_BYTES:,}")
    return key


def _strings(metadata: Raw, field: str) -> None:
    """Labels and annotations: a map of qualified names to strings, or absent."""
    value = metadata.get(field)
    if value is None:
        return
    if not isinstance(value, dict):
        raise Refused(f"metadata.{field}: {_short(value)} was read; a map of strings is needed")
    for name, text in value.items():
        prefix, slash, rest = str(name).rpartition("/")
        if not isinstance(name, str) or not _QUALIFIED.fullmatch(rest) or (slash and not _NAME.fullmatch(prefix)):
            raise Refused(f"metadata.{field}: {_short(name)} is no key; letters, digits, '-', '_', '.', with an optional prefix/")
        if not isinstance(text, str):
            raise Refused(f"metadata.{field}.{name}: {_short(text)} was read; a string is needed: write it in quotes")
        if field == "labels" and not _VALUE.fullmatch(text):
            raise Refused(f"metadata.labels.{name}: {_short(text)} is no label; letters, digits, '-', '_', '.', at most 63")


def _assembled(kind: Kind, key: Key, document: Raw, system: Mapping[str, Any], *, status: Any) -> Raw:
    own = {name: value for name, value in document["metadata"].items() if name not in system and value is not None}
    metadata = {**own, "name": key.name, "namespace": key.namespace, **system}
    rest = {name: value for name, value in document.items() if name not in ("apiVersion", "kind", "metadata", "status")}
    result: Raw = {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **rest}
    return result if status is None else {**result, "status": status}


def _without_metadata(document: Raw) -> Raw:
    return {name: value for name, value in document.items() if name not in ("metadata", "status")}


def _text(document: Raw) -> str:
    """The same text for documents that differ in the order of their keys only; 1, 1.0 and true stay different."""
    try:
        return json.dumps(document, sort_keys=True)
    except (TypeError, ValueError, RecursionError) as error:
        raise Refused(f"the document is not JSON: {error}") from None


def _depth(value: Any) -> int:
    deepest, level = 0, [value]
    while level := [part for part in level if isinstance(part, (dict, list)) and part]:
        deepest += 1
        level = [part for outer in level for part in (outer.values() if isinstance(outer, dict) else outer)]
    return deepest


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
