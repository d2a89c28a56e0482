"""YAML text -> documents, with the line of every field, so that a fault can be shown where it is."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.names import Raw

MOST_NODES = 200_000
"""Fields and values of one document with its aliases written out: ten times what 1,000 routes need."""
MOST_NESTED = 100
MOST_BYTES = 4 << 20
"""Of a file: more than an API server takes in one request (3 MiB). What is far longer was meant to be something else."""

_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_ODD_NUMBER = re.compile(r"[-+]?0[0-9a-zA-Z].*|.*[_:].*")
"""Numbers that YAML 1.1 reads otherwise than people do: 0x10 is 16, 010 is 8, 1_0 is 10, 1:30 is 90."""
_WORDS = {
    "tag:yaml.org,2002:int": "is a number to YAML",
    "tag:yaml.org,2002:float": "is a number to YAML",
    "tag:yaml.org,2002:bool": "is true or false to YAML",
    "tag:yaml.org,2002:null": "is nothing to YAML",
}


@dataclass(frozen=True)
class Document:
    """One document of a file. `lines`: field path, as errors write it, -> line from 1; the path of the whole is empty."""

    raw: Raw
    file: str
    lines: dict[str, int] = field(default_factory=dict)


class _Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: what looks like a date is text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's name and shape)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def text_of(data: bytes) -> str:
    """The text of a file's bytes, UTF-8 with or without a byte order mark.

    Raises:
        ValueError: `what was read|what is allowed`.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES >> 20} MiB|at most {MOST_BYTES >> 20} MiB of YAML")
    wide = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    if data.startswith(wide) or (len(data) > 1 and 0 in data[:2]):
        raise ValueError("is not UTF-8: by its first bytes it is UTF-16 or UTF-32, as some editors save it|text in UTF-8")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"is not UTF-8: byte 0x{data[error.start]:02x} in line {line}|text in UTF-8") from None


def load_documents(text: str, file: str) -> list[Document]:
    """The documents of a YAML text; empty ones are left out. `file` is what errors call it.

    Raises:
        InvalidDocument: it is no YAML, or holds something else than documents: a field given twice, a number where
            annotations need text, a list. Every fault has its line.
    """
    try:
        documents, faults = _load(text, file)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise InvalidDocument(file, [FieldError("", f"is not YAML: {said}", "", file, line)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        said = f"is not YAML: character U+{ord(text[error.position]):04X}, which no YAML may have"
        raise InvalidDocument(file, [FieldError("", said, "printable text", file, line)]) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = "nested too deep" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise InvalidDocument(file, [FieldError("", f"is not YAML: {said}", "", file)]) from None
    if faults:
        raise InvalidDocument(file, faults)
    return documents


def _load(text: str, file: str) -> tuple[list[Document], list[FieldError]]:
    loader = _Loader(text)
    documents: list[Document] = []
    faults: list[FieldError] = []
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # check_node said so
            here = _Faults(file, node.start_mark.line + 1)
            if _too_big(node):
                here.add("", "grows too big when its aliases are written out", f"at most {MOST_NODES:,} fields", node)
            else:
                lines = _lines(node, here)
                raw: Any = None if here.found else loader.construct_document(node)
                if isinstance(raw, dict):
                    documents.append(Document(raw, file, lines))
                elif raw is not None:
                    read = "a list" if isinstance(raw, list) else repr(raw)[:40]
                    here.add("", f"{read} is no document", "a map of fields", node)
            faults += here.found
    finally:
        loader.dispose()
    return documents, faults


class _Faults:
    """The faults of one document of a file."""

    def __init__(self, file: str, line: int) -> None:
        self.found: list[FieldError] = []
        self.line = line
        self._file = file

    def add(self, path: str, read: str, allowed: str, node: yaml.Node) -> None:
        self.found.append(FieldError(path, read, allowed, self._file, node.start_mark.line + 1))


def _lines(root: yaml.Node, faults: _Faults) -> dict[str, int]:
    """The line of every path. What an alias uses again has the line of its anchor's first use only."""
    lines = {"": faults.line}
    seen: set[int] = set()
    todo: list[tuple[str, yaml.Node]] = [("", root)]
    while todo:
        path, node = todo.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        for below, at, value in _fields(path, node, faults):
            if below in lines:
                faults.add(below, "is given twice", "once", at)
                continue
            lines[below] = at.start_mark.line + 1
            todo.append((below, value))
        if path in ("metadata.annotations", "metadata.labels"):
            _check_texts(path, node, faults)
        elif isinstance(node, yaml.ScalarNode) and not path.startswith(("metadata.annotations.", "metadata.labels.")):
            _check_number(path, node, faults)
    return lines


def _fields(path: str, node: yaml.Node, faults: _Faults) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield f"{path}[{index}]", value, value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                faults.add(path, "is not YAML that has a place in JSON: a map or list as a field's name", "text", key)
            elif key.tag == _MERGE:
                yield path + ".<<" if path else "<<", key, value
            elif key.tag != _STRING:
                faults.add(
                    path, f"{key.value} {_WORDS.get(key.tag, 'is no text')}", f'a field\'s name in quotes: "{key.value}"', key
                )
            else:
                yield (f"{path}.{key.value}" if path else key.value), key, value


def _check_texts(path: str, node: yaml.Node, faults: _Faults) -> None:
    """Annotations and labels are text; `version: 1.10` would be the number 1.1."""
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        if isinstance(value, yaml.ScalarNode) and value.tag in _WORDS:
            read = f"{value.value} {_WORDS[value.tag]}" if value.value else "is empty"
            faults.add(f"{path}.{key.value}", read, f'write it in quotes: {key.value}: "{value.value}"', value)


def _check_number(path: str, node: yaml.ScalarNode, faults: _Faults) -> None:
    """A plain number must be written as people write it."""
    if node.tag in _NUMBERS and _ODD_NUMBER.fullmatch(node.value) and not node.style:
        number = _Loader("").construct_object(node)
        faults.add(path, f"{node.value} is the number {number:g} to YAML", f'{number:g}, or text in quotes: "{node.value}"', node)


def _too_big(root: yaml.Node) -> bool:
    """Whether a document has too many or too deeply nested nodes when every alias is written out; cycles are both."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > MOST_NESTED:
            return MOST_NODES + 1
        if id(node) not in sizes:
            children: list[yaml.Node] = []
            if isinstance(node, yaml.SequenceNode):
                children = node.value
            elif isinstance(node, yaml.MappingNode):
                children = [part for pair in node.value for part in pair]
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children)
        return sizes[id(node)]

    return size(root, 0) > MOST_NODES
