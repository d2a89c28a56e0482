"""The sentences about the pods behind slots."""

from __future__ import annotations

from rollout_controller.api.status import Reason
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.explain.numbers import clock
from rollout_controller.core.explain.phase import reason, span
from rollout_controller.core.observation import WorkloadState


def missing(workload: WorkloadState, needed: int, *, ours: bool) -> str:
    """What pods are waited for: `waiting for 2 of 3 pods of triton-green`. `ours`: whether we scale it."""
    name = workload.name
    if not workload.current:
        words = f"Kubernetes has not taken up the change of {name} yet"
    elif workload.replicas == 0 and not ours:
        words = f"{name} has 0 replicas, and without spec.scale nobody here changes that"
    elif workload.old:
        words = f"waiting for {workload.old} {_pods(workload.old)} of {name} that still run what was there before"
    else:
        words = f"waiting for {needed - workload.ready} of {needed} {_pods(needed)} of {name}"
    return f"{words}; {workload.trouble}" if workload.trouble else words


def none_serves(slot: str, workload: WorkloadState) -> str:
    words = f"{slot} has no pod that serves (0 of {workload.replicas} {_pods(workload.replicas)} of {workload.name} ready)"
    return f"{words}; {workload.trouble}" if workload.trouble else words


def _pods(count: int) -> str:
    return "pod" if count == 1 else "pods"


def growing(words: str, weight: int, gives_up_at: float) -> Reason:
    end = f"paused at {clock(gives_up_at)} if they do not come"
    return reason(Code.WAITING_FOR_PODS, f"{words}, before {weight} % of the traffic goes there; {end}")


def no_pods(words: str, weight: int, seconds: float) -> Reason:
    return reason(Code.NO_CAPACITY, f"the pods for {weight} % of the traffic did not come up in {span(seconds)}: {words}")


def scaled_down(slot: str, seconds: float, replicas: int) -> Reason:
    return reason(Code.SCALED_DOWN, f"{slot} has had no traffic for {span(seconds)}: it goes to {replicas} {_pods(replicas)}")


def no_image(version: str, image: str) -> str:
    return f"{image!r} is no image: version {version!r} cannot stand in one"


def one_triton(workload: WorkloadState) -> str:
    """A load through a Service reaches one of its pods; the others would answer 404."""
    return f"modelRepository loads a version into one Triton, and {workload.name} has {workload.replicas} pods: use deploy.image"


def slot_problem(slot: str, sentence: str) -> Reason:
    return reason(Code.SLOT_INVALID, f"slot {slot}: {sentence}")
