"""What the docstrings of a model's fields say, for people who read `kubectl explain`."""

from __future__ import annotations

import ast
import inspect
import textwrap
from functools import cache


@cache
def field_docstrings(model: type) -> dict[str, str]:
    """Field name -> the docstring below it, of the fields that the class itself declares."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(model)))
    definition = tree.body[0]
    assert isinstance(definition, ast.ClassDef)
    found = {}
    for field, below in zip(definition.body, definition.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and (text := _text(below)) is not None:
            found[field.target.id] = flowed(text)
    return found


def class_docstring(model: type) -> str:
    """The class's own docstring; empty without one."""
    return flowed(model.__dict__.get("__doc__") or "")


def flowed(text: str) -> str:
    """One line a paragraph: the reader's terminal breaks lines."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _text(statement: ast.stmt) -> str | None:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return statement.value.value
    return None
