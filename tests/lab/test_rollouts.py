"""The main job on real servers: real traffic between two real Tritons behind a real Envoy, judged by a real Prometheus."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.service import Service, running

pytestmark = pytest.mark.lab

BLUE, GREEN = "triton-blue", "triton-green"
LENIENT = [
    {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}},
    {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "250ms"}, "grace": "2s"},
]
"""Each start of a controller takes a core for a second: a good version is not slower than this even then."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("rollouts")) as up:
        yield up


def canary_of(service: Service) -> tuple[str, str]:
    """(canary's host, stable's host) of the next attempt."""
    stable = service.status().get("stableSlot", "blue")
    return (GREEN, BLUE) if stable == "blue" else (BLUE, GREEN)


def other_good_version(service: Service) -> str:
    """One that stable does not run."""
    return "1" if service.status().get("stableVersion") == "2" else "2"


def test_a_good_version_is_shifted_and_promoted(service: Service) -> None:
    service.until(lambda: service.status().get("phase") not in {None, "Preparing"}, 120, "a controller that has looked")
    canary, stable = canary_of(service)
    began = time.time()
    done = service.trigger("2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert service.envoy_weights() == {canary: 100}
    record = service.status()["attempts"][0]
    assert [step["weight"] for step in record["stepsDone"]] == [10, 25, 50, 100]
    time.sleep(1.0)
    served = service.served(began)
    assert len(served[canary]) > 300, "the canary's Triton really served"
    assert not [e for entries in served.values() for e in entries if e["code"] >= 500], "no user's request failed"
    assert service.served(time.time() - 0.8).get(stable, []) == [], "nothing goes to the old version any more"


@pytest.mark.parametrize(
    ("version", "code"),
    [("3", "ErrorsViolated"), ("4", "LatencyViolated"), ("5", "ErrorsViolated"), ("6", "GuardOver")],
    ids=["errors", "latency", "death", "gpu-saturation"],
)
def test_harm_is_rolled_back(service: Service, version: str, code: str) -> None:
    canary, stable = canary_of(service)
    began = time.time()
    done = service.trigger(version)
    assert done.returncode == 3, done.stdout + done.stderr
    assert service.envoy_weights() == {stable: 100}
    record = service.status()["attempts"][0]
    assert (record["outcome"], record["reason"]["code"]) == ("RolledBack", code)
    assert service.served(began)[canary], "it had traffic"
    time.sleep(1.5)
    assert service.served(time.time() - 1.0).get(canary, []) == [], "no user meets it any more"
    assert record["reason"]["sentence"] in service.rollouts("explain", "classifier").stdout.replace("\n", " ")


def test_a_version_that_cannot_be_loaded_moves_no_traffic(service: Service) -> None:
    canary, stable = canary_of(service)
    began = time.time()
    done = service.trigger("7")
    assert done.returncode == 1, done.stdout + done.stderr
    status = service.status()
    assert status["phase"] == "Stalled"
    assert status["attempts"][0]["outcome"] == "Failed"
    assert "weights.npz: expected 30720 numbers, found 12288" in status["reason"]["sentence"], "Triton's own words"
    assert service.envoy_weights() == {stable: 100}
    assert canary not in service.served(began)


def test_an_unknown_version_is_said_in_tritons_words(service: Service) -> None:
    done = service.trigger("99")
    assert done.returncode == 1
    assert service.status()["reason"]["code"] == "LoadFailed"


def test_somebody_moves_the_weights(service: Service) -> None:
    """Drift, seen and put back while the attempt goes on."""
    canary, _ = canary_of(service)
    slow: dict[str, Any] = {  # it stays at 10 % however long the commands take
        "hold": {"min": "10m", "minRequests": 30, "timeout": "20m"},
        "undecided": {"after": "15m", "then": "Advance"},
    }
    with service.rules(**slow):
        service.ask(other_good_version(service))
        service.until(lambda: service.envoy_weights().get(canary) == 10, 120, "10 % on the canary")
        service.apply(**slow)
        service.until(lambda: service.envoy_weights().get(canary) == 10, 120, "10 % again after a re-applied manifest")
        events = service.rollouts("explain", "classifier").stdout
        assert "Drift" in events, events
        assert service.rollouts("abort", "classifier").returncode == 0
        service.until_phase("Aborted")


def test_what_it_exports(service: Service) -> None:
    status, text = service.get(f"http://127.0.0.1:{service.info.controller_port}/metrics")
    assert status == 200
    for name in (
        "rollout_phase",
        "rollout_weight",
        "rollout_attempts_total",
        "rollout_rollback_seconds_bucket",
        "rollout_drift_total",
        "rollout_retreats_total",
    ):
        assert f"\n{name}" in text, name
    assert service.get(f"http://127.0.0.1:{service.info.controller_port}/healthz")[0] == 200


def test_prometheus_away_for_a_minute(service: Service) -> None:
    """A healthy attempt holds while nothing can be seen, rolls nobody back, and goes on afterwards."""
    canary, stable = canary_of(service)
    steps, hold = [{"weight": 10}, {"weight": 100}], {"min": "20s", "minRequests": 30, "timeout": "3m"}
    with service.rules(steps=steps, hold=hold, undecided={"after": "90s", "then": "Advance"}):
        service.ask(other_good_version(service))
        service.until(lambda: service.envoy_weights().get(canary) == 10, 120, "10 % on the canary")
        service.lab.stop_one("prometheus")
        end = time.time() + 60
        service.until(lambda: (service.status().get("reason") or {}).get("code") == "Unknown", 120, "it says that it is blind")
        while time.time() < end:
            assert service.envoy_weights() == {stable: 90, canary: 10}
            time.sleep(2)
        assert "Nobody is rolled back for that" in service.status()["reason"]["sentence"]
        service.lab.start_one("prometheus")
        service.until(service.ended, 240, "an end")
        assert service.status()["attempts"][0]["outcome"] == "Promoted"


@pytest.mark.parametrize("good", [True, False], ids=["good", "errors"])
def test_kill_9_in_the_middle(service: Service, good: bool) -> None:
    """Killed every few seconds and started again: same end."""
    canary, stable = canary_of(service)
    with service.rules(slos=LENIENT):
        service.ask(other_good_version(service) if good else "3")
        end = time.time() + 600
        while not service.ended():
            assert time.time() < end, json.dumps(service.status(), indent=1)[:3000]
            time.sleep(3.1)
            service.kill()
            service.start()
    assert service.status()["phase"] == ("Succeeded" if good else "RolledBack"), service.status()["attempts"][0]
    assert service.envoy_weights() == {canary if good else stable: 100}


def test_sigterm_ends_cleanly_in_an_attempt(service: Service) -> None:
    canary, stable = canary_of(service)
    hold, undecided = {"min": "20s", "minRequests": 30, "timeout": "2m"}, {"after": "90s", "then": "Advance"}
    with service.rules(hold=hold, undecided=undecided, slos=LENIENT):
        ended_in_the_first_step(service, canary, stable)


def ended_in_the_first_step(service: Service, canary: str, stable: str) -> None:
    service.ask(other_good_version(service))
    service.until(lambda: service.envoy_weights().get(canary) == 10, 120, "10 % on the canary")
    assert service.controller is not None
    service.controller.send_signal(signal.SIGTERM)
    assert service.controller.wait(30) == 0
    assert service.envoy_weights() == {stable: 90, canary: 10}, "traffic stays as it is"
    attempt = service.status()["attempt"]["id"]
    service.start()
    service.until(lambda: service.envoy_weights().get(canary, 0) >= 25, 120, "25 %, decided by the next controller")
    assert service.status()["attempt"]["id"] == attempt
