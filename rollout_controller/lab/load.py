"""Open-loop load: KServe v2 inference requests with real tensors, arriving at random times whether or not answers come back."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import sys
import time
from array import array
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import aiohttp

from rollout_controller.lab.processes import Server, python_server

SHAPE = (1, 3, 32, 32)
TENSORS = 32
"""Different images that are sent, made before the start: random numbers cost more than a request."""


@dataclass(frozen=True)
class Load:
    """What to send.

    `rps` is the mean rate of a Poisson process; arrivals beyond `max_in_flight` unanswered ones are dropped and counted.
    """

    url: str
    rps: float
    seconds: float
    model: str = "classifier"
    host: str | None = None
    seed: int = 1
    max_in_flight: int = 2000
    timeout_s: float = 20.0


@dataclass
class Second:
    """What happened within one second. Requests count where they are answered, arrivals where they arrive."""

    sent: int = 0
    dropped: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)

    def line(self, at: float, in_flight: int) -> str:
        """One JSON object; `at` is seconds since 1970 at the end of that second."""
        latencies = sorted(self.latencies_ms)
        quantiles = (
            {name: round(latencies[int(q * (len(latencies) - 1))], 2) for name, q in QUANTILES.items()} if latencies else {}
        )
        facts = {"at": round(at, 3), "sent": self.sent, "dropped": self.dropped, "in_flight": in_flight}
        return json.dumps({**facts, "outcomes": dict(sorted(self.outcomes.items())), "latency_ms": quantiles})


QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}


def load_server(
    log: Path, url: str, *, rps: float, out: Path, seconds: float = 3600.0, seed: int = 1, host: str | None = None
) -> Server:
    """The generator as a process of its own; `out` gets a line a second."""
    arguments = ["--url", url, "--rps", f"{rps:g}", "--out", str(out), "--seconds", f"{seconds:g}", "--seed", str(seed)]
    arguments += [] if host is None else ["--host", host]
    return python_server("load", __name__, arguments, log, grace_s=2.0)


def bodies(seed: int) -> tuple[bytes, list[bytes]]:
    """The JSON head of every request, and the bodies: that head and one random image (KServe's binary tensor extension)."""
    chance = random.Random(seed)  # noqa: S311 - images, not secrets
    size = SHAPE[1] * SHAPE[2] * SHAPE[3]
    image = {"name": "IMAGE", "shape": list(SHAPE), "datatype": "FP32", "parameters": {"binary_data_size": 4 * size}}
    head = json.dumps({"inputs": [image], "outputs": [{"name": "SCORES", "parameters": {"binary_data": True}}]}).encode()
    return head, [head + array("f", [chance.gauss(0.0, 1.0) for _ in range(size)]).tobytes() for _ in range(TENSORS)]


class Generator:
    """Sends a Load and writes one line a second."""

    def __init__(self, load: Load, out: TextIO) -> None:
        self._load = load
        self._out = out
        self._now = Second()
        self._tasks: set[asyncio.Task[None]] = set()
        self._url = f"{load.url.rstrip('/')}/v2/models/{load.model}/infer"
        head, self._bodies = bodies(load.seed)
        self._headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
        if load.host:
            self._headers["Host"] = load.host

    async def run(self, stop: asyncio.Event) -> None:
        """Send until the time is up or `stop` is set; then wait for nobody."""
        timeout = aiohttp.ClientTimeout(total=self._load.timeout_s)
        async with aiohttp.ClientSession(
            timeout=timeout, connector=aiohttp.TCPConnector(limit=0), headers=self._headers
        ) as session:
            arriving = asyncio.create_task(self._arrive(session))
            writing = asyncio.create_task(self._write_every_second())
            stopped = asyncio.create_task(stop.wait())
            jobs = {arriving, writing, stopped}
            done, _ = await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED, timeout=self._load.seconds + 60.0)
            unanswered = len(self._tasks)
            for task in jobs | self._tasks:
                task.cancel()
            await asyncio.gather(*jobs, *self._tasks, return_exceptions=True)
            self._write(unanswered)
            for task in done:
                task.result()  # a job that broke says so

    async def _arrive(self, session: aiohttp.ClientSession) -> None:
        chance, load = random.Random(self._load.seed), self._load  # noqa: S311
        begun = time.monotonic()
        due = begun
        while (due := due + chance.expovariate(load.rps)) < begun + load.seconds:
            if (early := due - time.monotonic()) > 0:  # late ones go at once: the rate holds whatever the loop does
                await asyncio.sleep(early)
            if len(self._tasks) >= load.max_in_flight:
                self._now.dropped += 1
                continue
            self._now.sent += 1
            task = asyncio.create_task(self._send(session, chance.choice(self._bodies)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=load.timeout_s)

    async def _send(self, session: aiohttp.ClientSession, body: bytes) -> None:
        begun = time.perf_counter()
        try:
            async with session.post(self._url, data=body) as answer:
                await answer.read()
                outcome = str(answer.status)
        except TimeoutError:
            outcome = "timeout"
        except aiohttp.ClientConnectorError:
            outcome = "refused"
        except aiohttp.ClientError:
            outcome = "broken"
        self._now.outcomes[outcome] += 1
        self._now.latencies_ms.append(1000.0 * (time.perf_counter() - begun))

    async def _write_every_second(self) -> None:
        due = time.monotonic()
        while True:
            due += 1.0
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._write(len(self._tasks))

    def _write(self, in_flight: int) -> None:
        second, self._now = self._now, Second()
        self._out.write(second.line(time.time(), in_flight) + "\n")
        self._out.flush()


async def _main(load: Load, out: TextIO) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await Generator(load, out).run(stop)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m rollout_controller.lab.load", description=__doc__)
    parser.add_argument("--url", required=True, help="where Envoy listens: http://127.0.0.1:PORT")
    parser.add_argument("--rps", type=float, required=True, help="mean requests per second")
    parser.add_argument("--out", type=Path, help="file for one JSON line a second (default: standard output)")
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after this long (default: 3600)")
    parser.add_argument("--model", default="classifier")
    parser.add_argument("--host", help="Host header to send")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-in-flight", type=int, default=2000)
    chosen = vars(parser.parse_args())
    path: Path | None = chosen.pop("out")
    load = Load(**chosen)
    if path is None:
        asyncio.run(_main(load, sys.stdout))
        return
    with path.open("a") as out:
        asyncio.run(_main(load, out))


if __name__ == "__main__":
    main()
