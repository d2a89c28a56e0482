"""A TCP proxy that does to connections what networks do to them; bytes pass unread, so TLS does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Literal

Mode = Literal["pass", "swallow", "reset", "refuse", "slow"]
_TICK_S = 0.1


class TcpProxy:
    """Listens on a port of its own (`port`) in front of a target.

    `mode` says what happens to bytes and to new connections from now on:
    pass: they go through. slow: so many bytes a second (`slow_bytes_s`). swallow: connections are taken and bytes vanish, without
    a word; a connection that this happened to stays dead. reset: those open and new ones are reset. refuse: nobody listens.
    """

    def __init__(self, host: str, port: int, *, slow_bytes_s: int = 100) -> None:
        self.accepted = 0
        self.mode: Mode = "pass"
        self._target = (host, port)
        self._slow = slow_bytes_s
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._thread.start()
        self.port = 0
        self._run(self._listen())

    def set(self, mode: Mode) -> None:
        """Changes the mode; for reset and refuse open connections are reset."""
        self._run(self._set(mode))

    def cut(self) -> None:
        """Resets the connections that are open; new ones do as the mode says."""
        self._run(self._cut())

    @property
    def open(self) -> int:
        """Connections that are open, on both sides."""
        return len(self._open)

    def close(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(work, self._loop)
        done.result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def _set(self, mode: Mode) -> None:
        self.mode = mode
        if mode == "refuse" and self._server is not None:
            self._server.close()
            self._server = None
        elif mode != "refuse" and self._server is None:
            await self._listen()
        if mode in ("reset", "refuse"):
            await self._cut()

    async def _end(self) -> None:
        await self._set("refuse")
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # what was aborted is closed by the loop's next turns

    async def _cut(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        ends = [writer]
        try:
            if self.mode == "reset":
                return
            self._open.add(writer)
            if self.mode == "swallow":
                await self._pump(reader, None)
                return
            there, back = await asyncio.open_connection(*self._target)
            ends.append(back)
            self._open.add(back)
            down = asyncio.create_task(self._pump(there, writer))
            await self._pump(reader, back)  # until the client has gone; the server's end reaches it through `down`
            down.cancel()
        except OSError:
            return
        finally:
            for end in ends:
                self._open.discard(end)
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
        """Until the end of `reader`; None, or once the mode was swallow: bytes vanish and the end is not passed on."""
        with suppress(OSError):
            while chunk := await reader.read(64 * 1024):
                if self.mode == "swallow":
                    writer = None
                while writer is not None and self.mode == "slow" and chunk:
                    step = max(1, int(self._slow * _TICK_S))
                    writer.write(chunk[:step])
                    chunk = chunk[step:]
                    await asyncio.sleep(_TICK_S)
                if writer is not None:
                    writer.write(chunk)
                    await writer.drain()
        if writer is not None and self.mode != "swallow":
            writer.close()
