"""Documents that every store takes."""

from __future__ import annotations

from rollout_controller.api.names import Raw


def rollout(namespace: str, name: str = "resnet50") -> Raw:
    return {
        "apiVersion": "rollouts.triton.dev/v1alpha1",
        "kind": "TritonRollout",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"rollouts.triton.dev/version": "1"}},
        "spec": {
            "policy": "balanced",
            "route": {"virtualService": "triton", "http": "resnet50"},
            "slots": {"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}},
        },
    }


def policy(namespace: str, name: str = "balanced") -> Raw:
    return {
        "apiVersion": "rollouts.triton.dev/v1alpha1",
        "kind": "RolloutPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "steps": [{"weight": 10}, {"weight": 100}],
            "slos": [{"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}}],
        },
    }


def virtual_service(namespace: str, name: str = "triton", blue: int = 100, green: int = 0) -> Raw:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "annotations": {"example.com/n": "0"}},
        "spec": {
            "hosts": ["triton.example.com"],
            "http": [
                {
                    "name": "resnet50",
                    "route": [
                        {"destination": {"host": "triton-blue"}, "weight": blue},
                        {"destination": {"host": "triton-green"}, "weight": green},
                    ],
                }
            ],
        },
    }


def told(namespace: str, name: str, about: str) -> Raw:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": "2026-01-31T13:00:00.000000Z",
        "reportingController": "rollouts.triton.dev/rollout-controller",
        "reportingInstance": "one",
        "action": "Told",
        "reason": "Promoted",
        "note": "Version 2 on green has all traffic.",
        "type": "Normal",
        "regarding": {
            "apiVersion": "rollouts.triton.dev/v1alpha1",
            "kind": "TritonRollout",
            "name": about,
            "namespace": namespace,
        },
    }
