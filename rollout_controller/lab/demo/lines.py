"""The play as plain lines, for a pipe: one for each change, without colours or control characters."""

from __future__ import annotations

from collections.abc import Callable

from rollout_controller.lab.demo.scene import Scene
from rollout_controller.lab.demo.summary import Row, seconds

Say = Callable[[str], None]


class Lines:
    """Says what is new since the scene before."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._acts = 0
        self._told: set[tuple[float, str]] = set()
        self._done = 0

    def show(self, scene: Scene) -> None:
        """Say what this scene adds: acts that begin, what the controller told, acts that are over."""
        if scene.number > self._acts and scene.act is not None:
            self._acts = scene.number
            self._line(scene, f"{scene.number} of {scene.total}  version {scene.act.version}: {scene.act.what}")
        for told in scene.told:
            if (told.at, told.sentence) not in self._told:
                self._told.add((told.at, told.sentence))
                self._line(scene, f"       {told.sentence}")
        for row in scene.done[self._done :]:
            self._line(scene, f"       {ended(row)}")
        self._done = max(self._done, len(scene.done))

    def _line(self, scene: Scene, text: str) -> None:
        self._say(f"{scene.elapsed_s:6.1f} s  {text}")


def ended(row: Row) -> str:
    """One sentence: how an attempt ended and what it cost."""
    cost = "" if row.harm_s is None else f", {seconds(row.harm_s)} after the first bad request, {row.bad:,} bad requests in all"
    return f"version {row.version} {row.outcome}{cost}" + ("" if row.good else "  (NOT as it should)")
