"""A world at work: windows of counts of both versions, drawn as time goes on. Seeded: the same seed, the same fates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import erfc, floor, log, pi, sin, sqrt
from random import Random
from typing import NamedTuple

from rollout_controller.replay.chance import binomial, poisson
from rollout_controller.replay.world import Harm, Hiccups, World

CANARY, STABLE = 0, 1
_Z95 = 1.6448536269514722
"""The normal deviate of which 95 % are smaller."""
_DAY_S = 86_400.0


class Arm(NamedTuple):
    """One version's requests in a window: all that were completed, failed ones, those slower than each edge, hung ones."""

    total: int
    errors: int
    slower: tuple[int, ...]
    hung: int = 0


class Seen(NamedTuple):
    """Both versions in (start, end], seconds since 1970."""

    start: float
    end: float
    canary: Arm
    stable: Arm


class Times:
    """Stretches of time that come again and again; asked about ever later times."""

    def __init__(self, rng: Random, length: float, every: float, begin: float, *, regular: bool) -> None:
        self.length, self._every, self._rng, self._regular = length, every, rng, regular
        self._next = begin + (rng.random() * every if regular else rng.expovariate(1 / every))
        self._known: list[float] = []

    def within(self, start: float, end: float) -> float:
        """How much of (start, end] is in such a stretch, from 0 to 1."""
        while self._next < end:
            self._known.append(self._next)
            self._next += self._every if self._regular else self.length + self._rng.expovariate(1 / (self._every - self.length))
        while self._known and self._known[0] + self.length <= start:
            self._known.pop(0)
        covered = sum([max(0.0, min(end, at + self.length) - max(start, at)) for at in self._known])
        return covered / (end - start)


@dataclass
class Fates:
    """What happens by itself in one attempt, whatever the controller does."""

    hour: float
    hiccups: tuple[tuple[tuple[Hiccups, tuple[Times, ...]], ...], ...]
    """By version: of each of its pods."""
    gaps: Times | None
    flicker: Random
    levels: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Multipliers of both versions by number of the stretch."""


def fates(world: World, rng: Random, begin: float) -> Fates:
    """Drawn once for an attempt, before anything else, so that two policies meet the same ones."""
    arms = tuple(tuple((each, _pods(each, which, rng, begin)) for each in world.hiccups) for which in (CANARY, STABLE))
    gap = world.gaps
    gaps = None if gap is None else Times(Random(rng.random()), gap.length, gap.every, begin, regular=True)
    return Fates(rng.random() * _DAY_S, arms, gaps, Random(rng.random()))


def _pods(each: Hiccups, which: int, rng: Random, begin: float) -> tuple[Times, ...]:
    """The hiccups of each of a version's pods."""
    count = each.pods if which == CANARY or each.stable_pods is None else each.stable_pods
    seeds = [rng.random() for _ in range(count)]
    return tuple(Times(Random(seed), each.length, each.every, begin, regular=each.regular) for seed in seeds)


class Traffic:
    """Counts window after window. `edges` are in seconds and rise; times are seconds since 1970."""

    def __init__(self, world: World, harm: Harm, edges: Sequence[float], rng: Random, begin: float) -> None:
        self._world, self._harm, self._edges, self._begin = world, harm, tuple(edges), begin
        self.fates = fates(world, rng, begin)
        self._rng = Random(rng.random())
        self.weight = 0
        """Of the canary, in percent, as the proxies have it at the end of what was drawn."""
        self._changes: list[tuple[float, int]] = []
        self.first_traffic_at: float | None = None
        self._warm_since: float | None = None
        self._highest = 0
        self.harmed_since: float | None = None
        """When users first met the harm."""
        self._at = begin
        self._owed = [0.0, 0.0]
        self._mu = log(world.p95) - _Z95 * world.sigma

    def shift(self, at: float, weight: int) -> None:
        """The weights are written; they take effect a little later."""
        self._changes.append((at + self._world.shift, weight))

    @property
    def next_end(self) -> float:
        """When the next window is over."""
        return (floor(self._at / self._world.scrape + 1e-6) + 1) * self._world.scrape

    def window(self) -> Seen:
        """The next window; it must be over, because what is shifted later would not be in it.

        Windows end at multiples of the scrape interval.
        """
        start, end = self._at, self.next_end
        arms = [Arm(0, 0, (0,) * len(self._edges)), Arm(0, 0, (0,) * len(self._edges))]
        for left, right in self._pieces(start, end):
            for which in (CANARY, STABLE):
                share = self.weight / 100 if which == CANARY else 1 - self.weight / 100
                if share > 0:
                    arms[which] = _sum(arms[which], self._draw(which, share, left, right))
        self._at = end
        return Seen(start, end, *arms)

    def _pieces(self, start: float, end: float) -> Iterator[tuple[float, float]]:
        """Stretches of one weight and one truth about the harm."""
        left = start
        while self._changes and self._changes[0][0] < end:
            at, weight = self._changes.pop(0)
            if at > left:
                yield from self._split_at_harm(left, at)
                left = at
            self._set(at, weight)
        yield from self._split_at_harm(left, end)

    def _split_at_harm(self, left: float, right: float) -> Iterator[tuple[float, float]]:
        begins = None if self.first_traffic_at is None else self.first_traffic_at + self._harm.after
        if begins is not None and left < begins < right:
            yield left, begins
            left = begins
        if begins is not None and left >= begins and self._enough and not self._harm.none:
            self.harmed_since = left if self.harmed_since is None else self.harmed_since
        yield left, right

    def _set(self, at: float, weight: int) -> None:
        self.weight = weight
        if weight > 0 and self.first_traffic_at is None:
            self.first_traffic_at = at
        if weight > self._highest:
            self._highest, self._warm_since = weight, at

    @property
    def _enough(self) -> bool:
        """Whether the canary has the traffic at which it hurts."""
        return self.weight > 0 and self.weight >= self._harm.from_weight * 100 - 1e-9

    def hurts(self, at: float) -> bool:
        """Whether the harm is there at a time, given today's weight."""
        first = self.first_traffic_at
        return first is not None and at >= first + self._harm.after and self._enough

    # --- one version in one stretch ---------------------------------------------------------------------------

    def _draw(self, which: int, share: float, start: float, end: float) -> Arm:
        world, rng = self._world, self._rng
        middle, seconds = (start + end) / 2, end - start
        mean = world.rps * share * seconds * (1 + world.daily * sin(2 * pi * (middle - self._begin + self.fates.hour) / _DAY_S))
        total = poisson(rng, mean) if world.arrivals == "poisson" else self._even(which, mean)
        harmed = which == CANARY and self.hurts(middle)
        hung = binomial(rng, total, self._harm.hang) if harmed else 0
        total -= hung
        if harmed and self._harm.outage:
            return Arm(total, total, (0,) * len(self._edges), hung)
        dead, slow_share, slow_by = self._hiccup(which, start, end)
        level = self._flicker(which, middle)
        errors, slower = self._rates(which, middle, harmed=harmed)
        met = binomial(rng, total, dead)
        left = total - met
        failed = met + self._clustered(left, min(errors * level, 1.0))
        tails = [self._tail(edge, slower) * level for edge in self._edges]
        if slow_share > 0:
            longer = [self._tail(edge, slower * slow_by) for edge in self._edges]
            tails = [(1 - slow_share) * tail + slow_share * long for tail, long in zip(tails, longer, strict=True)]
        return Arm(total, failed, self._slower(left, tails), hung)

    def _even(self, which: int, mean: float) -> int:
        """Whole requests; what is left over is owed."""
        owed = self._owed[which] + mean
        whole = int(owed + 1e-9)
        self._owed[which] = owed - whole
        return whole

    def _hiccup(self, which: int, start: float, end: float) -> tuple[float, float, float]:
        """Shares of the requests that meet a dead pod and a slow one, and how slow that is."""
        alive, slow, by = 1.0, 0.0, 1.0
        for each, times in self.fates.hiccups[which]:
            met = sum([pod.within(start, end) for pod in times]) / len(times) if times else 0.0
            if each.what == "dead":
                alive *= 1 - met
            elif met > 0:
                slow, by = min(slow + met, 1.0), max(by, each.slower)
        return 1 - alive, slow, by

    def _rates(self, which: int, at: float, *, harmed: bool) -> tuple[float, float]:
        """The probability that a request fails, and by what latency is multiplied."""
        world, harm = self._world, self._harm
        hours = (at - self._begin) / 3600
        errors = harm.errors if harmed and harm.errors is not None else world.errors
        slower = harm.p95 / world.p95 if harmed and harm.p95 is not None else 1.0
        errors *= world.drift.errors_per_hour**hours
        slower *= world.drift.latency_per_hour**hours
        if self.first_traffic_at is not None:
            since = at - self.first_traffic_at
            for incident in world.incidents:
                if incident.at <= since < incident.at + incident.length:
                    errors += incident.errors
                    slower *= incident.slower
        cold = world.cold_start
        if cold is not None and which == CANARY and self._warm_since is not None and at - self._warm_since < cold.length:
            left = 1 - (at - self._warm_since) / cold.length
            errors += left * cold.errors
            slower *= 1 + left * (cold.slower - 1)
        return errors, slower

    def _flicker(self, which: int, at: float) -> float:
        """A gamma variable of mean 1, the same for a while."""
        flicker = self._world.flicker
        if flicker is None:
            return 1.0
        number = floor(at / flicker.every)
        levels = self.fates.levels
        if number not in levels:
            shape = 1 / flicker.spread**2
            first, second = (self.fates.flicker.gammavariate(shape, 1 / shape) for _ in (CANARY, STABLE))
            levels[number] = (first, first if flicker.shared else second)
        return levels[number][which]

    def _clustered(self, total: int, share: float) -> int:
        """How many of `total` have a property that whole batches share."""
        batch = self._world.batch
        if batch == 1:
            return binomial(self._rng, total, share)
        whole, rest = divmod(total, batch)
        return batch * binomial(self._rng, whole, share) + rest * (self._rng.random() < share)

    def _tail(self, edge: float, slower: float) -> float:
        """The share of requests that take longer than `edge`."""
        return 0.5 * erfc((log(edge) - self._mu - log(slower)) / (self._world.sigma * sqrt(2)))

    def _slower(self, total: int, tails: Sequence[float]) -> tuple[int, ...]:
        """How many are slower than each edge; who is slower than one is slower than all below it."""
        counts: list[int] = []
        among, before = total, 1.0
        for tail in tails:
            here = min(tail, before)
            among = self._clustered(among, here / before) if before > 0 else 0
            before = here
            counts.append(among)
        return tuple(counts)


def _sum(a: Arm, b: Arm) -> Arm:
    slower = tuple(x + y for x, y in zip(a.slower, b.slower, strict=True))
    return Arm(a.total + b.total, a.errors + b.errors, slower, a.hung + b.hung)
