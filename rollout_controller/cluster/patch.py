"""JSON Patch (RFC 6902) with the store's errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from rollout_controller.api.names import Raw
from rollout_controller.cluster.store import Conflict, PatchOp, Refused


def apply_patch(document: Raw, operations: Sequence[PatchOp], name: str) -> Raw:
    """The patched copy; `document` stays as it is.

    Raises:
        Conflict: a `test` does not hold, or what it asks about is not there.
        Refused: an operation cannot be done, or is none.
    """
    import jsonpatch  # noqa: PLC0415  (40 ms, and only writers need it)
    import jsonpointer  # noqa: PLC0415

    try:
        result: Any = jsonpatch.apply_patch(document, cast("Any", list(operations)))
    except jsonpatch.JsonPatchTestFailed as error:
        raise Conflict(f"{name} is not what was read: {error}") from None
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException) as error:
        raise Refused(f"{name}: the patch cannot be done: {error}") from None
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise Refused(f"{name}: the patch cannot be done: {type(error).__name__}: {error}") from None
    if not isinstance(result, dict):
        raise Refused(f"{name}: the patch leaves {type(result).__name__} in place of a document")
    return result
