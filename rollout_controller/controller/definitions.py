"""Looks whether the cluster's CustomResourceDefinitions know every field of this controller, and says so where they do not.

Helm installs definitions and never upgrades them; an API server drops what they do not know, without a word.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import structlog

from rollout_controller.cluster.store import StoreError
from rollout_controller.cluster.transport import Transport
from rollout_controller.crd.served import OPENAPI_PATH, missing_fields

LOOK_EVERY_S = 600.0
ASK_S = 5.0
SHOWN = 5
OK = 200


class Definitions:
    """One look at a time; says only what is new. A server that does not answer is left to those who depend on it."""

    def __init__(self, wire: Transport, found: Callable[[int], object]) -> None:
        """`found` hears after each look how many fields would be dropped."""
        self._wire, self._found = wire, found
        self._said: tuple[str, ...] = ()
        self._log = structlog.get_logger("controller")

    def look(self) -> None:
        """Ask the API server what it knows."""
        missing = self._missing()
        if missing is None:
            return
        self._found(len(missing))
        if missing != self._said and missing:
            more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
            self._log.error(
                "the cluster's CustomResourceDefinitions are older than this controller and drop fields of it",
                fields=", ".join(missing[:SHOWN]) + more,
                do="kubectl apply --server-side --force-conflicts -f the chart's crds/ (docs/kubernetes.md, Upgrades)",
            )
        elif missing != self._said:
            self._log.info("the cluster's CustomResourceDefinitions know every field")
        self._said = missing

    def _missing(self) -> tuple[str, ...] | None:
        """None: not known."""
        try:
            answer = self._wire.call("GET", OPENAPI_PATH, timeout_s=ASK_S)
            return tuple(missing_fields(json.loads(answer.body))) if answer.status == OK else None
        except (StoreError, ValueError, AttributeError, TypeError, KeyError):  # no answer, or none that is OpenAPI
            return None
