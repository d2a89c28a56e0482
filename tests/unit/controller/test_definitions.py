"""What an API server - or whatever answers in its place - says of its definitions ends no process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from rollout_controller.cluster.transport import Answer
from rollout_controller.controller.definitions import Definitions


class Odd:
    """A wire on which every answer is the same."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    @property
    def namespace(self) -> str:
        return "default"

    def call(self, *_asked: Any, **_options: Any) -> Answer:
        return Answer(200, {}, self._body)

    def stream(self, *_asked: Any, **_options: Any) -> Iterator[bytes]:
        yield self._body


@pytest.mark.parametrize("body", [b"[]", b"null", b"<html>", b'{"components": null}', b'{"components": {"schemas": []}}', b"7"])
def test_an_answer_that_is_no_openapi_says_nothing(body: bytes) -> None:
    found: list[int] = []
    Definitions(Odd(body), found.append).look()
    assert found == []
