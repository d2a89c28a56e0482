"""PURE: what runs in a slot, from a Triton's repository index and what was known before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from rollout_controller.core.observation import SlotState, Unknown
from rollout_controller.triton.client import ModelVersion


def read_slot(before: SlotState, index: Iterable[ModelVersion], model: str) -> SlotState:
    """The slot's state by a fresh index.

    Several READY versions (a policy `all`, or a pin by somebody else): the highest counts, because it is the one that
    Triton gives to requests that name no version. A version that is no longer READY is no longer warm, either. What
    was asked of this process (`loading`, `failed`) is the prober's and stays; a load that Triton does anyhow shows.
    """
    mine = [line for line in index if line.model == model]
    if not mine:
        gone = Unknown("not-found", f"Triton's model repository has no model {model!r}", _since(before, "not-found"))
        return replace(before, version=None, ready=False, loading=None, warmed=None, problem=gone)
    version = highest(line.version for line in mine if line.state == "READY")
    return replace(
        before,
        version=version,
        ready=version is not None,
        loading=highest(line.version for line in mine if line.state == "LOADING"),
        warmed=before.warmed if before.warmed == version else None,
        problem=None,
    )


def read_server(before: SlotState, *, ready: bool) -> SlotState:
    """The state of a slot whose versions are not in a model repository: whether its Triton is ready, no more."""
    return replace(before, ready=ready, problem=None)


def unread(before: SlotState, code: str, sentence: str, now: float) -> SlotState:
    """The slot could not be read: not ready; its version is the last one seen, and since when it is dark is kept."""
    since = _since(before, code)
    return replace(before, ready=False, loading=None, problem=Unknown(code, sentence, now if since is None else since))


def highest(versions: Iterable[str | None]) -> str | None:
    """The highest of Triton's versions: whole numbers, so 10 is above 9."""
    return max((v for v in versions if v is not None and v.isdecimal()), key=int, default=None)


def _since(before: SlotState, code: str) -> float | None:
    """Since when it has been so, if this is not new."""
    return before.problem.since if before.problem is not None and before.problem.code == code else None
