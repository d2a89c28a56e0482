"""What counts as an answer: every way to say how long it is, in pieces of any size; all else is an error."""

from __future__ import annotations

import socket
import threading
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout_controller.triton import http1

MOST = 1000
HEAD = b"HTTP/1.1 200 OK\r\n"


def answered(pieces: list[bytes], *, ends: bool = False) -> http1.Answer:
    """What is read when these pieces come over the wire."""
    ours, theirs = socket.socketpair()
    with ours, theirs:

        def talk() -> None:
            for piece in pieces:
                theirs.sendall(piece)
            if ends:
                theirs.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            return http1.exchange(ours, http1.request("GET", "/", "x"), timeout_s=2.0, most=MOST)
        finally:
            thread.join()


WELL_FORMED = [
    (HEAD + b"Content-Length: 4\r\n\r\nabcd", b"abcd", True),
    (HEAD + b"content-length:4\r\nConnection: close\r\n\r\nabcd", b"abcd", False),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nabcd", b"abcd", False),
    (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nA: b\r\n\r\n", b"abc", True),
    (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 1\r\n\r\na", b"a", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    (HEAD + b"Content-Length: 0\r\n\r\n", b"", True),
    (HEAD + b"Content-Length: 1\r\n\r\nab", b"a", False),
]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(WELL_FORMED), st.lists(st.integers(1, 60), max_size=6))
def test_an_answer_is_read_in_whatever_pieces_it_comes(case: tuple[bytes, bytes, bool], cuts: list[int]) -> None:
    text, body, reusable = case
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    answer = answered([text[a:b] for a, b in pairwise(places)])
    assert answer.body == body
    assert answer.reusable == reusable or not reusable  # what is too much may come later than the answer is read


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    assert answered([HEAD + b"\r\nabc"], ends=True) == http1.Answer(200, b"abc", reusable=False)


@pytest.mark.parametrize(
    "text",
    [
        b"SSH-2.0-x\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na",
        HEAD + b"Content-Length: 1001\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"190\r\n" + b"a" * 400 + b"\r\n" + b"fff\r\n",
        HEAD + b"no field\r\n\r\n",
        HEAD + b"Content-Length: 4\r\n\r\nab",
        HEAD + b"A: " + b"a" * (2 * http1.MAX_HEAD_BYTES),
    ],
)
def test_what_is_no_whole_answer_is_an_error(text: bytes) -> None:
    with pytest.raises(http1.CutError):
        answered([text], ends=True)


def test_an_end_before_the_answer_is_a_closed_connection() -> None:
    with pytest.raises(ConnectionError):
        answered([], ends=True)


@pytest.mark.parametrize(("path", "header"), [("/a b", "x"), ("/a\r\nB: c", "x"), ("/", "x\r\nB: c"), ("/ä", "x")])
def test_nothing_can_be_smuggled_into_a_request(path: str, header: str) -> None:
    with pytest.raises(ValueError, match=r"cannot be sent|can't encode"):
        http1.request("GET", path, "x", headers={"A": header})
