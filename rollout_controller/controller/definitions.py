"""Says at the start whether the cluster's CustomResourceDefinitions are older than this controller: Helm never upgrades them."""

from __future__ import annotations

import json
import threading

import structlog

from rollout_controller.cluster.store import Unavailable
from rollout_controller.cluster.transport import Transport

TIMEOUT_S = 10.0
SHOWN = 10
_log = structlog.get_logger("definitions")


def look_in_the_background(wire: Transport) -> None:
    """Begin to look; nobody waits for it, and whether it can be found out does not matter to anything else."""
    threading.Thread(target=look, args=(wire,), name="definitions", daemon=True).start()


def look(wire: Transport) -> None:
    """Log which fields the API server would drop from what we write, without a word."""
    from rollout_controller.crd.served import OPENAPI_PATH, missing_fields  # noqa: PLC0415 - makes all schemas

    try:
        answer = wire.call("GET", OPENAPI_PATH, timeout_s=TIMEOUT_S)
        missing = missing_fields(json.loads(answer.body)) if answer.status == 200 else []
    except (Unavailable, ValueError) as error:
        _log.info("whether the cluster's definitions are up to date is not known", error=str(error))
        return
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        _log.error(
            "the cluster's definitions are older than this controller: what it writes here is lost (docs/kubernetes.md, Upgrade)",
            missing=", ".join(missing[:SHOWN]) + more,
        )
