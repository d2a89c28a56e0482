"""What present, absent, bad and unread windows of two slots mean together."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from rollout_controller.core.observation import Counts, Window
from rollout_controller.slo.decode import ABSENT, BAD, NO_BASELINE, Pair
from rollout_controller.slo.windows import NEVER, UNREAD, Ring, missing_for, pair

A: Pair = (ABSENT, ABSENT)


def ring(*pairs: Pair, size: int = 100, seen: bool = False) -> Ring:
    found = Ring(size, 0)
    found.seen_from = 0 if seen else NEVER
    for k, value in enumerate(pairs, 1):
        found.put(k, value)
    return found


def window(start: float, end: float, canary: Pair, stable: Pair) -> Window:
    return Window(start, end, Counts(*canary), Counts(*stable))


def test_both_there_is_one_window_each() -> None:
    found = pair(ring((1, 0), (2, 1)), ring((5, 0), (6, 2)), 10.0, 0)
    assert found.windows == (window(0, 10, (1, 0), (5, 0)), window(10, 20, (2, 1), (6, 2)))


def test_only_what_begins_at_or_after_since_is_given() -> None:
    assert [w.end for w in pair(ring(*[(1, 0)] * 5), ring(*[(1, 0)] * 5), 1.0, 3).windows] == [4, 5]


def test_a_canary_that_never_was_seen_has_no_traffic_while_stable_is_seen() -> None:
    canary, stable = ring(A, A, (3, 1)), ring(A, (5, 0), (6, 0))
    assert pair(canary, stable, 1.0, 0).windows == (window(1, 2, (0, 0), (5, 0)), window(2, 3, (3, 1), (6, 0)))


def test_a_canary_that_was_seen_and_is_absent_is_missing_and_its_next_window_reaches_back() -> None:
    stable = ring((5, 0), (6, 1), (7, 0), (8, 0))
    assert pair(ring((1, 0), A, A, (9, 2)), stable, 1.0, 0).windows == (
        window(0, 1, (1, 0), (5, 0)),
        window(1, 4, (9, 2), (21, 1)),
    )
    assert pair(ring(A, A, A, (9, 2), seen=True), stable, 1.0, 0).windows == (window(0, 4, (9, 2), (26, 1)),)
    assert missing_for(ring(A, A, A, seen=True), stable, 3, 3) == 3
    assert missing_for(ring(A, A, A), stable, 3, 3) == 0


def test_an_absent_stable_does_not_keep_the_canary_from_being_judged() -> None:
    assert pair(ring((1, 1)), ring(A, seen=True), 1.0, 0).windows == (window(0, 1, (1, 1), (0, 0)),)


def test_bad_windows_are_dropped_for_both_slots_and_nothing_reaches_back_over_them() -> None:
    for fault in (BAD, NO_BASELINE):
        found = pair(ring((1, 0), (fault, fault), (3, 0)), ring((5, 0), (6, 0), (7, 0)), 1.0, 0)
        assert found.windows == (window(0, 1, (1, 0), (5, 0)), window(2, 3, (3, 0), (7, 0)))
        assert found.dropped == 1


def test_windows_that_nobody_read_are_a_break() -> None:
    canary, stable = ring((1, 0)), ring((1, 0))
    for one in (canary, stable):
        one.put(5, (2, 0))
    assert canary.get(3) == (UNREAD, UNREAD)
    assert [(w.start, w.end) for w in pair(canary, stable, 1.0, 0).windows] == [(0, 1), (4, 5)]


def test_the_ring_holds_the_newest_and_forgets_the_rest() -> None:
    held = ring(*[(k, 0) for k in range(1, 31)], size=10)
    assert [held.get(k)[0] for k in (20, 21, 30, 31)] == [UNREAD, 21, 30, UNREAD]
    found = pair(held, held, 1.0, 0).windows
    assert (len(found), found[0].start) == (10, 20)
    held.put(100, (7, 0))
    assert [held.get(k)[0] for k in (30, 91, 99, 100)] == [UNREAD, UNREAD, UNREAD, 7]


PAIRS = st.lists(st.sampled_from([A, (0, 0), (3, 1), (BAD, BAD), (NO_BASELINE, NO_BASELINE)]), min_size=1, max_size=30)


@given(PAIRS, PAIRS, st.integers(0, 30))
def test_every_known_request_of_the_canary_is_in_exactly_one_window(canary: list[Pair], stable: list[Pair], after: int) -> None:
    canary, stable = canary[: len(stable)], stable[: len(canary)]
    windows = pair(ring(*canary), ring(*stable), 1.0, after).windows
    assert sum(w.canary.total for w in windows) == sum(max(total, 0) for total, _ in canary[after:])
    assert sum(w.stable.total for w in windows) <= sum(max(total, 0) for total, _ in stable[after:])
    assert all(w.start >= after for w in windows)
    assert all(a.end <= b.start for a, b in pairwise(windows))
    # what was taken in up to any window does not change what comes after it
    for middle in windows:
        later = pair(ring(*canary), ring(*stable), 1.0, round(middle.end)).windows
        assert later == tuple(w for w in windows if w.start >= middle.end)
