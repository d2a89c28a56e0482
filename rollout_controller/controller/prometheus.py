"""The Prometheus that a configuration names."""

from __future__ import annotations

from rollout_controller.controller.config import PrometheusConfig
from rollout_controller.slo.prometheus import Prometheus


def prometheus(config: PrometheusConfig, *, timeout_s: float = 5.0) -> Prometheus:
    """With its credentials, authority and parameters; an answer has to be there in time."""
    return Prometheus(
        config.url,
        timeout_s=timeout_s,
        token_file=config.token_file,
        ca_file=config.ca_file,
        headers=config.headers,
        params=config.params,
    )
