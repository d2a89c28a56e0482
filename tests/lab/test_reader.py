"""The reader on a real Prometheus: every request is counted once, and what cannot be seen is said so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rollout_controller.api.meta import Key
from rollout_controller.core.observation import GaugeReading, SliReading, Unknown
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.slo.wants import Question, Want
from tests.support.prometheus import Exporter, RealPrometheus, find_prometheus, prometheus
from tests.support.world import World, wait_for

pytestmark = pytest.mark.lab

SOURCES = load_sources()
KEY = Key("default", "r")
ERRORS = Question("envoy", "errors", codes=("5xx",))
SLOW = Question("envoy", "latency", edge_ms=100.0)
GPU = Question("dcgm", "gauge")
BINARIES = ["ROLLOUTS_PROMETHEUS", *(["ROLLOUTS_PROMETHEUS_2"] if os.environ.get("ROLLOUTS_PROMETHEUS_2") else [])]


def wants(canary: str, stable: str) -> list[Want]:
    slots = {"green": (canary,), "blue": (stable,)}
    pods = {"green": ("default", canary, ""), "blue": ("default", stable, "")}
    return [Want("errors", ERRORS, slots), Want("latency", SLOW, slots), Want("gpu", GPU, pods)]


class Lab:
    """World, exporter, Prometheus and a reader that is read five times a second."""

    def __init__(self, world: World, exporter: Exporter, server: RealPrometheus) -> None:
        self.world, self.exporter, self.server = world, exporter, server
        self.reader = self.new_reader()
        self.longest_read_s = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def new_reader(self) -> SliReader:
        return SliReader(Prometheus(self.server.url, timeout_s=1), SOURCES, window_s=1, lag_s=0.5, budget_s=2)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            began = time.monotonic()
            self.reader.read(time.time())
            self.longest_read_s = max(self.longest_read_s, time.monotonic() - began)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def reading(self, name: str = "errors", key: Key = KEY) -> SliReading:
        return self.reader.reading(key, name, "green")

    def total(self, key: Key = KEY, name: str = "errors") -> tuple[int, int, int]:
        windows = self.reading(name, key).windows
        return sum(w.canary.total for w in windows), sum(w.canary.bad for w in windows), sum(w.stable.total for w in windows)

    def problem(self, name: str = "errors", key: Key = KEY) -> str | None:
        found = self.reading(name, key).problem
        return found.code if found else None

    def settle(self) -> None:
        """Wait until all that was served is scraped and its windows are read."""
        time.sleep(3.2)


@pytest.fixture(params=BINARIES)
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Stable 'blue' has served before anybody looked; the canary has no series."""
    binary = find_prometheus() if request.param == "ROLLOUTS_PROMETHEUS" else Path(os.environ[request.param])
    world = World()
    world.serve("blue", 1000, status="5", latency_ms=300)
    world.serve("blue", 1000)
    exporter = Exporter(world.text)
    with prometheus(binary, tmp_path, [exporter.target]) as server:
        assert wait_for(lambda: exporter.scrapes >= 3, 15)
        it = Lab(world, exporter, server)
        try:
            yield it
        finally:
            it.close()
            exporter.close()


def test_every_request_is_counted_once_whatever_happens_to_the_series(lab: Lab) -> None:
    before, began = lab.world.truth["blue"], time.time()
    lab.reader.want(KEY, wants("green", "blue"))
    for second in range(20):
        lab.world.serve("blue", 7)
        if second == 2:
            lab.settle()  # the canary has no series yet
            assert lab.reading().windows
            assert all(w.canary.total == 0 for w in lab.reading().windows)
        if second >= 3:
            lab.world.serve("green", 3, latency_ms=20)
        if second >= 6:
            lab.world.serve("green", 2, status="5", latency_ms=400)  # new series: their first errors count
        if second in (8, 9):
            lab.exporter.broken = True  # failed scrapes: the series go stale
        if second == 10:
            lab.exporter.broken = False
        if second == 14:
            lab.settle()
            lab.world.forget("green")  # a reset, everything before it was scraped
        time.sleep(0.37)
    lab.settle()
    truth = lab.world.truth["green"], lab.world.failed["green"], lab.world.truth["blue"] - before
    assert lab.total() == truth
    assert lab.total(name="latency") == (truth[0], lab.world.slow["green"], truth[2])
    assert lab.reader.stats()["envoy"].no_baseline == 0
    assert_same_when_read_again(lab, began)


def assert_same_when_read_again(lab: Lab, began: float) -> None:
    """A controller started anew reads the windows since its last written evidence: bit for bit what was read live."""
    live = {name: lab.reading(name).windows for name in ("errors", "latency")}
    oldest, newest = live["errors"][0].start, min(windows[-1].end for windows in live.values())
    for since in (oldest, live["errors"][len(live["errors"]) // 2].end, began - 3):
        again = lab.new_reader()
        again.want(KEY, wants("green", "blue"), since)
        again.read(time.time())
        for name, windows in live.items():
            expected = [w for w in windows if w.start >= since and w.end <= newest]
            found = again.reading(KEY, name, "green", since)
            assert [w for w in found.windows if w.start >= oldest and w.end <= newest] == expected
            assert found.problem is None
        assert again.stats()["envoy"].queries <= 6


def test_a_slow_scrape_loses_nothing_while_it_is_shorter_than_the_lag(lab: Lab) -> None:
    """A sample is stamped with its scrape's start: read before it was ingested, its growth would be lost."""
    lab.exporter.delay_s = 0.3
    time.sleep(2)
    before = lab.world.truth["blue"]
    lab.reader.want(KEY, wants("green", "blue"))
    for _ in range(500):
        lab.world.serve("green", 1)
        lab.world.serve("blue", 1)
        time.sleep(0.01)
    lab.settle()
    assert lab.total() == (500, 0, lab.world.truth["blue"] - before)


def test_one_bad_identity_harms_nobody_else(lab: Lab) -> None:
    bad, absent = Key("default", "bad"), Key("default", "absent")
    lab.world.extra = 'envoy_cluster_upstream_rq_xx{envoy_cluster_name="nan",envoy_response_code_class="2"} NaN'
    lab.reader.want(KEY, wants("green", "blue"))
    lab.reader.want(bad, wants("nan", "blue"))
    lab.reader.want(absent, wants("nobody", "never"))
    assert lab.problem() == "not-read-yet"
    for _ in range(8):
        lab.world.serve("green", 5)
        time.sleep(1)
    assert lab.problem() is None
    assert lab.problem(key=bad) == "bad-data"
    assert lab.problem(key=absent) == "no-data"
    assert lab.reading(key=absent).windows == ()
    lab.world.extra = ""
    lab.world.serve("nan", 5)
    assert wait_for(lambda: lab.problem(key=bad) is None, 6)
    lab.settle()
    assert lab.total()[0] == 40


def test_a_stopped_or_killed_prometheus_is_said_in_time_and_loses_no_request(lab: Lab) -> None:
    before = lab.world.truth["blue"]
    lab.reader.want(KEY, wants("green", "blue"))
    for _ in range(12):
        lab.world.serve("green", 3, status="5")
        lab.world.serve("blue", 5)
        time.sleep(0.3)
    lab.server.signal(signal.SIGSTOP)
    assert wait_for(lambda: lab.problem() == "no-answer", 10)
    assert "did not answer within 1 s" in str(lab.reading().problem)
    lab.world.serve("green", 50, status="5")
    lab.server.signal(signal.SIGCONT)
    assert wait_for(lambda: lab.problem() is None, 6)
    lab.settle()
    lab.server.end()
    lab.world.serve("green", 60)
    assert wait_for(lambda: lab.problem() == "no-answer", 10)
    assert "connection refused" in str(lab.reading().problem)
    lab.server.start()
    lab.world.serve("green", 70)
    truth = 36 + 50 + 60 + 70, 36 + 50, lab.world.truth["blue"] - before
    assert wait_for(lambda: lab.total() == truth, 15), lab.reading()
    time.sleep(2)
    assert (lab.total(), lab.problem()) == (truth, None)
    assert lab.longest_read_s < 3


def test_a_target_that_is_not_scraped_is_no_data_and_goes_on_where_it_was(lab: Lab) -> None:
    lab.world.gpu = {"green-0": 50.0, "green-1": 95.0, "green-2": 9.2e18, "greenish-0": 99.0, "blue-7": 20.0}
    lab.reader.want(KEY, wants("green", "blue"))
    lab.world.serve("green", 5)
    lab.settle()
    gauge = lab.reader.gauge(KEY, "gpu", "green")
    assert isinstance(gauge, GaugeReading)
    assert (gauge.canary, gauge.stable) == pytest.approx((0.95, 0.2))
    assert abs(gauge.at - time.time()) < 60, "seconds since 1970"
    lab.exporter.broken = True
    assert wait_for(lambda: lab.problem() == "no-data", 10)
    assert isinstance(lab.reader.gauge(KEY, "gpu", "green"), Unknown)
    lab.world.serve("green", 11, status="5")
    time.sleep(2)
    lab.exporter.broken = False
    assert wait_for(lambda: lab.problem() is None, 6)
    lab.settle()
    assert lab.total()[:2] == (16, 11)
