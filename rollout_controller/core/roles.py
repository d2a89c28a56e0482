"""PURE: which slot is stable after a spec at rest has given its slots other destinations."""

from __future__ import annotations

from rollout_controller.api.meta import evolve
from rollout_controller.api.rollout import RolloutSpec
from rollout_controller.api.status import RolloutStatus


def moved(known: RolloutSpec, new: RolloutSpec, status: RolloutStatus) -> RolloutStatus:
    """The status of `known` for `new`: what is stable is a destination, and goes by another name where the spec gives it one.

    Where neither destination is there any more, which one is stable is read from the route anew. Where only stable's is gone,
    its slot has moved, and all traffic is to go where it is now.
    """
    before, after = _places(known), _places(new)
    if status.attempt is not None or status.stable_slot not in before or before == after:
        return status
    by_place = {place: name for name, place in after.items()}
    names = {name: by_place[place] for name, place in before.items() if place in by_place}
    if not names:
        return evolve(status, stable_slot=None, stable_version=None, stable_loss=None, drift=None, slots={})
    slots = {names[name]: slot for name, slot in status.slots.items() if name in names}
    return evolve(status, stable_slot=names.get(status.stable_slot, status.stable_slot), slots=slots)


def _places(spec: RolloutSpec) -> dict[str, tuple[str, str | None]]:
    """The destination of each slot."""
    return {name: (slot.host, slot.subset) for name, slot in spec.slots.items()}
