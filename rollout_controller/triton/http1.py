"""One HTTP/1.1 exchange on a connected socket, and no more: a fifth of the time of the standard library's client.

Thousands of Tritons are asked all day, and their answers are small: there the library's mail parser was most of the cost. No
redirects, no trailers of use to us, no `Expect`. What is not well-formed is an error, never a guess.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from socket import socket
from typing import Final

MAX_HEAD_BYTES: Final = 64 << 10
_PIECE: Final = 64 << 10
_STATUS = re.compile(rb"HTTP/1\.([01]) (\d{3})(?: [^\r\n]*)?")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\r\n]*?)[ \t]*")
_LENGTH = re.compile(rb"\d{1,15}")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")


class CutError(Exception):
    """Why an answer was not read to its end, in words."""


@dataclass(frozen=True)
class Answer:
    """`reusable`: the connection is where the next answer begins."""

    status: int
    body: bytes
    reusable: bool


def request(verb: str, path: str, host: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A request as it goes over the wire; raises ValueError for what has no place in one."""
    fields = {"Host": host, **(headers or {})}
    if body or verb != "GET":
        fields["Content-Length"] = str(len(body))
    lines = [f"{verb} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any(not line.isprintable() for line in lines) or " " in path:
        raise ValueError("a request of characters that cannot be sent")
    return "\r\n".join([*lines, "\r\n"]).encode("ascii") + body


class _Reader:
    """What has come and was not taken yet."""

    def __init__(self, connection: socket, deadline: float, most: int) -> None:
        self._connection, self._deadline, self._most = connection, deadline, most
        self._left = b""
        self.surplus = False

    def receive(self) -> bytes:
        """What comes next; empty at the end of the stream."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise CutError("the answer came too slowly")
        self._connection.settimeout(left)
        return self._connection.recv(_PIECE)

    def until(self, mark: bytes, most: int) -> bytes:
        """Up to and without `mark`, which is passed over."""
        while (end := self._left.find(mark)) < 0:
            if len(self._left) > most:
                raise CutError("the answer is none of HTTP")
            self._left += self._more()
        found, self._left = self._left[:end], self._left[end + len(mark) :]
        return found

    def exactly(self, size: int) -> bytes:
        if size > self._most:
            raise CutError(f"the answer is larger than {self._most >> 20} MiB")
        parts, have = [self._left], len(self._left)
        while have < size:
            parts.append(self._more())
            have += len(parts[-1])
        whole = b"".join(parts)
        self._left = whole[size:]
        return whole[:size]

    def rest(self) -> bytes:
        """All until the other side ends."""
        parts, have = [self._left], len(self._left)
        while part := self.receive():
            parts.append(part)
            have += len(part)
            if have > self._most:
                raise CutError(f"the answer is larger than {self._most >> 20} MiB")
        self._left = b""
        return b"".join(parts)

    @property
    def empty(self) -> bool:
        return not self._left

    def _more(self) -> bytes:
        part = self.receive()
        if not part:
            raise CutError("the answer was cut off") if self._left else ConnectionResetError
        return part


def exchange(connection: socket, message: bytes, *, timeout_s: float, most: int) -> Answer:
    """Send a request and read its answer, within `timeout_s` and of at most `most` bytes.

    Raises:
        OSError: TimeoutError among them; ConnectionError without a text when the other side ends before it answers.
        CutError
    """
    deadline = time.monotonic() + timeout_s
    connection.settimeout(timeout_s)
    connection.sendall(message)
    reader = _Reader(connection, deadline, most)
    minor, status, fields = _head(reader)
    while 100 <= status < 200:
        minor, status, fields = _head(reader)
    length = fields.get(b"content-length")
    bounded = True
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        body = _chunks(reader, most)
    elif b"transfer-encoding" in fields:
        raise CutError("the answer has a coding that is not known")
    elif status in (204, 304):
        body = b""
    elif length is not None:
        if not _LENGTH.fullmatch(length):
            raise CutError("the answer is none of HTTP")
        body = reader.exactly(int(length))
    else:
        body, bounded = reader.rest(), False
    kept = minor == 1 and b"close" not in fields.get(b"connection", b"").lower()
    return Answer(status, body, reusable=bounded and kept and reader.empty)


def _head(reader: _Reader) -> tuple[int, int, dict[bytes, bytes]]:
    first, *lines = reader.until(b"\r\n\r\n", MAX_HEAD_BYTES).split(b"\r\n")
    matched = _STATUS.fullmatch(first)
    if matched is None:
        raise CutError("the answer is none of HTTP")
    fields: dict[bytes, bytes] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise CutError("the answer is none of HTTP")
        name = field[1].lower()
        if name in fields and name in (b"content-length", b"transfer-encoding") and fields[name] != field[2]:
            raise CutError("the answer has two lengths")
        fields[name] = field[2]
    return int(matched[1]), int(matched[2]), fields


def _chunks(reader: _Reader, most: int) -> bytes:
    parts: list[bytes] = []
    left = most
    while True:
        matched = _CHUNK.fullmatch(reader.until(b"\r\n", MAX_HEAD_BYTES))
        if matched is None:
            raise CutError("the answer is none of HTTP")
        size = int(matched[1], 16)
        if size == 0:
            break
        left -= size
        if left < 0:
            raise CutError(f"the answer is larger than {most >> 20} MiB")
        parts.append(reader.exactly(size))
        if reader.exactly(2) != b"\r\n":
            raise CutError("the answer is none of HTTP")
    while reader.until(b"\r\n", MAX_HEAD_BYTES):  # trailers
        pass
    return b"".join(parts)
