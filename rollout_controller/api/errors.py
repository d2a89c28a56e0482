"""What is wrong with a document, said so that a person can mend it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class FieldError:
    """One fault: where it is, what was read there and what is allowed.

    `path` is written as kubectl writes it (`spec.slos[1].latency.max`). `file` and `line` (from 1) are known
    only where the document came from a file.
    """

    path: str
    read: str
    allowed: str
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}  " if self.file and self.line else f"{self.file}  " if self.file else ""
        field = f"{self.path}: " if self.path else ""
        return f"{place}{field}{self.read}\n{' ' * len(place)}{self.allowed}" if self.allowed else f"{place}{field}{self.read}"


class InvalidDocument(ValueError):
    """A document that cannot be used; carries every fault found, not only the first."""

    def __init__(self, name: str, errors: Iterable[FieldError]) -> None:
        self.name = name
        self.errors = tuple(errors)
        super().__init__("\n".join(str(error) for error in self.errors))

    @property
    def one_line(self) -> str:
        """The first fault with its place, and how many more there are; for a sentence."""
        first, more = self.errors[0], len(self.errors) - 1
        place = f"{first.path}: " if first.path else ""
        return f"{place}{first.read}; {first.allowed}" + (f" (and {more} more)" if more else "")

    def at(self, file: str, lines: dict[str, int]) -> InvalidDocument:
        """The same faults with the file and the line of the nearest known path."""
        return InvalidDocument(self.name, (replace(e, file=file, line=_nearest(e.path, lines)) for e in self.errors))


def near(written: str, known: Iterable[str]) -> str | None:
    """The one of `known` that a person who wrote `written` means: by its letters, whatever their case, without `_` and `-`."""
    import difflib  # noqa: PLC0415 - only a mistyped word needs it

    names = {_letters(name): name for name in known}
    close = difflib.get_close_matches(_letters(written), names, n=1, cutoff=0.7)
    return names[close[0]] if close else None


def meant(written: object, known: Iterable[str]) -> str:
    """`; did you mean 'weight'?`, to stand behind what is allowed; empty where nothing is near."""
    name = near(written, known) if isinstance(written, str) else None
    return f"; did you mean {name!r}?" if name is not None else ""


def _letters(text: str) -> str:
    return text.casefold().replace("_", "").replace("-", "")


def _nearest(path: str, lines: dict[str, int]) -> int | None:
    while path not in lines and path:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path)
