"""How often a status is written for its evidence alone: so seldom that workers have time to judge and to move traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WRITES_PER_S = 10.0
"""By all attempts together: up to 300 attempts each is written every 30 s, 1,000 every 100 s. A write costs more than all that is
judged between two, and an API server has other things to do."""
PART = 0.2
"""Of the workers' time at most; with a slow disk or API server there are fewer writes."""
LONGEST_S = 240.0
"""But no later than this: the windows since then are read again after a restart, and at most ten minutes are asked for."""
_REMEMBERED = 8
"""About so many of the newest writes say how long one takes."""


class EvidencePace:
    """Learns from each such write how long it takes. Threads may share one: of two at the same moment one may be forgotten."""

    def __init__(self, workers: int = 1, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._time, self._monotonic = workers * PART, monotonic
        self._write_s = 0.0

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Around a write of evidence; one that fails took its time, too."""
        began = self._monotonic()
        try:
            yield
        finally:
            self._write_s += (self._monotonic() - began - self._write_s) / _REMEMBERED

    def between_s(self, attempts: int) -> float:
        """Seconds between two writes of an attempt's evidence, with so many attempts under way."""
        return min(attempts * max(1 / WRITES_PER_S, self._write_s / self._time), LONGEST_S)
