"""All dashboards, as the JSON that Grafana reads."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from tools.dashboards import controller, fleet, rollout, triton
from tools.dashboards.parts import Board

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "dashboards", ROOT / "helm" / "rollout-controller" / "files" / "dashboards")
"""For people, and for the chart: Helm reads only what is inside of it."""
BOARDS: dict[str, Board] = {
    "rollout": rollout.BOARD,
    "fleet": fleet.BOARD,
    "triton": triton.BOARD,
    "controller": controller.BOARD,
}


def texts() -> dict[str, str]:
    """By file name, what the file must be."""
    return {
        f"{name}.json": json.dumps(board.build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, board in BOARDS.items()
    }
