"""What the controller exports: its registry, and the metrics of its own parts."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from rollout_controller.controller import rollout_metrics
from rollout_controller.controller.described import Described, Kind
from rollout_controller.controller.errors import classify
from rollout_controller.controller.queue import Figures
from rollout_controller.controller.rollout_metrics import RolloutMetrics

FAST_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
CALL_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WAIT_BUCKETS_S = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LAG_BUCKETS_S = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 30.0, 60.0)
EVENT_OUTCOMES = ("written", "known", "counted", "late", "failed", "dropped")
"""Of events: `failed` and `dropped` never reached anybody."""
POST_OUTCOMES = ("sent", "late", "refused", "expired")
"""Of messages to targets outside: `late` is tried again, `refused` and `expired` never reached anybody."""


class Metrics:
    """One process's metrics, in a registry of their own. `rollouts` has those of the rollouts.

    All label values come from short lists in the code: verbs, kinds, sources, codes, duties.
    """

    def __init__(self, counts_from: float | None = None) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = [*rollout_metrics.described()]
        self.rollouts = RolloutMetrics(time.time() if counts_from is None else counts_from)
        self.registry.register(self.rollouts)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.queue_wait = self._histogram("queue_wait_seconds", "How long a key waited in the queue", WAIT_BUCKETS_S)
        self.reconcile = self._histogram("reconcile_seconds", "One turn: see, decide, apply", FAST_BUCKETS_S)
        self.reconcile_errors = self._counter("reconcile_errors_total", "Turns that failed, by kind of trouble", "trouble")
        self.judged_lag = self._histogram(
            "judged_lag_seconds", "From a window's end until it was judged, or found to change nothing now", LAG_BUCKETS_S
        )
        self.tick_lag = self._histogram("tick_lag_seconds", "How late a duty was called", WAIT_BUCKETS_S, "duty")
        self.tick = self._histogram("tick_seconds", "How long a duty took", CALL_BUCKETS_S, "duty")
        self.tick_missed = self._counter("ticks_missed_total", "Turns of a duty that were left out", "duty")
        self.store = self._histogram("store_call_seconds", "Calls of the document store", CALL_BUCKETS_S, "verb", "kind")
        self.store_errors = self._counter("store_errors_total", "Calls that failed", "verb", "kind", "trouble")
        self.query = self._histogram("prometheus_query_seconds", "Queries to Prometheus", CALL_BUCKETS_S, "source")
        self.query_failures = self._counter("prometheus_query_failures_total", "Queries without a use", "source", "reason")
        self._watch_age = self._gauge("watch_age_seconds", "Since a watch last heard", "kind")
        self.leader = self._gauge("leader", "1 while this process leads")
        self.unknown_fields = self._gauge("definitions_unknown_fields", "Our fields that the cluster's definitions would drop")
        self._waiting = self._gauge("notifications_waiting", "Messages that wait for a target", "sink")
        self.notifications = self._counter("notifications_total", "Messages told, by sink and outcome", "sink", "outcome")
        self._gauge("build_info", "1, with the version of this program", "version").labels(_version()).set(1)

    def watch_queue(self, figures: Callable[[], Figures]) -> None:
        """Read the queue's figures at each scrape."""
        gauges: tuple[tuple[str, str, Callable[[Figures], float]], ...] = (
            ("queue_depth", "Keys that wait", lambda f: f.depth),
            ("queue_delayed", "Keys whose time has not come", lambda f: f.delayed),
            ("queue_processing", "Keys in workers", lambda f: f.processing),
            ("queue_oldest_seconds", "How long the first key in the queue has waited", lambda f: f.oldest_s),
        )
        for name, text, read in gauges:
            self._gauge(name, text).set_function(partial(_read_now, read, figures))
        self._read("queue_adds_total", "Keys that were put into the queue", lambda: figures().adds)
        self._read("queue_retries_total", "Turns that were put off by a back-off", lambda: figures().retries)
        self._read("queue_dropped_total", "Keys that a full queue did not take", lambda: figures().dropped)

    def sink(self, name: str, outcomes: Sequence[str]) -> Callable[[str], None]:
        """What counts the outcomes of one sink of messages. Each is there from the start, so that its first increase is seen."""
        for outcome in outcomes:
            self.notifications.labels(name, outcome)
        return lambda outcome: self.notifications.labels(name, outcome).inc()

    def watch_post(self, waiting: Mapping[str, Callable[[], int]]) -> None:
        """Read at each scrape how many messages wait for each target."""
        for target, count in waiting.items():
            self._waiting.labels(target).set_function(count)

    def watch_age(self, kind: str, age_s: Callable[[], float]) -> None:
        """Read at each scrape how long ago a kind's watch last heard something."""
        self._watch_age.labels(kind).set_function(age_s)

    def ticked(self, duty: str, *, lag_s: float, took_s: float, missed: int) -> None:
        """The schedule's listener."""
        self.tick_lag.labels(duty).observe(lag_s)
        self.tick.labels(duty).observe(took_s)
        self.tick_missed.labels(duty).inc(missed)

    def queried(self, source: str, seconds: float, failure: str | None = None) -> None:
        """One query of a source; `failure` is a code of `Unknown`."""
        self.query.labels(source).observe(seconds)
        if failure is not None:
            self.query_failures.labels(source, failure).inc()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time one reconcile; a failure is counted by its kind of trouble and goes on."""
        with self.reconcile.time():
            try:
                yield
            except Exception as error:
                self.reconcile_errors.labels(classify(error)).inc()
                raise

    @contextmanager
    def store_call(self, verb: str, kind: str) -> Iterator[None]:
        """Time one call of the store; a failure is counted by its kind of trouble and goes on."""
        with self.store.labels(verb, kind).time():
            try:
                yield
            except Exception as error:
                self.store_errors.labels(verb, kind, classify(error)).inc()
                raise

    def _read(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A counter that somebody else keeps."""
        self.registry.register(_Kept(self._tell(name, "counter", text), text, read))

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(self._tell(name, "gauge", text, labels), text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(self._tell(name, "counter", text, labels), text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(self._tell(name, "histogram", text, labels), text, labels, buckets=buckets, registry=self.registry)

    def _tell(self, name: str, kind: Kind, text: str, labels: tuple[str, ...] = ()) -> str:
        """Note it for docs/metrics.md; gives the whole name."""
        whole = f"rollout_controller_{name}"
        self.described.append(Described(whole, kind, text, labels))
        return whole


class _Kept(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text)

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._text, value=self._read())


def _read_now(read: Callable[[Figures], float], figures: Callable[[], Figures]) -> float:
    return float(read(figures()))


def _version() -> str:
    """Of this program, where it was installed; a bare checkout has none."""
    try:
        return importlib.metadata.version("rollout-controller")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
