"""Numbers as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_controller.api.quantities import format_duration, format_instant, parse_duration, parse_instant
from rollout_controller.cli import words


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s"), (0.04, "0 s"), (0.8, "0.8 s"), (2.0, "2 s"), (9.96, "10 s"), (41.2, "41 s"), (59.6, "1m 00s"),
        (182, "3m 02s"), (3599.7, "1h 00m"), (3900, "1h 05m"), (187_200, "2d 4h"), (-5, "0 s"),
    ],
)  # fmt: skip
def test_span(seconds: float, shown: str) -> None:
    assert words.span(seconds) == shown


@pytest.mark.parametrize(("share", "shown"), [(0, "0.0 %"), (0.003, "0.3 %"), (0.0521, "5.2 %"), (0.0996, "10 %"), (1, "100 %")])
def test_percent(share: float, shown: str) -> None:
    assert words.percent(share) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.01, "1 %"), (0.005, "0.5 %"), (0.05, "5 %"), (0.9, "90 %"), (0.0005, "0.05 %")])
def test_limits_have_the_digits_that_were_written(share: float, shown: str) -> None:
    assert words.limit(share) == shown


@given(st.integers(min_value=1, max_value=10**9).map(lambda ms: ms / 1000))
def test_durations_are_read_as_the_documents_have_them(seconds: float) -> None:
    written = format_duration(seconds)
    assert words.seconds_of(written, -1) == pytest.approx(parse_duration(written))
    assert words.duration(written) == pytest.approx(parse_duration(written))


@given(st.floats(min_value=0, max_value=4e9))
def test_instants_are_read_as_the_documents_have_them(at: float) -> None:
    assert words.seconds_since_1970(format_instant(at)) == parse_instant(format_instant(at))


@pytest.mark.parametrize("text", ["", "5", "5 m", "m", "-5m", "0s", "1h30", "1y"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        words.duration(text)


@pytest.mark.parametrize("value", [None, "", "yesterday", True, {}, []])
def test_what_is_no_time(value: object) -> None:
    assert words.seconds_since_1970(value) is None
