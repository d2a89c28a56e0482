"""How much a version's bad share varies from minute to minute when nothing much happens, learned from stable.

Error rates and latencies that go up and down with load, neighbours or kinds of requests say nothing about a version. Here v is
their variance over p (1 - p): the counts of an arm with n requests a minute vary 1 + v n times as much as those of independent
requests, and evidence is divided by that, for each arm by its own n. Minutes, because what goes up and down does so for a while:
windows of seconds look alike. Where minutes that follow each other look alike, too, they tell as much as fewer would, and v is
that many times larger.

The worst stretch of a quarter of the minutes is left out: what happened once is an incident, and must not make the judge blind.
What happened twice is how the service is: rates that go up and down do so under the next version, too. Minutes that stand out
count as ten times the usual share. Of a few minutes v is not known well, so it is taken for one standard deviation more than
was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import sqrt
from operator import add, mul, sub, truediv

from rollout_controller.api.evidence import Minutes
from rollout_controller.api.meta import evolve, unchecked
from rollout_controller.core.judge.compared import OWN
from rollout_controller.core.judge.dispersion import beyond_chance
from rollout_controller.core.observation import Counts, Slower
from rollout_controller.core.rounding import rounded

_ONLY_OWN: tuple[float, ...] = (OWN,)
MINUTE_S = 60.0
_EARLY_S = 3.0
"""A minute is over so much earlier: timers are."""
_KEPT = 20
"""Minutes."""
_FEWEST = 6
_LEFT_OUT = 4
"""One in so many."""
_STANDS_OUT = 10.0
"""Times the usual share: what is more than that are pods that died, say. Such bursts are told from harm by how long they last
(mixture.grow); as a variance they make the judge blind to what happens in between. With less (four times) hiccups of many pods
that follow each other would be harm."""
_MOST_ALIKE = 2 / 3
"""Correlation of one minute and the next: five minutes tell as much as one. More is not to be seen in twenty."""
_SURE = 4.0
"""Standard deviations over the variance of independent requests, for each set of minutes that is looked at: there are many."""
_WORTH_A_LOOK = 1.5
"""The same for all minutes together: without as much there is nothing to be sorted out."""


def remember(minutes: Minutes, seconds: float, stable: Counts, slower: Sequence[Slower]) -> Minutes:
    """With one more window of stable; windows without its traffic say nothing.

    Without the same edges as before it begins anew.
    """
    if stable.total == 0:
        return minutes
    edges, counts = _ONLY_OWN, tuple(stable)
    if slower:
        beside, _, bad = zip(*slower, strict=False)
        edges, counts = (OWN, *beside), (*counts, *bad)
    if minutes.edges != edges:
        return Minutes(edges=edges, seconds=seconds, now=counts, counts=((),) * len(counts), variation=(0.0,) * len(edges))
    if minutes.seconds < MINUTE_S - _EARLY_S:
        fields = {
            "edges": edges,
            "seconds": rounded(minutes.seconds + seconds, 1e3),
            "now": tuple(map(add, minutes.now, counts)),
            "counts": minutes.counts,
            "variation": minutes.variation,
        }
        return unchecked(Minutes, fields)
    rows = tuple([(*row[1 - _KEPT :], count) for row, count in zip(minutes.counts, minutes.now, strict=True)])
    return evolve(
        minutes, seconds=seconds, now=counts, counts=rows, variation=tuple([of_ordinary(rows[0], bad) for bad in rows[1:]])
    )


def of_ordinary(totals: Sequence[int], bads: Sequence[int]) -> float:
    """V of the minutes without their worst stretch; 0 where nothing, or nothing for sure, says that it is more."""
    if len(totals) < _FEWEST or _beyond_chance(totals, bads, _WORTH_A_LOOK) == 0:
        return 0.0
    bads = _without_bursts(totals, bads)
    out = len(totals) // _LEFT_OUT
    total, bad = sum(totals), sum(bads)
    too_many = list(accumulate([b * total - bad * t for t, b in zip(totals, bads, strict=True)], initial=0))  # times all requests
    stretches = list(map(sub, too_many[out:], too_many))
    worst = stretches.index(max(stretches))
    left = slice(worst, worst + out)
    totals, bads = _without(totals, left), _without(bads, left)
    varies = _beyond_chance(totals, bads, _SURE)
    return round(varies * _minutes_alike(totals, bads), 9) if varies else 0.0


def _without_bursts(totals: Sequence[int], bads: Sequence[int]) -> list[int]:
    """Bad requests up to what is plausible where the share is ten times that of the better half of the minutes."""
    better = sorted(range(len(totals)), key=lambda i: bads[i] / totals[i])[: len(totals) // 2]
    usual = sum([bads[i] for i in better]) / sum([totals[i] for i in better])
    means = [usual * total for total in totals]
    return [min(bad, round(_STANDS_OUT * mean + 3 * sqrt(mean) + 2)) for bad, mean in zip(bads, means, strict=True)]


def _minutes_alike(totals: Sequence[int], bads: Sequence[int]) -> float:
    """For how many minutes a share stays as it is: (1 + r) / (1 - r) with the correlation r of one minute and the next."""
    share = sum(bads) / sum(totals)
    off = [(bad - share * total) / sqrt(total) for total, bad in zip(totals, bads, strict=True)]
    squares = sum([each * each for each in off])
    together = sum([a * b for a, b in pairwise(off)])
    r = min(max(together / squares, 0.0), _MOST_ALIKE) if squares else 0.0
    return (1 + r) / (1 - r)


def _without(counts: Sequence[int], left_out: slice) -> list[int]:
    return [*counts[: left_out.start], *counts[left_out.stop :]]


def _beyond_chance(totals: Sequence[int], bads: Sequence[int], sure: float) -> float:
    """V if it is surely more than 0, and as much as it may well be."""
    total, squares = sum(totals), sum(map(truediv, map(mul, bads, bads), totals))
    ratio = beyond_chance(len(totals), total, sum(bads), squares, sure=sure)
    doubt = 1 + sqrt(2 / (len(totals) - 1))
    return round((ratio - 1) * doubt * len(totals) / total, 9)


def at(minutes: Minutes, edge_ms: float) -> float:
    """V at an edge; 0 if nothing is known of it."""
    if edge_ms == OWN:
        return minutes.variation[0] if minutes.variation else 0.0
    return minutes.variation[minutes.edges.index(edge_ms)] if edge_ms in minutes.edges else 0.0


def effect(variation: float, requests: float) -> float:
    """What evidence of an arm is divided by that has so many requests a minute, or in a window that is longer than that."""
    return 1 + variation * requests
