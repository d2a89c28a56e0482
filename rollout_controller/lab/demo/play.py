"""Plays CI: asks for one version after the other, and waits for the end of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rollout_controller.lab.demo.record import Played, Record
from rollout_controller.lab.demo.script import Act, differences, serving_after
from rollout_controller.lab.demo.stage import Stage

LOOK_EVERY_S = 0.25
WARM_UP_S = 4.0
"""Traffic on stable before the first ask: a view that begins empty tells nothing."""
SETTLE_S = 2.5
"""Between two attempts; requests under way are answered and logged meanwhile."""
ACT_TIMEOUT_S = 75.0
"""An attempt that takes longer has failed the play: a good one needs about 40 s."""
FIRST_VERSION = "1"


class Play:
    """One play on a stage that is up. `show` is called after each look."""

    def __init__(self, stage: Stage, record: Record, name: str, show: Callable[[], None]) -> None:
        self._stage, self._record, self._name, self._show = stage, record, name, show

    def run(self, acts: Sequence[Act]) -> None:
        """Play all acts; the record tells how they ended. Raises StageFailed."""
        self.pass_time(WARM_UP_S)
        for act, serving in zip(acts, serving_after(acts, FIRST_VERSION), strict=True):
            played = self._record.begin(act)
            self._stage.trigger(self._name, act.version, act.request, lambda: self.pass_time(LOOK_EVERY_S))
            self._until_over(played)
            self.pass_time(SETTLE_S)
            played.weights_after = self._record.weights_by_version()
            played.differences = tuple(differences(played.ending, serving))
            if played.record is None:
                return  # the next ask would be answered in the middle of this attempt

    def _until_over(self, played: Played) -> None:
        ends = time.monotonic() + ACT_TIMEOUT_S
        while played.record is None and time.monotonic() < ends:
            self.pass_time(LOOK_EVERY_S)

    def pass_time(self, seconds: float) -> None:
        """Look and show until so much time has passed."""
        ends = time.monotonic() + seconds
        while True:
            self._stage.check()
            self._record.look()
            self._show()
            left = ends - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(LOOK_EVERY_S, left))
