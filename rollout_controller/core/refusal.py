"""The status of a TritonRollout that cannot be used from its first sight on: nothing is done, and that is said."""

from __future__ import annotations

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import ANNOTATION_VERSION, Raw, evolve, parse
from rollout_controller.api.rollout import RolloutSpec
from rollout_controller.api.status import Phase, RolloutStatus
from rollout_controller.core.conditions import ACCEPTED, Finding, conditions
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.observation import Unknown
from rollout_controller.core.plan import Tell
from rollout_controller.core.states import RESTING


def refuse(document: Raw, error: InvalidDocument, now: float) -> tuple[RolloutStatus, tuple[Tell, ...]]:
    """The document's status with the fault said in it, and what is told; the same status as before when that is no news.

    An attempt that is under way is kept for the time when the spec is mended. No traffic can be moved until then: which
    route and which slots are meant is not known.
    """
    before = stored_status(document)
    metadata = document["metadata"]
    reason = explain.invalid_spec(error.one_line)
    text = str((metadata.get("annotations") or {}).get(ANNOTATION_VERSION, "")).strip()
    new = before.phase in RESTING and (not before.conditions or text not in {"", before.observed_version})
    generation = int(metadata.get("generation", 0))
    status = evolve(
        before, phase=Phase.STALLED if new else before.phase, reason=reason, observed_generation=generation, next_check_at=None
    )
    found = Finding(
        reason=reason,
        refused=reason,
        policy_read=True,
        drift=None,
        route=Unknown("not-read-yet", "which one is meant is not known"),
        desired={},
    )
    status = evolve(status, conditions=conditions(status, found, generation, now))
    known = next((c.message for c in before.conditions if c.type == ACCEPTED), None)
    if known == reason.sentence:
        return status, ()
    dedup = f"document/{reason.code}/{reason.sentence}"
    return status, (Tell(reason.code, reason.sentence, dedup, warning=True, again=True, news=True),)


def stored_status(document: Raw) -> RolloutStatus:
    """The document's status; a new one where it has none that can be read."""
    status = document.get("status")
    try:
        return parse(RolloutStatus, status) if isinstance(status, dict) else RolloutStatus()
    except InvalidDocument:
        return RolloutStatus()


def without_status(document: Raw, error: InvalidDocument) -> Raw | None:
    """The document without its status where nothing but the status is at fault; else None."""
    if any(not fault.path.startswith("status") for fault in error.errors):
        return None
    return {name: value for name, value in document.items() if name != "status"}


def changed_under_way(held: RolloutSpec, new: RolloutSpec) -> str | None:
    """Which fields of a spec changed that must not while an attempt is under way: its traffic hangs on them."""
    pairs = (("route", held.route, new.route), ("slots", held.slots, new.slots), ("deploy", held.deploy, new.deploy))
    return " and ".join(f"spec.{name}" for name, before, after in pairs if before != after) or None
