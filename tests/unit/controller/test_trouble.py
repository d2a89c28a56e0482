"""Trouble is known by its class; only what passes by itself is tried again, within bounds."""

import threading

import pytest

from rollout_controller import mesh
from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.cluster import store
from rollout_controller.controller.errors import classify
from rollout_controller.controller.retry import Retry
from rollout_controller.triton.errors import TritonRefused, TritonUnreachable


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (store.Conflict("x"), "conflict"),
        (store.AlreadyExists("x"), "conflict"),
        (store.NotFound("x"), "waiting"),
        (store.Unavailable("x"), "transient"),
        (store.Expired("x"), "transient"),
        (TritonUnreachable("x"), "transient"),
        (store.Refused("x"), "stalled"),
        (TritonRefused("x"), "stalled"),
        (InvalidDocument("x", [FieldError("a", "b", "c")]), "stalled"),
        (mesh.RouteProblem("not-found", "x"), "stalled"),
        (KeyError("x"), "bug"),
        (OSError("Unavailable: timeout"), "bug"),
        (store.StoreError("x"), "bug"),
    ],
)
def test_every_class_has_its_kind_of_trouble_and_the_text_says_nothing(error: Exception, trouble: str) -> None:
    assert classify(error) == trouble


class Flaky:
    def __init__(self, *errors: Exception) -> None:
        self.errors, self.calls = list(errors), 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_transient_trouble_is_tried_again_with_waits_that_grow_to_a_limit() -> None:
    waits: list[float] = []
    flaky = Flaky(*[store.Unavailable("locked")] * 4)
    assert Retry(attempts=5, first_s=1, most_s=3, within_s=1000, sleep=waits.append)("read", flaky) == "done"
    assert flaky.calls == 5
    assert [0 <= wait <= limit for wait, limit in zip(waits, (1, 2, 3, 3), strict=True)] == [True] * 4


def test_a_store_that_asks_for_a_pause_gets_it_within_the_bounds() -> None:
    waits: list[float] = []
    busy = store.Unavailable("busy", retry_after_s=7)
    retry = Retry(attempts=3, first_s=1, within_s=1000, sleep=waits.append)
    assert retry("read", Flaky(busy, busy)) == "done"
    assert [7 <= wait <= limit for wait, limit in zip(waits, (8, 9), strict=True)] == [True] * 2
    assert retry("read", Flaky(store.Unavailable("busy", retry_after_s=86_400))) == "done"
    assert waits[-1] <= 61, "nobody is waited for longer than a minute"
    flaky = Flaky(busy)
    with pytest.raises(store.Unavailable, match="busy"):
        Retry(within_s=5, sleep=waits.append)("read", flaky)
    assert flaky.calls == 1


@pytest.mark.parametrize("error", [store.Refused("no"), store.Conflict("c"), KeyError("bug"), TritonRefused("no")])
def test_other_trouble_is_raised_at_once_as_it_is(error: Exception) -> None:
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        Retry(sleep=lambda _s: None)("read", flaky)
    assert flaky.calls == 1


def test_the_last_error_is_raised_after_the_last_attempt() -> None:
    flaky = Flaky(*[store.Unavailable(str(n)) for n in range(9)])
    with pytest.raises(store.Unavailable, match="2"):
        Retry(attempts=3, sleep=lambda _s: None)("read", flaky)
    assert flaky.calls == 3


def test_time_bounds_it_before_the_wait_that_would_go_over() -> None:
    flaky = Flaky(*[TritonUnreachable("x")] * 900)
    stop = threading.Event()
    with pytest.raises(TritonUnreachable):
        Retry(attempts=1000, within_s=0.2, first_s=0.05, most_s=0.05, sleep=stop.wait)("read", flaky)
    assert 1 < flaky.calls < 1000
