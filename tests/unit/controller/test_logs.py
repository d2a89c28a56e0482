"""Logs: readable, in one form, and without secrets."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from rollout_controller.controller.logs import Secrets, set_up

SLACK = "https://hooks.slack.com/services/T000/B000/abcdefghijkl"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"POST {SLACK} failed", "POST https://hooks.slack.com/*** failed"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic dXNlcjpwdw=='}", "{'Authorization': 'Basic ***'}"),
        ("sent bearer AAAABBBBCCCC", "sent bearer ***"),
        ("token xoxb-123456789-abc", "token xoxb-***"),
        ("http://user:pw@prometheus:9090/api", "http://***@prometheus:9090/api"),
        ("GET /x?token=abc&y=1", "GET /x?token=***&y=1"),
        ("eyJhbGciOi.eyJzdWIi.c2ln is a token", "*** is a token"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, left: str) -> None:
    assert Secrets().clean(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "canary 25 %: p95 over 100 ms in 7.1% of 4,210 requests (limit 5 %)",
        "http://triton-blue:8000/v2/models/m/versions/2/ready",
        "basic checks passed; the bearer of news",
        "load failed for model 'm': at least one version must be available",
    ],
)
def test_what_people_must_read_is_left_alone(text: str) -> None:
    assert Secrets().clean(text) == text


def test_values_read_from_files_are_masked_wherever_they_show() -> None:
    secrets = Secrets()
    secrets.hide(" hunter-22\n")
    secrets.hide("abc")
    assert secrets.clean("it said hunter-22, abc") == "it said ***, abc"


def raise_with_secret() -> None:
    raise OSError(f"cannot reach {SLACK}")


def test_json_lines_have_level_utc_time_logger_and_no_secret_anywhere() -> None:
    out = io.StringIO()
    set_up("json", "INFO", out, Secrets())
    log = structlog.get_logger("notify").bind(rollout="demo/m")
    try:
        raise_with_secret()
    except OSError:
        log.exception("failed", url=SLACK, headers={"Authorization": "Bearer x"}, api_token="t", tries=[SLACK, 3])
    line = json.loads(out.getvalue())
    assert (line["event"], line["level"], line["logger"], line["rollout"]) == ("failed", "error", "notify", "demo/m")
    assert line["timestamp"].endswith("Z")
    assert line["headers"] == {"Authorization": "***"}
    assert (line["api_token"], line["tries"]) == ("***", ["https://hooks.slack.com/***", 3])
    assert "cannot reach https://hooks.slack.com/***" in line["exception"]
    assert "T000" not in out.getvalue()


def test_the_standard_librarys_lines_go_the_same_way() -> None:
    out = io.StringIO()
    set_up("json", "INFO", out, Secrets())
    logging.getLogger("urllib3").warning("retry of %s", SLACK)
    logging.getLogger("urllib3").info("quiet")
    logging.getLogger("somebody").info("said", extra={"password": "p"})
    first, second = map(json.loads, out.getvalue().splitlines())
    assert (first["event"], first["logger"]) == ("retry of https://hooks.slack.com/***", "urllib3")
    assert (second["event"], second["password"]) == ("said", "***")


def test_warnings_are_logged() -> None:
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        set_up("json", "INFO", out, Secrets())
        warnings.warn("old", stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "old" in out.getvalue()


def test_console_has_colours_on_a_terminal_only() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for out, colours in ((io.StringIO(), False), (Terminal(), True)):
        set_up("console", "INFO", out, Secrets())
        structlog.get_logger("x").info("hello", url=SLACK)
        structlog.get_logger("x").debug("not this")
        assert "hello" in out.getvalue()
        assert ("\x1b[" in out.getvalue()) is colours
        assert "T000" not in out.getvalue()
        assert "not this" not in out.getvalue()
