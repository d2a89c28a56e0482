"""What a controller without a cluster must know of its machine: DIR/local.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field

from rollout_controller.api.errors import FieldError, InvalidDocument
from rollout_controller.api.meta import Model, parse
from rollout_controller.api.quantities import Duration

FILE_NAME = "local.yaml"
DATABASE_NAME = "rollouts.db"


class PrometheusConfig(Model):
    """Where metrics are read. `window`: one batch of queries this often, at least the scrape interval; `lag`: how long a
    scrape takes until its samples can be queried.
    """

    url: str
    window: Duration = 5.0
    lag: Duration = 1.0


class EnvoyConfig(Model):
    """Envoy's file-based RDS; the path is relative to the file's folder."""

    rds: str = "envoy/rds/rds.yaml"
    route_config: str = "local"


class MetricsConfig(Model):
    """Where the controller serves /metrics, /healthz and /readyz; 0: a free port."""

    port: Annotated[int, Field(ge=0, le=65535)] = 0


class LocalConfig(Model):
    """DIR/local.yaml."""

    prometheus: PrometheusConfig
    envoy: EnvoyConfig = EnvoyConfig()
    triton: dict[str, str]
    """Base URL of the Triton behind each host of the slots."""
    metrics: MetricsConfig = MetricsConfig()


def load_local(directory: Path) -> LocalConfig:
    """Read DIR/local.yaml; raises InvalidDocument."""
    path = directory / FILE_NAME
    try:
        raw = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        missing = FieldError(
            "", "there is no such file", "`rollouts lab up` writes one; docs/local.md says what is in it", str(path)
        )
        raise InvalidDocument(str(path), [missing]) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InvalidDocument(str(path), [FieldError("", str(error), "YAML text that can be read", str(path))]) from None
    if not isinstance(raw, dict):
        raise InvalidDocument(str(path), [FieldError("", f"{raw!r}", "a mapping with prometheus, envoy, triton", str(path))])
    try:
        return parse(LocalConfig, raw)
    except InvalidDocument as error:
        raise error.at(str(path), {}) from None
