"""Percentages and durations as people write them: what the types take is what the patterns of the CRDs take."""

from __future__ import annotations

import re

import pytest

from rollout_controller.api.quantities import (
    DURATION_PATTERN,
    PERCENT_PATTERN,
    format_duration,
    format_percent,
    parse_duration,
    parse_percent,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("100ms", 0.1),
        ("90s", 90),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("90 s", 90),
        (" 6m ", 360),
        ("1.5h", 5400),
        ("1d", 86400),
        ("0s", 0),
        ("366d", 366 * 86400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
    assert re.search(DURATION_PATTERN, text)
    assert len(text) <= 32


@pytest.mark.parametrize(
    "value", ["", "5", 5, 5.0, True, None, "s", "5 minutes", "-5s", "1 0s", "5S", "٣s", "1e3s", "1h\n", "5s,"]
)
def test_what_is_no_duration(value: object) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(value)
    assert not (isinstance(value, str) and re.search(DURATION_PATTERN.replace("$", r"\Z"), value))


@pytest.mark.parametrize("value", ["367d", "999999999h", "8785h"])
def test_a_duration_is_at_most_a_year(value: str) -> None:
    with pytest.raises(ValueError, match="longer than a year"):
        parse_duration(value)


def test_long_text_is_no_quantity() -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration("1s" * 1000)
    with pytest.raises(ValueError, match="is not a percentage"):
        parse_percent("1" * 1000 + "%")


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), ("0.5%", 0.005), ("100%", 1), ("0%", 0), (" 5 % ", 0.05)])
def test_percentages(text: str, share: float) -> None:
    assert parse_percent(text) == pytest.approx(share)
    assert re.search(PERCENT_PATTERN, text)


@pytest.mark.parametrize("value", ["", "5", 5, None, "%", "-1%", "5%%", "٣%", "1e1%", "1%\n"])
def test_what_is_no_percentage(value: object) -> None:
    with pytest.raises(ValueError, match="is not a percentage"):
        parse_percent(value)
    assert not (isinstance(value, str) and re.search(PERCENT_PATTERN.replace("$", r"\Z"), value))


def test_what_we_write_can_be_read() -> None:
    for seconds in (0.0, 0.001, 0.1, 1.5, 90, 5400, 86400, 366 * 86400):
        assert parse_duration(format_duration(seconds)) == pytest.approx(seconds)
    for share in (0.0, 0.0001, 0.01, 1 / 3, 0.9, 1.0):
        assert parse_percent(format_percent(share)) == pytest.approx(share)
