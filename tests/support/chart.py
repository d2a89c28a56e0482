"""The chart as Helm renders it, and what of it a test's API server gets."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import helm_python
import yaml

from rollout_controller.api.names import Raw
from rollout_controller.lab.kube import Kube
from rollout_controller.lab.kube_api import KubeRefused
from tests.support.bad_documents import BAD

CHART = Path(__file__).parents[2] / "helm" / "rollout-controller"
NAME = "rollout-controller"
NAMESPACE = "rollout-system"
KNOWN_S = 30.0


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
    return [document for text in texts for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


@dataclass(frozen=True)
class Installed:
    """`kubeconfig`: of the chart's service account, which has exactly the chart's rights. `config`: the chart's config.yaml."""

    documents: list[Raw]
    kubeconfig: Path
    config: Path

    def config_with(self, path: Path, changes: Mapping[str, Any]) -> Path:
        """A copy at `path` with what is different on this machine, for example {"metrics": {"host": "127.0.0.1", "port": 0}}."""
        path.write_text(yaml.safe_dump(_over(yaml.safe_load(self.config.read_text()), changes)))
        return path


def install_chart(
    kube: Kube,
    values: Mapping[str, Any] | None = None,
    *,
    name: str = NAME,
    namespace: str = NAMESPACE,
    pods: bool = False,
) -> Installed:
    """Apply CRDs and everything that the chart renders; the Deployment only where `pods` says so.

    Run the controller under test with the kubeconfig and the config that come back. Namespaces are made; that of the release
    takes only pods which Pod Security calls restricted.
    """
    documents = render(values, name=name, namespace=namespace)
    apply_crds(kube)
    kube.apply(restricted(namespace))
    for space in {document["metadata"].get("namespace", namespace) for document in documents} - {namespace}:
        make_namespace(kube, space)
    kube.apply(*(document for document in documents if pods or document["kind"] != "Deployment"))
    account = one(documents, "ServiceAccount")["metadata"]["name"]
    config = kube.directory / f"{namespace}-{name}-config.yaml"
    config.write_text(one(documents, "ConfigMap")["data"]["config.yaml"])
    return Installed(documents, kube.service_account(namespace, account), config)


def apply_crds(kube: Kube) -> None:
    """The chart's definitions, and wait until the API server goes by them: it does a moment after it took them."""
    kube.apply(CHART / "crds")
    deadline = time.monotonic() + KNOWN_S
    for bad in (next(bad for bad in BAD if bad.kind == kind) for kind in ("TritonRollout", "RolloutPolicy")):
        document = bad.document("default")
        path = kube.api.path_of(document).rpartition("/")[0]
        while True:
            try:
                kube.api.call("POST", path, {**document, "metadata": {"generateName": "bad-"}}, query={"dryRun": "All"})
            except KubeRefused as error:
                if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                    break
                raise
            if time.monotonic() > deadline:
                raise AssertionError(f"{bad.kind} is not checked by its definition after {KNOWN_S:g} s")
            time.sleep(0.05)


def restricted(namespace: str) -> Raw:
    """A namespace that takes only pods which Pod Security calls restricted."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}


def make_namespace(kube: Kube, namespace: str) -> None:
    """Where it is not there yet."""
    try:
        kube.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    except KubeRefused as error:
        if error.status != HTTPStatus.CONFLICT:
            raise


def one(documents: list[Raw], kind: str) -> Raw:
    """The only document of that kind."""
    found = [document for document in documents if document["kind"] == kind]
    assert len(found) == 1, f"{len(found)} of {kind}: {json.dumps(found)[:400]}"
    return found[0]


def _over(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, Mapping):
        return {**below, **{name: _over(below.get(name), value) for name, value in above.items()}}
    return above
