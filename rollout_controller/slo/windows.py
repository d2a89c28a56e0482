"""Windows in memory: a ring of counts per identity and question, and the pairing of two slots' rings. Pure.

Windows are numbered by their end: window k is (k-1)W < t <= kW. What an absent identity means is decided here:

* A counter that is scraped but idle is present with 0, so present means known. Absent means: no sample in the window.
* An identity that was **never** seen has no series yet: mesh and Envoy make a counter with its first request. While the
  other slot of the same route is seen (same proxies, same scrape), that is zero traffic: (0, 0). Zero requests are
  evidence of nothing, so this never reads as health. When neither slot is seen, nothing is known.
* An identity that **was** seen (now, or in the hour before the first window read) and is absent is not scraped:
  the window is missing. Its counts come with the next window that is there - its baseline is the last sample before -
  and that window begins where the last known one ended.
* Absent stable with canary present counts as (0, 0): at 100 % stable has no traffic, and its series may go.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rollout_controller.core.observation import Counts, Slower, Window
from rollout_controller.slo.decode import ABSENT, BAD, NO_BASELINE, Pair

UNREAD: Final = -4
"""Never asked for, or too long ago."""
NEVER: Final = 1 << 62


class Ring:
    """The last windows of one identity and question. Not locked: its owner is."""

    def __init__(self, size: int, read_to: int) -> None:
        self._size = size
        self._total = array("q", [UNREAD]) * size
        self._bad = array("q", [UNREAD]) * size
        self.read_to = read_to
        """The newest window that was read; those after it are asked for next."""
        self.first = read_to + 1
        """The oldest window that was asked for."""
        self.seen_from: int | None = None
        """The first window known to have data; NEVER: none so far; None: not yet looked up."""

    def put(self, k: int, pair: Pair) -> None:
        """Take in window k; windows that were skipped stay unread."""
        for skipped in range(max(self.read_to + 1, k - self._size + 1), k):
            self._set(skipped, (UNREAD, UNREAD))
        self._set(k, pair)
        self.read_to = max(self.read_to, k)
        if pair[0] != ABSENT:
            self.seen_from = min(k, NEVER if self.seen_from is None else self.seen_from)

    def get(self, k: int) -> Pair:
        if not self.oldest <= k <= self.read_to:
            return UNREAD, UNREAD
        return self._total[k % self._size], self._bad[k % self._size]

    @property
    def oldest(self) -> int:
        """The oldest window still held."""
        return max(self.first, self.read_to - self._size + 1)

    def rewind(self, read_to: int) -> None:
        """Read again from the window after `read_to`; the same counts will be found."""
        self.read_to, self.first = read_to, read_to + 1
        self.seen_from = None

    def unseen(self, k: int) -> bool:
        """Whether no sample of this identity was known at window k."""
        return k < (NEVER if self.seen_from is None else self.seen_from)

    def _set(self, k: int, pair: Pair) -> None:
        self._total[k % self._size], self._bad[k % self._size] = pair


@dataclass(frozen=True)
class Paired:
    """Windows of both slots, oldest first, and how many were dropped because their counts cannot be trusted."""

    windows: tuple[Window, ...]
    dropped: int


def canary_counts(canary: Ring, stable: Ring, k: int) -> Pair:
    """The canary's counts in window k, with "never seen while stable is" read as no traffic."""
    pair = canary.get(k)
    if pair[0] == ABSENT and canary.unseen(k) and stable.get(k)[0] >= 0:
        return 0, 0
    return pair


def pair(canary: Ring, stable: Ring, window_s: float, after: int) -> Paired:
    """All windows after window `after` in which the canary's counts are known."""
    windows: list[Window] = []
    start, held, dropped = after, Counts(0, 0), 0
    newest = min(canary.read_to, stable.read_to)
    oldest = max(after + 1, canary.oldest, stable.oldest)
    if oldest > after + 1:
        start = oldest - 1
    for k in range(oldest, newest + 1):
        c, s = canary_counts(canary, stable, k), stable.get(k)
        if UNREAD in (c[0], s[0]):
            start, held = k, Counts(0, 0)
            continue
        if s[0] >= 0:
            held += Counts(*s)
        if c[0] in (BAD, NO_BASELINE):
            start, held, dropped = k, Counts(0, 0), dropped + 1
        elif c[0] >= 0:
            windows.append(Window(start=start * window_s, end=k * window_s, canary=Counts(*c), stable=held))
            start, held = k, Counts(0, 0)
        elif canary.unseen(k):
            start = k
    return Paired(tuple(windows), dropped)


def with_edges(windows: Sequence[Window], beside: Mapping[float, Sequence[Window]]) -> tuple[Window, ...]:
    """The windows with what is slower than the edges beside their own; an edge that has no such window is left out of it."""
    by_span = [(edge, {(w.start, w.end, w.canary.total, w.stable.total): w for w in there}) for edge, there in beside.items()]
    found = []
    for window in windows:
        span = (window.start, window.end, window.canary.total, window.stable.total)
        same = [(edge, there[span]) for edge, there in by_span if span in there]
        found.append(window._replace(slower=tuple([Slower(edge, w.canary.bad, w.stable.bad) for edge, w in same])))
    return tuple(found)


def missing_for(canary: Ring, stable: Ring, horizon: int, at_most: int) -> int:
    """How many of the newest windows up to `horizon` are not known for the canary; stops at `at_most`."""
    count = 0
    while count < at_most and canary_counts(canary, stable, horizon - count)[0] < 0:
        count += 1
    return count


def newest_fault(canary: Ring, stable: Ring) -> int:
    """BAD or NO_BASELINE when the newest window that was read is one of these, else ABSENT."""
    newest = canary.get(min(canary.read_to, stable.read_to))[0]
    return newest if newest in (BAD, NO_BASELINE) else ABSENT
