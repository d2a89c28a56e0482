"""Reads /proc: which processes carry a lab's mark, whether they live, and which of them own a port."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MARK = "ROLLOUTS_LAB"
"""Environment variable that every process of a lab carries; its value is the lab's directory. Children inherit it."""

_LISTEN = "0A"


@dataclass(frozen=True)
class Found:
    """A live process. `started` is its start time in clock ticks since boot: with the pid it names one process for ever."""

    pid: int
    started: int
    group: int
    name: str


def look(pid: int) -> Found | None:
    """The process with that id; None when there is none, or only a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    name, _, rest = text[text.index("(") + 1 :].rpartition(")")
    fields = rest.split()
    if fields[0] in {"Z", "X"}:
        return None
    return Found(pid=pid, started=int(fields[19]), group=int(fields[2]), name=name)


def marked(mark: str) -> tuple[Found, ...]:
    """Every live process but this one that carries the mark, whoever its parent is now."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone, or another user's
            continue
        if wanted in environment.split(b"\0") and (process := look(int(entry.name))):
            found.append(process)
    return tuple(found)


def listens(pids: Iterable[int], port: int) -> bool:
    """Whether one of these processes listens on that port: an answer alone may come from a stranger."""
    sockets = {f"socket:[{inode}]" for inode in _listeners(port)}
    return any(sockets & _links(pid) for pid in pids) if sockets else False


def _listeners(port: int) -> set[str]:
    inodes = set()
    for table in ("net/tcp", "net/tcp6"):
        try:
            lines = (PROC / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(fields[9])
    return inodes


def _links(pid: int) -> set[str]:
    links = set()
    try:
        for entry in (PROC / str(pid) / "fd").iterdir():
            try:
                links.add(str(entry.readlink()))
            except OSError:  # closed meanwhile
                continue
    except OSError:
        return set()
    return links
