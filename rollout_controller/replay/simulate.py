"""Thousands of attempts over all cores. Attempt number i has the same fate whatever the number of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field

from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.replay.attempt import Play, Result, play
from rollout_controller.replay.world import Harm, World
from rollout_controller.slo.sources import Sources
from rollout_controller.slo.wants import edges_beside

CHUNK = 2
"""Attempts that a process plays before it answers: less than a second."""
_AHEAD = 2
"""Chunks per process that wait, so that none is ever idle."""

Progress = Callable[[int, int], None]
"""Called with the attempts of each kind that are done, and how many there will be at most."""


@dataclass(frozen=True)
class Ask:
    """What is played: each of `plays` (by name) `attempts` times.

    `seconds`: no chunk is begun after so long; then there are fewer attempts, of all plays in the same proportion.
    """

    plays: Mapping[str, Play]
    attempts: int
    more: Mapping[str, int] = field(default_factory=dict)
    """By play: so many times as many attempts of it, where fewer would say too little."""
    seed: int = 1
    first: int = 0
    """Number of the first attempt: to go on where another simulation ended."""
    processes: int = 0
    """0: one a core."""
    seconds: float | None = None


def beside(policy: RolloutPolicy, sources: Sources) -> dict[str, tuple[float, ...]]:
    """Bucket edges in milliseconds beside each latency SLO's own, as the reader asks for them."""
    if policy.spec.compare_to_stable is None:
        return {}
    slos = [slo for slo in policy.spec.slos if slo.latency is not None]
    return {slo.name: edges_beside(sources[slo.source], round(slo.latency.max * 1000, 6)) for slo in slos if slo.latency}


def play_of(policy: RolloutPolicy, world: World, harm: Harm, sources: Sources, *, insist: bool = False) -> Play:
    """A play as the product would read it."""
    return Play(policy, world, harm, beside(policy, sources), insist)


def simulate(ask: Ask, progress: Progress | None = None) -> dict[str, list[Result]]:
    """The results by play, in the order of the attempts.

    Raises:
        KeyboardInterrupt: as it comes; the processes are ended before.
    """
    count = ask.processes or os.cpu_count() or 1
    ends_at = ask.first + ask.attempts
    chunks = [range(begin, min(begin + CHUNK, ends_at)) for begin in range(ask.first, ends_at, CHUNK)]
    ends = None if ask.seconds is None else time.monotonic() + ask.seconds
    results: dict[str, list[Result]] = {name: [] for name in ask.plays}
    say = progress or (lambda _done, _most: None)
    if count == 1 or len(chunks) * len(ask.plays) == 1:
        _keep(ask.plays)
        for number, chunk in enumerate(chunks):
            if ends is not None and number and time.monotonic() >= ends:
                break
            for name in ask.plays:
                results[name] += _chunk(name, ask.seed, _stretched(ask, name, chunk))
            say(chunk.stop - ask.first, ask.attempts)
        return results
    for chunk, played in _in_processes(ask, chunks, count, ends):
        for name, some in played.items():
            results[name] += some
        say(chunk.stop - ask.first, ask.attempts)
    return results


def _in_processes(
    ask: Ask, chunks: Sequence[range], count: int, ends: float | None
) -> Iterator[tuple[range, dict[str, list[Result]]]]:
    """Chunks in their order, as many at work as there are processes, none begun after `ends`."""
    pool = ProcessPoolExecutor(
        count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(dict(ask.plays),)
    )
    waiting: deque[tuple[range, dict[str, Future[list[Result]]]]] = deque()
    todo = deque(chunks)
    try:
        while todo or waiting:
            if ends is not None and time.monotonic() >= ends and len(todo) < len(chunks):
                todo.clear()
                _drop_what_has_not_begun(waiting)
            while todo and len(waiting) * len(ask.plays) < count * _AHEAD:
                chunk = todo.popleft()
                waiting.append(
                    (chunk, {name: pool.submit(_chunk, name, ask.seed, _stretched(ask, name, chunk)) for name in ask.plays})
                )
            if waiting:
                chunk, futures = waiting.popleft()
                yield chunk, {name: future.result() for name, future in futures.items()}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _stretched(ask: Ask, name: str, chunk: range) -> range:
    """The numbers of a play's own attempts in a chunk."""
    times = ask.more.get(name, 1)
    return range(chunk.start * times, chunk.stop * times)


def _drop_what_has_not_begun(waiting: deque[tuple[range, dict[str, Future[list[Result]]]]]) -> None:
    """The first chunk stays, and those after it that all processes are at."""
    for index, (_, futures) in enumerate(waiting):
        if index and not all(future.running() or future.done() for future in futures.values()):
            while len(waiting) > index:
                waiting.pop()
            return


_plays: dict[str, Play] = {}
"""In a process: what it plays."""


def _begin(plays: dict[str, Play]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asked ends us
    _keep(plays)


def _keep(plays: Mapping[str, Play]) -> None:
    _plays.clear()
    _plays.update(plays)


def _chunk(name: str, seed: int, numbers: range) -> list[Result]:
    return [play(_plays[name], f"{seed}/{number}") for number in numbers]
