"""What a rollout hangs on is what its spec and policy say now: documents, Tritons, questions; nothing is kept of before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import responses

from rollout_controller.api.meta import Key, Raw, evolve, parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.api.status import Attempt, Phase, Reason, RolloutStatus
from rollout_controller.cluster.store import POLICY, Kind
from rollout_controller.controller.metrics import Metrics
from rollout_controller.controller.observe import Observer, Sight
from rollout_controller.controller.senses import LiveSenses
from rollout_controller.controller.tritons import by_name
from rollout_controller.controller.witness import LiveWitness
from rollout_controller.controller.workloads import Workloads
from rollout_controller.core.calm import Calm, Quiet
from rollout_controller.core.observation import Observation, SliReading, Unknown
from rollout_controller.core.plan import Plan
from rollout_controller.slo.prometheus import Prometheus
from rollout_controller.slo.reader import SliReader
from rollout_controller.slo.sources import load_sources
from rollout_controller.triton.prober import Prober
from tests.contract import documents
from tests.support.watching import soon
from tests.unit.slo.test_reader import Wire
from tests.unit.triton.wire_triton import WireTriton, serve

LOAD = "POST /v2/repository/models/m/load"
SOURCES = load_sources()


class Cache:
    """Documents in memory, as the caches hold them."""

    def __init__(self) -> None:
        self.held: dict[tuple[Kind, Key], Raw] = {}

    def get(self, kind: Kind, key: Key) -> Raw | None:
        return self.held.get((kind, key))

    def keys(self, kind: Kind) -> tuple[Key, ...]:
        return tuple(key for each, key in self.held if each is kind)

    def synced(self, kind: Kind, namespace: str | None = None) -> bool:
        return True

    def refused(self, kind: Kind, namespace: str | None = None) -> str | None:
        return None


@dataclass
class Parts:
    """A witness with the feeders that it aims."""

    witness: LiveWitness
    senses: LiveSenses
    prober: Prober
    cache: Cache


TRITONS: dict[str, str] = {}


@pytest.fixture
def parts() -> Iterator[Parts]:
    cache = Cache()
    prober = Prober(on_change=lambda _key: None)
    reader = SliReader(Prometheus("http://127.0.0.1:9"), SOURCES, window_s=1.0, lag_s=0.1)
    senses = LiveSenses(reader, prober, SOURCES, by_name(TRITONS), Workloads(cache, time.time))
    yield Parts(LiveWitness(senses, Metrics()), senses, prober, cache)
    prober.stop()
    TRITONS.clear()


def rollout(name: str = "resnet50", **spec: Any) -> TritonRollout:
    raw = documents.rollout("vision", name)
    raw["spec"] |= {"deploy": {"modelRepository": {"model": "m"}}, **spec}
    return parse(TritonRollout, raw)


def policy(**slo: Any) -> RolloutPolicy:
    raw = documents.policy("vision")
    raw["spec"]["slos"] = [{"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}, **slo}]
    return parse(RolloutPolicy, raw)


def test_a_version_asked_for_together_with_another_triton_is_loaded_there_only(parts: Parts) -> None:
    """Before, the turn that took the ask up knew the slot's Triton of before, and had it load the version."""
    with serve(WireTriton()) as blue, serve(WireTriton()) as old, serve(WireTriton()) as new:
        blue.versions = old.versions = new.versions = {"1": "READY"}
        TRITONS.update({"triton-blue": blue.url, "triton-green": old.url, "triton-new": new.url})
        parts.prober.start()
        first = rollout()
        parts.witness.looks(first)
        parts.senses.aim(first, policy(), RolloutStatus())
        soon(lambda: parts.senses.slot(first, "green").version == "1")
        second = rollout(slots={"blue": {"host": "triton-blue"}, "green": {"host": "triton-new"}})
        parts.witness.looks(second)
        problem = parts.senses.slot(second, "green").problem
        assert problem is None or problem.code == "not-read-yet", "what another Triton said is not this one's"
        parts.senses.load(second, "green", "2")
        soon(lambda: parts.senses.slot(second, "green").version == "2")
        assert LOAD in new.calls
        assert LOAD not in old.calls


def test_a_slot_that_the_spec_has_no_more_is_asked_about_no_more(parts: Parts) -> None:
    with serve(WireTriton()) as triton:
        TRITONS.update(dict.fromkeys(("triton-blue", "triton-green", "triton-new"), triton.url))
        first = rollout()
        parts.senses.aim(first, policy(), RolloutStatus())
        second = rollout(slots={"blue": {"host": "triton-blue"}, "red": {"host": "triton-new"}})
        parts.witness.looks(second)
        assert {name for _, name in parts.prober._slots} == {"blue", "red"}
        parts.senses.forget(second.metadata.key)
        assert not parts.prober._slots
        assert not parts.prober._by_url


def test_counts_of_an_earlier_limit_are_no_evidence_for_a_new_one() -> None:
    """A limit is loosened while windows wait to be judged: what was slower than the old one would be harm by the new one."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        wire = Wire(mock)
        prober = Prober(on_change=lambda _key: None)
        senses = LiveSenses(wire.reader, prober, SOURCES, by_name({}), Workloads(Cache(), time.time))
        tried = rollout(slots={"blue": {"host": "b"}, "green": {"host": "g"}})
        attempt = Attempt(id="1-1", number=1, version="2", slot="green", started_at=wire.now)
        before = policy()
        senses.aim(tried, before, evolve(RolloutStatus(), phase=Phase.PROGRESSING, stable_slot="blue", attempt=attempt))
        wire.tick(12)

        def reading(rules: RolloutPolicy) -> SliReading:
            return senses.reading(tried, rules.spec.slos[0], "green", wire.now - 60)

        assert reading(before).windows
        assert reading(policy(grace="30s")).windows, "the source is asked the same"
        looser = reading(policy(latency={"quantile": 0.95, "max": "250ms"}))
        assert looser.windows == ()
        assert looser.problem is not None
        assert looser.problem.code == "not-read-yet"


def test_a_rollout_that_hangs_on_another_route_is_woken_by_that_only(parts: Parts) -> None:
    parts.witness.looks(rollout(policy="balanced", route={"virtualService": "old"}))
    key = Key("vision", "resnet50")
    assert parts.witness.users_of("VirtualService", Key("vision", "old")) == (key,)
    parts.witness.looks(rollout(policy="careful", route={"virtualService": "new"}))
    assert parts.witness.users_of("VirtualService", Key("vision", "old")) == ()
    assert parts.witness.users_of("RolloutPolicy", Key("vision", "balanced")) == ()
    assert parts.witness.users_of("VirtualService", Key("vision", "new")) == (key,)
    assert parts.witness.users_of("RolloutPolicy", Key("vision", "careful")) == (key,)


def test_nothing_is_kept_of_rollouts_that_went(parts: Parts) -> None:
    """Each with a route, a policy and workloads of its own, as CI makes them for a branch and deletes them."""
    observer = Observer(parts.cache, parts.senses, SOURCES)
    for number in range(50):
        name = f"branch-{number}"
        slots = {slot: {"host": f"{name}-{slot}", "workload": {"name": f"{name}-{slot}"}} for slot in ("blue", "green")}
        each = rollout(name, policy=name, route={"virtualService": name}, slots=slots)
        parts.cache.held[POLICY, Key("vision", name)] = documents.policy("vision", name)
        parts.witness.looks(each)
        observer.see(each, RolloutStatus())
        del parts.cache.held[POLICY, Key("vision", name)]
        observer.forget_policy(Key("vision", name))
        observer.forget(each.metadata.key)
        parts.witness.gone(each.metadata.key)
    left = {
        f"{type(part).__name__}.{name}": len(held)
        for part in (parts.witness, parts.senses, parts.prober, parts.senses._workloads, observer)
        for name, held in vars(part).items()
        if isinstance(held, (dict, set, list)) and name != "_sources" and held
    }
    assert left == {}


def test_only_an_attempt_from_whose_news_something_may_follow_has_a_turn() -> None:
    """Good windows wait; one that may be harm, and a Prometheus that says nothing, make a turn at once."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        wire = Wire(mock)
        prober = Prober(on_change=lambda _key: None)
        metrics = Metrics()
        senses = LiveSenses(wire.reader, prober, SOURCES, by_name({}), Workloads(Cache(), time.time))
        witness = LiveWitness(senses, metrics)
        tried = rollout(slots={"blue": {"host": "b"}, "green": {"host": "g"}})
        rules = policy(latency=None, errorRate={"max": "1%"}, name="errors")
        attempt = Attempt(id="1-1", number=1, version="2", slot="green", started_at=wire.now, weight=10)
        status = evolve(RolloutStatus(), phase=Phase.PROGRESSING, stable_slot="blue", attempt=attempt)
        quiet = Quiet(judged_to=wire.now, whole_at=wire.now + 300, alarming=0.03, harmless=-1.0, least=0.0)

        def turned(calm: Calm | None) -> None:
            plan = Plan(status, (), wire.now + 30, Reason(code="Waiting", sentence=""), calm)
            witness.turned(tried, Sight(rules, Observation(Unknown("not-found", ""), {})), plan)

        witness.looks(tried)
        turned(None)
        wire.tick(12)
        assert list(witness.stirred()) == [tried.metadata.key], "without a word about it, all news make turns"
        turned(Calm("green", {"errors": quiet}, {}))
        wire.tick(20)
        assert not list(witness.stirred())
        wire.errors["g", "5"] = "1"
        wire.tick(10)
        assert list(witness.stirred()) == [tried.metadata.key], "1 of 11"
        wire.errors["g", "5"] = "0"
        turned(Calm("green", {"errors": quiet._replace(judged_to=wire.now)}, {}))
        wire.fault = lambda _query: (503, {}, "")
        wire.tick(20)
        assert not list(witness.stirred()), "it may come yet"
        wire.tick(20)
        assert list(witness.stirred()) == [tried.metadata.key]
