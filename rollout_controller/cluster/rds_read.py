"""Reading a raw document field by field, with every fault noted under its path."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from rollout_controller.api.errors import FieldError
from rollout_controller.api.quantities import parse_duration

_PROTO_DURATION = re.compile(r"\d+(\.\d+)?(ms|s|m|h)(\d+(\.\d+)?(ms|s|m|h))*")


class Faults:
    """What was found wrong so far."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, path: str, read: str, allowed: str) -> None:
        self.found.append(FieldError(path, read, allowed))


class Node:
    """A value and its path. Reading the wrong type notes a fault and gives a harmless value, so that reading goes on."""

    def __init__(self, value: Any, path: str, faults: Faults) -> None:
        self.value = value
        self.path = path
        self._faults = faults

    def fault(self, read: str, allowed: str) -> None:
        self._faults.add(self.path, read, allowed)

    def map(self, fields: Sequence[str]) -> Node:
        """A map with no other fields than these."""
        if not isinstance(self.value, dict):
            self._wrong("a map")
            return Node({}, self.path, Faults())
        for name in self.value:
            if name not in fields:
                self._faults.add(f"{self.path}.{name}", "cannot be translated for Envoy", f"here: {', '.join(sorted(fields))}")
        return self

    def has(self, field: str) -> bool:
        return self.value.get(field) is not None

    def at(self, field: str) -> Node:
        return Node(self.value.get(field), f"{self.path}.{field}", self._faults)

    def entries(self) -> list[tuple[str, Node]]:
        """The fields of a map whose names are free."""
        if not isinstance(self.value, dict):
            self._wrong("a map")
            return []
        return [(str(name), Node(value, f"{self.path}.{name}", self._faults)) for name, value in self.value.items()]

    def list(self, *, needed: str = "") -> list[Node]:
        """A list; an empty or absent one is a fault where `needed` says what must be there."""
        value = [] if self.value is None else self.value
        if not isinstance(value, list):
            self._wrong("a list")
        elif needed and not value:
            self.fault("is missing" if self.value is None else "is empty", needed)
        else:
            return [Node(item, f"{self.path}[{index}]", self._faults) for index, item in enumerate(value)]
        return []

    def text(self) -> str:
        """Text that is not empty and has no control characters: Envoy refuses the whole file for one."""
        if isinstance(self.value, str) and self.value and self.value.isprintable():
            return self.value
        self._wrong("text without control characters")
        return ""

    def whole(self, least: int, most: int, *, default: int) -> int:
        """A whole number."""
        value = default if self.value is None else self.value
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        self._wrong(f"a whole number from {least} to {most:,}")
        return default

    def duration(self) -> str:
        """A duration such as `1m30s`, as Envoy writes it: `90s`."""
        if isinstance(self.value, str) and _PROTO_DURATION.fullmatch(self.value):
            return f"{parse_duration(self.value):.9f}".rstrip("0").rstrip(".") + "s"
        self._wrong("a duration, for example '5s' or '500ms'")
        return "0s"

    def _wrong(self, wanted: str) -> None:
        text = repr(self.value)
        shown = text if len(text) <= 80 else f"{text[:77]}..."
        self.fault("is missing" if self.value is None else f"{shown} was read", f"{wanted} is needed")
