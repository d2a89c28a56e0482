"""A pretend world with virtual traffic: exact, without chance, and refusing to be impossible.

It plays everything outside of `decide`: versions behave as told, Triton loads them, requests are counted into windows,
Prometheus and people can misbehave. Stories, property tests and the kill tests run in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import takewhile

from rollout_controller.api.meta import parse
from rollout_controller.api.policy import PolicySpec, RolloutPolicy
from rollout_controller.core.observation import Counts, GaugeReading, SliReading, SlotState, Unknown, Window

T0 = 1_800_000_000.0
"""The worlds begin here; stories show seconds since then."""


@dataclass(frozen=True)
class Behaviour:
    """How a version treats its requests: share of errors, share of slow ones, GPU use, why it cannot be loaded."""

    errors: float = 0.0
    slow: float = 0.0
    gpu: float = 0.4
    load_s: float = 3.0
    fails_to_load: str | None = None


@dataclass
class World:
    """Slots with versions, and the traffic that the route sends them, `rps` requests a second in all."""

    rps: float = 100.0
    window_s: float = 5.0
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    running: dict[str, str | None] = field(default_factory=lambda: {"blue": "1", "green": None})
    weights: Callable[[], Mapping[str, int]] = dict
    now: float = T0
    dark: tuple[float, float] | None = None
    """Prometheus does not answer in this span, seconds since 1970."""
    loading: dict[str, tuple[str, float]] = field(default_factory=dict)
    failed: dict[str, tuple[str, str]] = field(default_factory=dict)
    warmed: dict[str, str] = field(default_factory=dict)
    history: list[tuple[float, dict[str, dict[str, Counts]]]] = field(default_factory=list)
    """(window end, slot -> kind -> counts), oldest first."""
    _part: dict[tuple[str, str], float] = field(default_factory=dict)

    def advance(self, to: float) -> None:
        """Let time pass; refuses to run backwards."""
        if to < self.now:
            raise AssertionError(f"time runs backwards: {self.now} -> {to}")
        while self.now + self.window_s <= to:
            self.now += self.window_s
            self._window()
        for slot, (version, done_at) in list(self.loading.items()):
            if to >= done_at:
                self._loaded(slot, version)

    def _loaded(self, slot: str, version: str) -> None:
        del self.loading[slot]
        why = self.behaviours.get(version, Behaviour()).fails_to_load
        if why is not None:
            self.failed[slot] = (version, why)
        else:
            self.running[slot] = version

    def _window(self) -> None:
        weights = dict(self.weights())
        if weights and sum(weights.values()) != 100:
            raise AssertionError(f"the route's weights do not sum to 100: {weights}")
        counted: dict[str, dict[str, Counts]] = {}
        for slot in self.running:
            total = self._whole(slot, "total", self.rps * self.window_s * weights.get(slot, 0) / 100)
            how = self.behaviours.get(self.running[slot] or "", Behaviour(errors=1.0))
            errors = min(total, self._whole(slot, "errors", total * how.errors))
            slow = min(total, self._whole(slot, "slow", total * how.slow))
            if weights.get(slot, 0) == 0 and total:
                raise AssertionError(f"slot {slot} without traffic served {total} requests")
            counted[slot] = {"errors": Counts(total, errors), "latency": Counts(total, slow)}
        self.history.append((self.now, counted))

    def _whole(self, slot: str, what: str, amount: float) -> int:
        """Whole requests; the fractions are carried on."""
        amount += self._part.pop((slot, what), 0.0)
        self._part[slot, what] = amount - int(amount + 1e-9)
        return int(amount + 1e-9)

    # --- what the controller's feeders see -------------------------------------------------------------------

    def reading(self, kind: str, canary: str, since: float) -> SliReading:
        """The windows that end after `since`, as a reader of a Prometheus that is up would have them."""
        stable = next(slot for slot in self.running if slot != canary)
        fresh = [
            Window(end - self.window_s, end, counted[canary][kind], counted[stable][kind])
            for end, counted in takewhile(lambda window: window[0] > since, reversed(self.history))
            if not self._dark_at(end)
        ][::-1]
        if self._dark_at(self.now):
            assert self.dark is not None
            return SliReading(tuple(fresh), Unknown("no-answer", "Prometheus does not answer", self.dark[0]))
        if self.dark is not None and self.now >= self.dark[1] and since < self.dark[1]:
            fresh = [*fresh]  # the windows of the outage were never scraped: they are gone
        return SliReading(tuple(fresh))

    def _dark_at(self, instant: float) -> bool:
        return self.dark is not None and self.dark[0] < instant <= self.dark[1]

    def gauge(self, canary: str) -> GaugeReading | Unknown:
        if self._dark_at(self.now):
            return Unknown("no-answer", "Prometheus does not answer", self.now)
        stable = next(slot for slot in self.running if slot != canary)
        use = {s: self.behaviours.get(v or "", Behaviour()).gpu for s, v in self.running.items()}
        return GaugeReading(use[canary] if self.weights().get(canary) else 0.0, use[stable], self.now)

    def slot(self, name: str) -> SlotState:
        failed = self.failed.get(name)
        loading = self.loading.get(name)
        version = self.running[name]
        return SlotState(
            version=version,
            ready=version is not None,
            loading=loading[0] if loading else None,
            failed=failed[1] if failed else None,
            failed_version=failed[0] if failed else None,
            warmed=self.warmed.get(name),
        )

    # --- what the controller does to it ----------------------------------------------------------------------

    def load(self, slot: str, version: str) -> None:
        lost = self.running[slot] is None and slot not in self.loading
        if self.weights().get(slot, 0) != 0 and not lost:
            raise AssertionError(f"version {version} is loaded into {slot}, which has {self.weights()[slot]} % of the traffic")
        self.failed.pop(slot, None)
        self.warmed.pop(slot, None)
        if self.loading.get(slot, ("", 0.0))[0] != version:
            self.running[slot] = None
            self.loading[slot] = (version, self.now + self.behaviours.get(version, Behaviour()).load_s)

    def warm_up(self, slot: str, version: str) -> None:
        if self.running[slot] == version:
            self.warmed[slot] = version


def policy(**changes: object) -> RolloutPolicy:
    """The policy of the stories: the defaults of judge.md with the demo's steps; no guard and no retreat unless asked for."""
    spec: dict[str, object] = {
        "steps": [{"weight": weight} for weight in (10, 25, 50, 100)],
        "slos": [
            {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}},
            {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}},
        ],
        "hold": {"min": "1m", "minRequests": 30, "timeout": "10m"},
        "undecided": {"after": "3m"},
        "unknown": {"after": "5m"},
        "judge": {"tolerance": {"errors": "30s", "latency": "40s"}},
        "retreat": "off",
        **changes,
    }
    raw = {"apiVersion": "rollouts.triton.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": {"name": "story"}, "spec": spec}
    return parse(RolloutPolicy, raw)


def with_spec(given: RolloutPolicy, spec: PolicySpec) -> RolloutPolicy:
    return given.model_copy(update={"spec": spec})


__all__ = ["T0", "Behaviour", "World", "policy", "replace", "with_spec"]
