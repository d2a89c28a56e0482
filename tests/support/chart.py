"""The chart as Helm renders it, and what of it a test's API server gets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import helm_python
import yaml

from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube

CHART = Path(__file__).parents[2] / "helm" / "rollout-controller"
NAME = "rollout-controller"
NAMESPACE = "rollout-system"


def needed() -> Raw:
    """The values that have no default."""
    found: Raw = yaml.safe_load((CHART / "ci" / "minimum-values.yaml").read_text())
    return found


def render(values: Mapping[str, Any] | None = None, *, name: str = NAME, namespace: str = NAMESPACE) -> list[Raw]:
    """All documents of the chart but its CRDs. `values` go over those that are needed.

    Raises:
        helm_python.HelmValuesError: the schema refuses the values.
    """
    merged = _over(needed(), values or {})
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(merged)
        files = chart.render(merged, name=name, namespace=namespace)
    texts = [text for path, text in sorted(files.items()) if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@dataclass(frozen=True)
class Installed:
    """`kubeconfig`: of the chart's service account, which has exactly the chart's rights. `config`: the chart's config.yaml."""

    documents: list[Raw]
    kubeconfig: Path
    config: Path


def install_chart(
    kube: Kube,
    values: Mapping[str, Any] | None = None,
    *,
    name: str = NAME,
    namespace: str = NAMESPACE,
    pods: bool = False,
) -> Installed:
    """Apply CRDs and everything that the chart renders; the Deployment only where `pods` says so.

    Run the controller under test with the kubeconfig and the config that come back. Namespaces are made.
    """
    documents = render(values, name=name, namespace=namespace)
    spaces = {namespace, *(document["metadata"].get("namespace", namespace) for document in documents)}
    kube.apply(CHART / "crds")
    kube.apply(*({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}} for space in sorted(spaces)))
    kube.apply(*(document for document in documents if pods or document["kind"] != "Deployment"))
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    config = kube.directory / f"{namespace}-{name}-config.yaml"
    config.write_text(one(documents, "ConfigMap")["data"]["config.yaml"])
    return Installed(documents, kube.service_account(namespace, account), config)


def one(documents: list[Raw], kind: str) -> Raw:
    """The only document of that kind."""
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind}: {json.dumps(found)[:400]}"
    return found[0]


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, Mapping):
        return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}
    return above
