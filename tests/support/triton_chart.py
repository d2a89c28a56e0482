"""The chart `helm/triton` as Helm renders it without a cluster to ask."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

from rollout_controller.api.names import Raw

TRITON = Path(__file__).parents[2] / "helm" / "triton"
NAMESPACE = "vision"


def values_of(name: str) -> Raw:
    """One of the chart's ci/NAME-values.yaml."""
    found: Raw = yaml.safe_load((TRITON / "ci" / f"{name}-values.yaml").read_text())
    return found


def over(below: Any, above: Any) -> Any:
    """As Helm lays values over each other."""
    if isinstance(below, dict) and isinstance(above, Mapping):
        return {**below, **{name: over(below.get(name), value) for name, value in above.items()}}
    return above


def rendered(
    values: Mapping[str, Any] | None = None, *, base: str = "minimum", name: str = "triton", namespace: str = NAMESPACE
) -> list[Raw]:
    """All documents of the chart. `values` go over those of ci/BASE-values.yaml.

    Raises:
        helm_python.HelmValuesError: the schema refuses the values.
    """
    merged = over(values_of(base), values or {})
    with helm_python.Chart.load(TRITON) as chart:
        chart.validate_schema(merged)
        files = chart.render(merged, name=name, namespace=namespace)
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def named(documents: list[Raw], kind: str) -> dict[str, Raw]:
    """The documents of that kind by their names."""
    return {document["metadata"]["name"]: document for document in documents if document["kind"] == kind}


EVERYTHING: Raw = {
    "model": "resnet50",
    "image": {"pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "pull"}],
    "modelRepository": {"credentials": {"secret": "triton-gcs", "file": "key.json"}, "loadAtStart": True},
    "slots": ["red", "black"],
    "gpu": {"count": 13, "resource": "nvidia.com/mig-1g.10gb"},
    "resources": {"requests": {"cpu": "3250m"}, "limits": {"memory": "9Gi"}},
    "sharedMemory": "2Gi",
    "probes": {"liveness": {"failureThreshold": 77}, "readiness": {"periodSeconds": 33}},
    "drain": {"endpointsSeconds": 66, "requestsSeconds": 44},
    "rollout": {
        "name": "resnet",
        "policy": "mine",
        "policySpec": {"steps": [{"weight": 100}], "slos": [{"name": "errors", "source": "istio", "errorRate": {"max": "1%"}}]},
        "scale": {"idle": 37, "idleAfter": "20m"},
    },
    "virtualService": {
        "name": "front",
        "hosts": ["resnet.example.com"],
        "gateways": ["istio-system/public", "mesh"],
        "protocol": "grpc",
        "match": [{"uri": {"prefix": "/inference."}}],
        "timeout": "7s",
        "retries": 10,
    },
    "destinationRule": {"trafficPolicy": {"connectionPool": {"http": {"http2MaxRequests": 555}}}},
    "istio": {"proxyConfig": {"terminationDrainDuration": "20s"}},
    "monitoring": {"serviceMonitor": {"enabled": True, "interval": "31s", "labels": {"release": "kube-prometheus-stack"}}},
    "serviceAccount": {"name": "reader", "annotations": {"cloud/role": "models"}},
    "runAsUser": 1001,
    "readOnlyRootFilesystem": True,
    "extraArgs": ["--metrics-config=histogram_latencies=true"],
    "extraEnv": [{"name": "LOG", "value": "verbose"}],
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "priorityClassName": "high",
    "runtimeClassName": "nvidia",
    "nodeSelector": {"pool": "gpu"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "topologySpreadConstraints": [{"maxSkew": 29, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
    "podAnnotations": {"team": "vision"},
    "podLabels": {"app": "resnet"},
    "fullnameOverride": "resnet50",
}
"""Over the minimum: each value that a model repository takes, with something other than its default."""
METRICS = [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}]
IMAGES: Raw = {
    "modelRepository": {"path": "/repository"},
    "replicas": 23,
    "strategy": {"maxSurge": 41, "maxUnavailable": "42%"},
    "autoscaling": {
        "enabled": True,
        "minReplicas": 17,
        "maxReplicas": 19,
        "metrics": METRICS,
        "scaleDownStabilizationSeconds": 1800,
    },
}
"""Over the values of images: what only they take."""
