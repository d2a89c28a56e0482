"""Picks free TCP ports, below those that the kernel gives to outgoing connections: none is taken before its server starts."""

from __future__ import annotations

import contextlib
import random
import socket

LOWEST, HIGHEST = 20_000, 32_000
TRIES = 1_000


def free_ports(count: int) -> tuple[int, ...]:
    """That many different ports on which nobody listens now. Raises OSError when there are none."""
    chance = random.SystemRandom()
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for _ in range(TRIES):
            if len(ports) == count:
                return tuple(ports)
            port = chance.randrange(LOWEST, HIGHEST)
            sock = held.enter_context(socket.socket())
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    raise OSError(f"no {count} free TCP ports found between {LOWEST} and {HIGHEST}")
