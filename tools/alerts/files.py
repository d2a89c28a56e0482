"""The files that are made from the rules: a plain rules file, the operator's manifest, and copies for the chart and the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tools.alerts.alerts import CONTROLLER, MODELS, ROLLOUTS
from tools.alerts.model import RUNBOOKS, Alert
from tools.alerts.recordings import SERVED, TRITON

ROOT = Path(__file__).parents[2]
GROUPS = (TRITON, SERVED, MODELS, ROLLOUTS, CONTROLLER)
ALERTS = tuple(rule for group in GROUPS for rule in group.rules if isinstance(rule, Alert))
MADE = "# Made by `python -m tools.alerts --write`; a test fails when it differs from the code.\n"
PLAIN = ROOT / "alerts" / "rules.yaml"
MANIFEST = ROOT / "alerts" / "prometheusrule.yaml"
LAB = ROOT / "rollout_controller" / "lab" / "rules.yaml"
CHART = ROOT / "helm" / "rollout-controller" / "files" / "rules.yaml"


class _Dumper(yaml.SafeDumper):
    """Long PromQL as a block, as people write it."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _yaml(document: Any) -> str:
    return MADE + yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)


def texts() -> dict[Path, str]:
    """What each file must be."""
    plain, manifest = plain_and_manifest(RUNBOOKS)
    return {PLAIN: plain, MANIFEST: manifest, CHART: plain, LAB: plain}


def plain_and_manifest(runbooks: str) -> tuple[str, str]:
    """Prometheus' rules file and the operator's PrometheusRule, with links to the pages that are published there."""
    spec = {"groups": [group.to_raw(runbooks) for group in GROUPS]}
    manifest = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "rollout-controller", "labels": {"app.kubernetes.io/name": "rollout-controller"}},
        "spec": spec,
    }
    return _yaml(spec), _yaml(manifest)
