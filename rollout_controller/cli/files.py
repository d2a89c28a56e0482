"""Files of documents, from the disk or from stdin."""

from __future__ import annotations

import sys
from pathlib import Path

from rollout_controller.api.documents import Document, load_documents
from rollout_controller.api.errors import FieldError, InvalidDocument

STDIN = "-"


def read(file: str) -> list[Document]:
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
    return load_documents(text, name)
