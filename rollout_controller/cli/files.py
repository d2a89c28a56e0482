"""Files of documents, from the disk or from stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from rollout_controller.api.documents import MOST_BYTES, Document, load_documents, text_of
from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.cli.exits import CommandError, Exit

STDIN = "-"


def read(file: str) -> list[Document]:
    """The documents of a YAML file, `-` is stdin; empty ones are left out.

    Raises:
        CommandError: the name is empty.
        InvalidDocument: the file cannot be read, is no YAML, or holds something else than documents.
    """
    if not file:
        raise CommandError("a file's name is empty", Exit.USAGE)
    name = "stdin" if file == STDIN else file
    try:
        text = sys.stdin.read() if file == STDIN else _text(file)
    except OSError as error:
        raise InvalidDocument(name, [FieldError("", f"cannot be read: {error.strerror or error}", "", name)]) from None
    except ValueError as error:  # a UnicodeDecodeError, of stdin, is one
        read_, _, allowed = str(error).partition("|")
        raise InvalidDocument(name, [FieldError("", read_, allowed, name)]) from None
    return load_documents(text, name)


def _text(file: str) -> str:
    with Path(file).open("rb") as stream:  # a pipe may be endless
        return text_of(stream.read(MOST_BYTES + 1))
