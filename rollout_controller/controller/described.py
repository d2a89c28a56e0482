"""What a metric is, in the words of docs/metrics.md."""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["gauge", "counter", "histogram"]


class Described(NamedTuple):
    """One metric: its whole name, its labels in their order."""

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...]
