"""Weights in a VirtualService document: read as percent by slot, and patched without touching anything else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rollout_controller.api.names import Raw
from rollout_controller.api.rollout import RolloutSpec, Slot

MAX_WEIGHT = 2**31 - 1
"""Istio's weights are int32."""


class RouteProblem(Exception):
    """The route cannot be used as it stands; `sentence` says what to mend.

    `code`: `not-found`, `invalid`, or `weights` where it is only our own two weights that cannot be used (they sum to 0, or
    are no numbers): writing them mends it.
    """

    def __init__(self, code: str, sentence: str) -> None:
        self.code = code
        self.sentence = sentence
        super().__init__(sentence)


@dataclass(frozen=True)
class _Place:
    """Where the two destinations stand: `spec.http[http].route[by_slot[SLOT]]`; `route` is that list as it was read."""

    http: int
    name: str | None
    route: list[Raw]
    by_slot: Mapping[str, int]

    @property
    def path(self) -> str:
        return f"/spec/http/{self.http}"

    @property
    def words(self) -> str:
        return f"http route {self.name!r}" if self.name else f"spec.http[{self.http}]"


def read_weights(spec: RolloutSpec, document: Raw) -> dict[str, int]:
    """Percent of the route's traffic by slot; the two sum to 100.

    Istio's rules: a share is weight / sum, an absent weight is 0, and a lone destination takes all whatever its weight.
    Shares are rounded, but 0 % and 100 % only mean exactly that: a slot with any traffic has at least 1 %.

    Raises:
        RouteProblem: the route, or one of the two destinations, is not there, or its weights cannot be used.
    """
    place = _find(spec, document)
    if len(place.route) == 1:
        _weights(place)
        return {slot: 100 if slot in place.by_slot else 0 for slot in spec.slots}
    _need_both(spec, place)
    weights = _weights(place)
    for index, weight in enumerate(weights):
        if weight and index not in place.by_slot.values():
            host = _host(place.route[index])
            raise RouteProblem(
                "invalid", f"{place.words} sends traffic to {host!r} too, which is no slot of this rollout: remove it"
            )
    first, second = spec.slots
    share = _percent(weights[place.by_slot[first]], sum(weights), place)
    return {first: share, second: 100 - share}


def lacks(spec: RolloutSpec, document: Raw) -> str | None:
    """In words which of the two destinations a route that can be read does not have; None: it has both.

    A lone destination takes all traffic, so its weights can be read, but no weights can be written.
    """
    try:
        _need_both(spec, _find(spec, document))
    except RouteProblem as problem:
        return problem.sentence
    return None


def read_mark(document: Raw, annotation: str) -> dict[str, Any] | None:
    """Our annotation (`mark_of` a rollout); None when there is none or it is not ours to understand."""
    metadata = document.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    text = annotations.get(annotation) if isinstance(annotations, dict) else None
    try:
        mark = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return mark if isinstance(mark, dict) else None


def patch_weights(
    spec: RolloutSpec, document: Raw, weights: Mapping[str, int], annotation: str, mark: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """JSON Patch that sets both weights and our mark, if the route is still what `document` says.

    `weights` is percent by slot, `annotation` is `mark_of` the rollout. The patch tests the route's name, all its
    destinations with their weights, and the mark that was read; it fails with Conflict when any of them is another now.
    Everything else may change meanwhile, and is kept.

    Raises:
        RouteProblem: the route is not there or lacks a destination. (Weights that cannot be used are no hindrance: a
            rollback must be able to mend them.)
    """
    place = _find(spec, document)
    _need_both(spec, place)
    name = [{"op": "test", "path": f"{place.path}/name", "value": place.name}] if place.name is not None else []
    route = {"op": "test", "path": f"{place.path}/route", "value": place.route}
    writes = [
        {
            "op": "replace" if "weight" in place.route[index] else "add",
            "path": f"{place.path}/route/{index}/weight",
            "value": weights[slot],
        }
        for slot, index in place.by_slot.items()
    ]
    return [*name, route, *_patch_mark(document, annotation, mark), *writes]


def _patch_mark(document: Raw, annotation: str, mark: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tests the mark that was read and writes the new one. That none was there can only be tested by resourceVersion."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        raise RouteProblem("invalid", f"metadata: {_short(metadata)} was read; a map is needed")
    path = f"/metadata/annotations/{annotation.replace('~', '~0').replace('/', '~1')}"
    text = json.dumps(mark, ensure_ascii=False, separators=(",", ":"))
    annotations = metadata.get("annotations")
    if isinstance(annotations, dict) and annotation in annotations:
        return [
            {"op": "test", "path": path, "value": annotations[annotation]},
            {"op": "replace", "path": path, "value": text},
        ]
    version = metadata.get("resourceVersion")
    unchanged = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}] if version else []
    if isinstance(annotations, dict):
        return [*unchanged, {"op": "add", "path": path, "value": text}]
    return [*unchanged, {"op": "add", "path": "/metadata/annotations", "value": {annotation: text}}]


def _find(spec: RolloutSpec, document: Raw) -> _Place:
    """The http route that is meant: by its name, or the only one that has one of our destinations."""
    routes = _routes(document)
    if spec.route.http is not None:
        found = [_place(spec, index, raw) for index, raw in enumerate(routes) if raw.get("name") == spec.route.http]
        if not found:
            raise RouteProblem("not-found", f"there is no http route {spec.route.http!r}; {_names(routes)}")
        if len(found) > 1:
            raise RouteProblem("invalid", f"{len(found)} http routes are named {spec.route.http!r}: give each a name of its own")
    else:
        places = [_place(spec, index, raw) for index, raw in enumerate(routes) if _fault(raw.get("route")) is None]
        found = [place for place in places if len(place.by_slot) == 2] or [place for place in places if place.by_slot]
        if len(found) > 1:
            which = ", ".join(place.words for place in found)
            raise RouteProblem(
                "invalid", f"several http routes have the slots' destinations ({which}): name one in spec.route.http"
            )
        if not found:
            raise RouteProblem("not-found", f"no http route has the destinations {_hosts(spec)}; {_names(routes)}")
    if not found[0].by_slot:
        _need_both(spec, found[0])
    return found[0]


def _routes(document: Raw) -> list[Raw]:
    spec = document.get("spec")
    routes = spec.get("http") if isinstance(spec, dict) else None
    if not isinstance(routes, list) or not routes:
        raise RouteProblem("not-found", "the VirtualService has no http routes (spec.http)")
    for index, route in enumerate(routes):
        if not isinstance(route, dict):
            raise RouteProblem("invalid", f"spec.http[{index}]: {_short(route)} was read; a map is needed")
    return routes


def _place(spec: RolloutSpec, http: int, raw: Raw) -> _Place:
    name = raw.get("name")
    place = _Place(http, name if isinstance(name, str) and name else None, raw.get("route", []), {})
    if (fault := _fault(place.route)) is not None:
        raise RouteProblem("not-found", f"{place.words}{fault}")
    by_slot: dict[str, int] = {}
    for slot, wanted in spec.slots.items():
        matching = [index for index, entry in enumerate(place.route) if _is(wanted, entry)]
        if len(matching) > 1:
            raise RouteProblem("invalid", f"{place.words} has the destination {_label(wanted)} {len(matching)} times: keep one")
        if matching:
            by_slot[slot] = matching[0]
    return _Place(place.http, place.name, place.route, by_slot)


def _fault(route: Any) -> str | None:
    """Why this cannot be a list of destinations."""
    if not isinstance(route, list) or not route:
        return " has no destinations (route)"
    for index, entry in enumerate(route):
        if not isinstance(entry, dict) or not isinstance(entry.get("destination"), dict):
            return f": route[{index}] has no destination"
    return None


def _is(slot: Slot, entry: Raw) -> bool:
    destination = entry["destination"]
    return destination.get("host") == slot.host and (destination.get("subset") or None) == slot.subset


def _weights(place: _Place) -> list[int]:
    weights = []
    for index, entry in enumerate(place.route):
        weight = entry.get("weight", 0)
        weight = 0 if weight is None else weight
        if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= MAX_WEIGHT:
            ours = len(place.by_slot) == 2 and index in place.by_slot.values()
            raise RouteProblem(
                "weights" if ours else "invalid",
                f"{place.words}: route[{index}].weight: {_short(weight)} is no weight: a whole number from 0",
            )
        weights.append(weight)
    return weights


def _percent(weight: int, total: int, place: _Place) -> int:
    if total == 0:
        raise RouteProblem("weights", f"{place.words}: the weights sum to 0: no destination would get traffic")
    if weight in (0, total):
        return 100 * weight // total
    return min(max(round(100 * weight / total), 1), 99)


def _need_both(spec: RolloutSpec, place: _Place) -> None:
    for slot, wanted in spec.slots.items():
        if slot not in place.by_slot:
            there = ", ".join(sorted({repr(_host(entry)) for entry in place.route}))
            raise RouteProblem(
                "not-found",
                f"{place.words} has no destination {_label(wanted)} for slot {slot}; there is {there}: add it with weight 0",
            )


def _label(slot: Slot) -> str:
    return repr(slot.host) if slot.subset is None else f"{slot.host!r} subset {slot.subset!r}"


def _hosts(spec: RolloutSpec) -> str:
    return " and ".join(_label(slot) for slot in spec.slots.values())


def _host(entry: Raw) -> str:
    return str(entry["destination"].get("host"))


def _names(routes: list[Raw]) -> str:
    names = [repr(route["name"]) for route in routes if isinstance(route.get("name"), str) and route["name"]]
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    return f"there is {shown}" if names else f"none of its {len(routes)} http routes has a name"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
