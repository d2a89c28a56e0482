"""`apply`: documents from files into the store, after all of them were checked."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rollout_controller.api.documents import Document
from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.meta import Metadata, parse
from rollout_controller.api.names import Key, Raw
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cli import files
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.place import DATABASE, Cluster, place
from rollout_controller.cli.screen import Screen, screen
from rollout_controller.cli.session import in_cluster
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.rds import RdsProjection, route_configuration
from rollout_controller.cluster.store import (
    POLICY,
    ROLLOUT,
    VIRTUAL_SERVICE,
    AlreadyExists,
    Conflict,
    Invalid,
    Kind,
    NotFound,
    ObjectStore,
)
from rollout_controller.controller.config import FILE_NAME, load_local
from rollout_controller.slo.sources import check_policy, load_sources

KINDS = (POLICY, VIRTUAL_SERVICE, ROLLOUT)
"""In the order of writing: what is referred to comes before what refers to it."""
WRITES = 10


@dataclass(frozen=True)
class Checked:
    """A document that may be written, and where it was read."""

    kind: Kind
    raw: Raw
    source: Document


def apply(args: Namespace) -> int:
    """Check every document, then create or update each; nothing is written when one of them has a fault that we know."""
    shown = screen(plain=args.plain)
    if args.all_namespaces:
        raise CommandError("what has no namespace of its own is written into one: leave out -A", Exit.USAGE)
    where = place(args, shown)
    if isinstance(where, Cluster):
        with in_cluster(args, where, shown) as session:
            return _apply(args, shown, session.namespace, lambda: nullcontext(session.store), folder=False)
    opened = partial(_opened, where.path, create=not args.dry_run)
    return _apply(args, shown, args.namespace, opened, folder=True)


def _apply(
    args: Namespace,
    shown: Screen,
    namespace: str | None,
    opened: Callable[[], AbstractContextManager[ObjectStore | None]],
    *,
    folder: bool,
) -> int:
    documents, faults = _read([file for group in args.file for file in group], namespace or "default", folder=folder)
    if faults:
        for fault in faults:
            shown.note(str(fault))
        return Exit.USAGE
    if not documents:
        raise CommandError("there is no document in these files", Exit.USAGE)
    with opened() as store:
        for checked in sorted(documents, key=lambda checked: KINDS.index(checked.kind)):
            try:
                done = _write(store, checked.kind, checked.raw, dry_run=args.dry_run)
            except Invalid as refused:
                faults = [FieldError(path, said, "") for path, said in refused.faults]
                raise InvalidDocument(checked.source.file, faults).at(checked.source.file, checked.source.lines) from None
            suffix = " (dry run)" if args.dry_run else ""
            shown.line(f"{checked.kind.name.lower()}/{checked.raw['metadata']['name']} {done}{suffix}")
    return Exit.FINE


@contextmanager
def _opened(directory: Path, *, create: bool) -> Iterator[LocalStore | None]:
    store = _store(directory, create=create)
    try:
        yield store
    finally:
        if store is not None:
            store.close()


def _store(directory: Path, *, create: bool) -> LocalStore | None:
    """The store, with the projections that every writer must have; None where there is none and none may be made.

    Raises:
        InvalidDocument: DIR/local.yaml is wrong.
    """
    if not create and not (directory / DATABASE).exists():
        return None
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / FILE_NAME).exists():  # no controller runs without it, and a controller brings the routes in line
        return LocalStore(directory / DATABASE)
    envoy = load_local(directory).envoy
    return LocalStore(directory / DATABASE, projections=[RdsProjection(directory / envoy.rds, name=envoy.route_config)])


def _read(paths: Iterable[str], namespace: str, *, folder: bool) -> tuple[list[Checked], list[FieldError]]:
    """All documents and all faults of all files."""
    documents: list[Checked] = []
    faults: list[FieldError] = []
    for path in paths:
        try:
            found = files.read(path)
        except InvalidDocument as invalid:
            faults.extend(invalid.errors)
            continue
        for document in found:
            try:
                documents.append(_checked(document, namespace, folder=folder))
            except InvalidDocument as invalid:
                faults.extend(invalid.at(document.file, document.lines).errors)
    return documents, faults


def _checked(document: Document, namespace: str, *, folder: bool) -> Checked:
    """The kind, and the document with its namespace; raises InvalidDocument with every fault.

    `folder`: there is no Istio that says whether it can take a route, only our own translation for Envoy.
    """
    raw = document.raw
    kind = next((k for k in KINDS if (k.api_version, k.name) == (raw.get("apiVersion"), raw.get("kind"))), None)
    if kind is None:
        known = ", ".join(f"{k.name} ({k.api_version})" for k in KINDS)
        read = f"{raw.get('kind')!r} of {raw.get('apiVersion')!r} was read"
        raise InvalidDocument(document.file, [FieldError("kind", read, f"one of {known}")])
    if not isinstance(raw.get("metadata"), dict):
        raise InvalidDocument(document.file, [FieldError("metadata", "is missing", "metadata: {name: ...}")])
    raw = {**raw, "metadata": {"namespace": namespace, **raw["metadata"]}}
    raw.pop("status", None)
    if kind is ROLLOUT:
        parse(TritonRollout, raw)
    elif kind is POLICY and (faults := check_policy(parse(RolloutPolicy, raw), load_sources())):
        raise InvalidDocument(document.file, faults)
    elif kind is VIRTUAL_SERVICE and folder:
        route_configuration([raw], name="check")
    parse(Metadata, raw["metadata"])
    return Checked(kind, raw, document)


def _write(store: ObjectStore | None, kind: Kind, document: Raw, *, dry_run: bool) -> str:
    """What was done: created, configured or unchanged. Somebody else's write in between is read and kept."""
    key = Key(document["metadata"]["namespace"], document["metadata"]["name"])
    for attempt in range(WRITES):
        try:
            present = None if store is None else store.get(kind, key)
        except NotFound:
            present = None
        try:
            if present is None:
                if store is not None and not dry_run:
                    store.create(kind, document)
                return "created"
            wanted = merged(present, document)
            if wanted == present:
                return "unchanged"
            if store is not None and not dry_run:
                written = store.replace(kind, wanted)
                if written["metadata"]["resourceVersion"] == present["metadata"]["resourceVersion"]:
                    return "unchanged"  # the differences were defaults, which an API server writes out
        except (Conflict, AlreadyExists):
            time.sleep(0.02 * (attempt + 1))
            continue
        return "configured"
    raise CommandError(f"{kind.name} {key} was written by somebody else {WRITES} times while we tried; try again")


def merged(present: Raw, document: Raw) -> Raw:
    """The stored document with what the file says; annotations, labels and status that the file does not have are kept."""
    metadata = dict(present["metadata"])
    for name in ("annotations", "labels"):
        both = {**(metadata.get(name) or {}), **(document["metadata"].get(name) or {})}
        if both:
            metadata[name] = both
    kept = {"status": present["status"]} if "status" in present else {}
    return {**document, "metadata": metadata, **kept}
