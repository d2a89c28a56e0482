"""Starts servers, waits until they are ready, and ends them with everything they started."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rollout_controller.lab import procfs, tether

Say = Callable[[str], None]

POLL_S = 0.02
PROBE_TIMEOUT_S = 0.5
LOG_LINES = 12
"""How many of a log's last lines an error quotes."""


class ServerFailed(RuntimeError):
    """A server ended or did not become ready in time; the text quotes its log."""

    def __init__(self, name: str, what: str, log: Path) -> None:
        self.name = name
        tail = _tail(log)
        super().__init__(f"{name} {what}; {log} ends with:\n{tail}" if tail else f"{name} {what}; {log} is empty")


@dataclass(frozen=True)
class Server:
    """How to start one server. `ready` is a URL that answers 200 once it works; None: it is ready at once.

    `grace_s` is how long it may take to end by itself after SIGTERM; 0: it keeps nothing worth saving and is killed at once.
    """

    name: str
    argv: Sequence[str]
    log: Path
    ready: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 5.0


@dataclass(frozen=True)
class Running:
    """A started server. The handle keeps the child from becoming a zombie; it is the starter's alone."""

    server: Server
    started: int
    handle: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self.handle.pid

    @property
    def alive(self) -> bool:
        return self.handle.poll() is None


def python_server(name: str, module: str, arguments: Sequence[str], log: Path, *, grace_s: float) -> Server:
    """A module of ours as a server, found where this package was found."""
    code = Path(__file__).parents[2]
    env = {"PYTHONPATH": f"{code}", "PYTHONUNBUFFERED": "1"}
    return Server(name=name, argv=[sys.executable, "-m", module, *arguments], log=log, env=env, grace_s=grace_s)


def start(server: Server, mark: Path, *, tethered: bool) -> Running:
    """Start it in a session of its own, marked with the lab's directory. Tethered: it dies with the calling thread's process."""
    argv = list(server.argv)
    if tethered:
        argv = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *argv]
    env = {**os.environ, **server.env, procfs.MARK: str(mark)}
    server.log.parent.mkdir(parents=True, exist_ok=True)
    with server.log.open("ab") as log:
        handle = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env, start_new_session=True)
    seen = procfs.look(handle.pid)
    return Running(server=server, started=seen.started if seen else 0, handle=handle)


def wait_ready(
    servers: Iterable[Running], timeout_s: float, ready: Callable[[Running, float], None] = lambda _server, _seconds: None
) -> None:
    """Wait until each is ready; `ready` is told which, after how many seconds. Raises ServerFailed on the first that is not."""
    begun = time.monotonic()
    waiting = list(servers)
    while waiting:
        for running in tuple(waiting):
            if not running.alive:
                raise ServerFailed(
                    running.server.name, f"ended at once (exit status {running.handle.returncode})", running.server.log
                )
            if _is_ready(running):
                waiting.remove(running)
                ready(running, time.monotonic() - begun)
        if waiting and time.monotonic() - begun > timeout_s:
            raise ServerFailed(waiting[0].server.name, f"was not ready after {timeout_s:g} s", waiting[0].server.log)
        time.sleep(POLL_S if waiting else 0)


def stop(servers: Iterable[Running], mark: Path) -> tuple[procfs.Found, ...]:
    """End these servers and their children; return what is still alive (nothing, unless a process cannot be killed)."""
    running = tuple(servers)
    sessions = {r.pid for r in running}
    return _end(
        lambda: [p for p in procfs.marked(str(mark)) if p.group in sessions], {r.pid: r.server.grace_s for r in running}, running
    )


def stop_all(mark: Path, graces: Mapping[int, float], servers: Iterable[Running] = ()) -> tuple[procfs.Found, ...]:
    """End every process that carries the mark; `graces` says by pid how long each server may take (others: none)."""
    return _end(lambda: list(procfs.marked(str(mark))), graces, tuple(servers))


def probe(url: str, timeout_s: float = PROBE_TIMEOUT_S) -> int:
    """The HTTP status of a GET; 0 when there was no answer in time. A certificate is not looked at: the port's owner was."""
    parts = urlsplit(url)
    connection = (
        http.client.HTTPSConnection(
            parts.hostname or "",
            parts.port,
            timeout=timeout_s,
            context=ssl._create_unverified_context(),  # noqa: S323, SLF001 - a server of ours, seen to own this port
        )
        if parts.scheme == "https"
        else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    )
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def _is_ready(running: Running) -> bool:
    url = running.server.ready
    if url is None:
        return True
    return procfs.listens([running.pid], urlsplit(url).port or 80) and probe(url) == http.client.OK


def _end(
    find: Callable[[], list[procfs.Found]], graces: Mapping[int, float], servers: Sequence[Running]
) -> tuple[procfs.Found, ...]:
    asked = time.monotonic()
    deadlines = {pid: asked + grace for pid, grace in graces.items() if grace > 0}
    for pid in {p.pid for p in find()} & set(deadlines):
        _signal(pid, signal.SIGTERM)
    while left := find() or _again(find):
        now = time.monotonic()
        for process in left:
            if now >= deadlines.get(process.group, 0.0):
                _signal(process.pid, signal.SIGKILL)
        if now - asked > max(graces.values(), default=0.0) + 5.0:
            break
        time.sleep(POLL_S)
    for running in servers:
        if running.pid not in {p.pid for p in left}:  # it may be dying still: its mark goes before it does
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.handle.wait(timeout=5.0)
    return tuple(left)


def _again(find: Callable[[], list[procfs.Found]]) -> list[procfs.Found]:
    """A second look: a child carries its mark only once it has become its program."""
    time.sleep(0.05)
    return find()


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _tail(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"    {line[:400]}" for line in lines[-LOG_LINES:])
