"""Documents as JSON text and back, for stores: the standard library's way, and one in a third of its time.

What imports little (the CLI) uses PLAIN. `quick` needs pydantic's core, which the controller has loaded anyway.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from rollout_controller.api.names import Raw
from rollout_controller.cluster import admission


@dataclass(frozen=True)
class Codec:
    """Both ways. Text that one codec made can be read by every other."""

    encode: Callable[[Raw], tuple[str, Raw]]
    """JSON text, and what reading it gives: a copy. Raises Refused."""
    decode: Callable[[str], Raw]
    """Raises ValueError."""


def _encode(document: Raw) -> tuple[str, Raw]:
    text = admission.encode(document)
    return text, json.loads(text)


PLAIN = Codec(_encode, json.loads)


def quick() -> Codec:
    """The same values in the same order; what is not plain JSON goes the plain way, which says what is wrong with it."""
    from pydantic_core import from_json, to_json  # noqa: PLC0415  (60 ms, which whoever reads a status does not have)

    def encode(document: Raw) -> tuple[str, Raw]:
        try:
            text = to_json(document).decode()
            copy: Raw = from_json(text)
        except ValueError:
            return _encode(document)
        if copy != document:  # dates, tuples, NaN: read back they are something else
            return _encode(document)
        return admission.fit(text, document), copy

    return Codec(encode, from_json)
