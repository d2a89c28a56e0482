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
from rollout_controller.api.errors import FieldError, InvalidDocument, meant, near
from rollout_controller.api.meta import Metadata, parse
from rollout_controller.api.names import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, GROUP, Key, Raw
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout, object_name
from rollout_controller.api.wording import shown
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
from rollout_controller.controller.config import FILE_NAME, load_local, namespace_name
from rollout_controller.slo.sources import Sources, check_policy, load_sources

KINDS = (POLICY, VIRTUAL_SERVICE, ROLLOUT)
"""In the order of writing: what is referred to comes before what refers to it."""
WRITES = 10
ASKING = (ANNOTATION_VERSION, ANNOTATION_REQUEST, ANNOTATION_COMMAND)
"""Annotations that people write on a TritonRollout."""


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
            return _apply(args, shown, session.namespace, lambda: nullcontext(session.store), folder=None)
    opened = partial(_opened, where.path, create=not args.dry_run)
    return _apply(args, shown, args.namespace, opened, folder=where.path)


def _apply(
    args: Namespace,
    shown: Screen,
    namespace: str | None,
    opened: Callable[[], AbstractContextManager[ObjectStore | None]],
    *,
    folder: Path | None,
) -> int:
    sources = load_sources(*_folders(args, folder))
    documents, faults = _read(
        [file for group in args.file for file in group], namespace or "default", sources, folder=folder is not None
    )
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
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
        raise CommandError(f"{directory} cannot hold documents: {why}", Exit.USAGE) from None
    if not (directory / FILE_NAME).exists():  # no controller runs without it, and a controller brings the routes in line
        return LocalStore(directory / DATABASE)
    envoy = load_local(directory).envoy
    return LocalStore(directory / DATABASE, projections=[RdsProjection(directory / envoy.rds, name=envoy.route_config)])


def _folders(args: Namespace, folder: Path | None) -> tuple[Path, ...]:
    """Where sources are beside the shipped ones: --sources, else what the folder's local.yaml says."""
    if args.sources is not None:
        return (Path(args.sources),)
    if folder is None or not (folder / FILE_NAME).exists():
        return ()
    return load_local(folder).prometheus.folders


def _read(paths: Iterable[str], namespace: str, sources: Sources, *, folder: bool) -> tuple[list[Checked], list[FieldError]]:
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
                documents.append(_checked(document, namespace, sources, folder=folder))
            except InvalidDocument as invalid:
                faults.extend(invalid.at(document.file, document.lines).errors)
    faults.extend(_twice(documents))
    return documents, faults


def _checked(document: Document, namespace: str, sources: Sources, *, folder: bool) -> Checked:
    """The kind, and the document with its namespace; raises InvalidDocument with every fault.

    `folder`: there is no Istio that says whether it can take a route, only our own translation for Envoy.
    """
    raw = document.raw
    kind = _kind(document)
    if not isinstance(raw.get("metadata"), dict):
        read = f"{shown(raw['metadata'])} was read" if raw.get("metadata") is not None else "is missing"
        raise InvalidDocument(document.file, [FieldError("metadata", read, "metadata: {name: ...}")])
    raw = {**raw, "metadata": {"namespace": namespace, **raw["metadata"]}}
    raw.pop("status", None)
    if kind is ROLLOUT:
        parse(TritonRollout, raw)
    elif kind is POLICY and (faults := check_policy(parse(RolloutPolicy, raw), sources)):
        raise InvalidDocument(document.file, faults)
    elif kind is VIRTUAL_SERVICE and folder:
        route_configuration([raw], name="check")
    _check_names(document, parse(Metadata, raw["metadata"]), kind)
    return Checked(kind, raw, document)


def _kind(document: Document) -> Kind:
    """What the document is; raises InvalidDocument."""
    version, name = document.raw.get("apiVersion"), document.raw.get("kind")
    for kind in KINDS:
        if (kind.api_version, kind.name) == (version, name):
            return kind
        if kind.name == name and version is not None:
            read = f"{shown(version)} was read"
            raise InvalidDocument(document.file, [FieldError("apiVersion", read, f"{kind.api_version!r} for a {name}")])
    known = ", ".join(f"{k.name} ({k.api_version})" for k in KINDS)
    missing = next((field for field in ("kind", "apiVersion") if document.raw.get(field) is None), None)
    read = "is missing" if missing else f"{name!r} of {version!r} was read"
    allowed = f"one of {known}{meant(name, [k.name for k in KINDS])}"
    raise InvalidDocument(document.file, [FieldError(missing or "kind", read, allowed)])


def _check_names(document: Document, metadata: Metadata, kind: Kind) -> None:
    """What an API server refuses, and a folder would take; and an annotation that asks for nothing because it is misspelt."""
    faults = []
    for field, check, text in (("name", object_name, metadata.name), ("namespace", namespace_name, metadata.namespace)):
        try:
            check(text)
        except ValueError as error:
            read, _, allowed = str(error).partition("|")
            faults.append(FieldError(f"metadata.{field}", read, allowed))
    for name in metadata.annotations if kind is ROLLOUT else ():
        close = near(name, ASKING) if name.startswith(f"{GROUP}/") else None
        if close is not None and close != name:
            faults.append(FieldError(f"metadata.annotations.{name}", "unknown annotation", f"did you mean {close!r}?"))
    if faults:
        raise InvalidDocument(document.file, faults)


def _twice(documents: Iterable[Checked]) -> Iterator[FieldError]:
    """One document may stand in the files once: of two, one would be lost without a word."""
    first: dict[tuple[Kind, Key], Checked] = {}
    for checked in documents:
        key = Key(checked.raw["metadata"]["namespace"], checked.raw["metadata"]["name"])
        other = first.setdefault((checked.kind, key), checked)
        if other.raw != checked.raw:
            said = f"{checked.kind.name} {key} is given twice, and not the same"
            place = f"{other.source.file}:{other.source.lines.get('', 1)}"
            line = checked.source.lines.get("metadata.name")
            yield FieldError("metadata.name", said, f"once; it is in {place}, too", checked.source.file, line)


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
