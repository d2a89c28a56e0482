"""YAML files -> documents, with the line of every field, so that a fault can be shown where it is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.names import Raw

STDIN = "-"


@dataclass(frozen=True)
class FileDocument:
    """One document of a file. `lines`: field path, as errors write it, -> line from 1."""

    raw: Raw
    file: str
    lines: dict[str, int] = field(default_factory=dict)


def read(file: str) -> list[FileDocument]:
    """The documents of a YAML file, `-` is stdin; empty ones are left out.

    Raises:
        InvalidDocument: the file cannot be read, is no YAML, or holds something else than documents.
    """
    name = "stdin" if file == STDIN else file
    try:
        text = sys.stdin.read() if file == STDIN else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        read_ = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidDocument(name, [FieldError("", f"cannot be read: {read_}", "", name)]) from None
    try:
        return list(_documents(text, name))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise InvalidDocument(name, [FieldError("", f"is not YAML: {error.problem}", "", name, line)]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidDocument(name, [FieldError("", f"is not YAML: {error}", "", name)]) from None


def _documents(text: str, file: str) -> Iterator[FileDocument]:
    loader = yaml.SafeLoader(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said so
            lines, twice = _lines(node)
            raw: Any = loader.construct_document(node)
            if twice:
                faults = [FieldError(path, "is given twice", "once", file, line) for path, line in twice]
                raise InvalidDocument(file, faults)
            if raw is None:
                continue
            if not isinstance(raw, dict):
                fault = FieldError(
                    "", f"{str(raw)[:40]!r} is no document", "apiVersion, kind, metadata, spec", file, node.start_mark.line + 1
                )
                raise InvalidDocument(file, [fault])
            yield FileDocument(raw, file, {"": node.start_mark.line + 1, **lines})
    finally:
        loader.dispose()


def _lines(root: yaml.Node) -> tuple[dict[str, int], list[tuple[str, int]]]:
    """(line of every path, paths that are given twice). A node that is used again by an alias is walked once."""
    lines: dict[str, int] = {}
    twice: list[tuple[str, int]] = []
    seen: set[int] = set()
    todo: list[tuple[str, yaml.Node]] = [("", root)]
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for below, mark, value in _fields(path, node):
            if below in lines:
                twice.append((below, mark.line + 1))
            lines[below] = mark.line + 1
            todo.append((below, value))
    return lines, twice


def _fields(path: str, node: yaml.Node) -> Iterator[tuple[str, Any, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (f"{path}.{key.value}" if path else str(key.value)), key.start_mark, value
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}[{index}]", value.start_mark, value
