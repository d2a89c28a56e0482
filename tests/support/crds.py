"""The custom resource definitions that the chart installs."""

from __future__ import annotations

from pathlib import Path

CRDS = Path(__file__).parents[2] / "helm" / "rollout-controller" / "crds"
"""For `kube.apply`. An API server that several tests share gets them anew from each: one of them tries older ones."""
