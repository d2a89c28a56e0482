"""The whole job on real servers: an annotation, a Kubernetes API, istiod, Envoy, two Tritons, and a Prometheus that judges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from rollout_controller.lab.mesh import Mesh
from tests.mesh.service import STEPS, Service, Weights, running

pytestmark = pytest.mark.mesh

BLUE, GREEN = "triton-blue", "triton-green"
RPS = 100


@pytest.fixture(scope="module")
def service(mesh: Mesh) -> Iterator[Service]:
    with running(mesh, rps=RPS) as up:
        yield up


def roles(service: Service) -> tuple[str, str]:
    """(canary's host, stable's host) of the next attempt."""
    return (GREEN, BLUE) if service.status()["stableSlot"] == "blue" else (BLUE, GREEN)


def never_too_much(seen: list[int]) -> None:
    """The canary's weights in Envoy, one after the other: the steps in their order, and perhaps none again, for good."""
    steps = [0, *STEPS]
    begun = seen[:-1] if len(seen) > 1 and seen[-1] == 0 else seen
    assert begun == steps[: len(begun)], seen


def steps_done(record: dict[str, Any]) -> list[int]:
    return [step["weight"] for step in record["stepsDone"]]


def test_a_good_version_is_shifted_and_promoted(service: Service) -> None:
    canary, stable = roles(service)
    weights, before, began = Weights(service.mesh), service.inferences(), time.time()
    status = service.wait(service.ask("2"))
    assert (status["phase"], status["observedVersion"]) == ("Succeeded", "2")
    service.mesh.wait_weights({canary: 100})
    assert weights.of(canary) == [0, *STEPS], "in Envoy's own configuration, one after the other"
    assert steps_done(status["attempts"][0]) == list(STEPS)
    time.sleep(1.0)
    served, after = service.served(began), service.inferences()
    assert not [e for entries in served.values() for e in entries if e["code"] >= 500], "no user's request failed"
    assert service.served(time.time() - 0.8).get(stable, []) == [], "nothing goes to the old version any more"
    assert after[canary, "2"] >= len(served[canary]) > 300, "its Triton counted what the access log has"
    assert after[stable, "1"] - before[stable, "1"] >= len(served[stable]) > 300
    conditions = {name: status for name, (status, _) in service.conditions().items()}
    assert conditions | {"Ready": "True", "Reconciling": "False", "Stalled": "False"} == conditions
    reasons = {event["reason"] for event in service.events()}
    assert {"StepBegun", status["reason"]["code"]} <= reasons, reasons


@pytest.mark.parametrize(
    ("version", "code"),
    [("3", "ErrorsViolated"), ("4", "LatencyViolated"), ("5", "ErrorsViolated")],
    ids=["errors", "latency", "death"],
)
def test_harm_is_rolled_back(service: Service, version: str, code: str) -> None:
    canary, stable = roles(service)
    weights, began = Weights(service.mesh), time.time()
    status = service.wait(service.ask(version))
    record = status["attempts"][0]
    assert (status["phase"], record["outcome"], record["reason"]["code"]) == ("RolledBack", "RolledBack", code), record
    service.mesh.wait_weights({stable: 100})
    seen = weights.of(canary)
    never_too_much(seen)
    assert max(seen) < 100
    assert service.served(began)[canary], "it had traffic"
    time.sleep(1.5)
    assert service.served(time.time() - 1.0).get(canary, []) == [], "no user meets it any more"
    ready, message = service.conditions()["Ready"]
    assert (ready, message) == ("False", record["reason"]["sentence"])
    assert service.conditions()["Stalled"][0] == "True"
    assert record["reason"]["sentence"] in {event["note"] for event in service.events() if event["type"] == "Warning"}


def test_killed_at_each_step_and_started_again(service: Service) -> None:
    """A good version: the same attempt goes on where it was, with its clock, and Envoy never has more than the next step."""
    canary, _ = roles(service)
    number = service.status()["attemptCount"]
    weights = Weights(service.mesh)
    request = service.ask("1" if canary == BLUE else "2")
    for weight in STEPS[:-1]:
        service.until_weight(canary, weight)
        service.kill()
        before = service.status()["attempt"]
        service.start()
        after = service.until(lambda status: "attempt" in status, "an attempt that goes on")["attempt"]
        assert after["id"] == before["id"]
        if after["step"] == before["step"] and "stepStartedAt" in before:
            assert after["stepStartedAt"] == before["stepStartedAt"]
    service.until_weight(canary, 100)
    service.kill()
    service.start()
    status = service.wait(request)
    assert status["phase"] == "Succeeded"
    service.mesh.wait_weights({canary: 100})
    assert weights.of(canary) == [0, *STEPS]
    assert status["attemptCount"] == number + 1
    assert steps_done(status["attempts"][0]) == list(STEPS)


def test_killed_in_the_rollback_and_started_again(service: Service) -> None:
    """Traffic is off the canary, the status does not know it yet, and the controller dies: the next one ends the rollback."""
    canary, stable = roles(service)
    weights, number = Weights(service.mesh), service.status()["attemptCount"]
    request = service.ask("4")
    service.until_weight(canary, 10)
    service.kill()
    service.start()
    with service.without("patch", "rollouts.triton.dev", "tritonrollouts/status"):
        service.until_weight(stable, 100)
        service.kill()
        assert service.status()["phase"] == "Progressing", "it was killed in the middle"
    service.start()
    status = service.wait(request)
    record = status["attempts"][0]
    assert (status["phase"], record["outcome"], record["reason"]["code"]) == ("RolledBack", "RolledBack", "LatencyViolated")
    assert status["attemptCount"] == number + 1
    service.mesh.wait_weights({stable: 100})
    never_too_much(weights.of(canary))
    assert service.conditions()["Ready"] == ("False", record["reason"]["sentence"])
