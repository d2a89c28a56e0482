"""PURE: where the Triton behind a slot's host answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from rollout_controller.core.observation import Unknown

Tritons = Callable[[str, str], str | Unknown]
"""(namespace of the rollout, host of a slot) -> base URL, or why there is none."""

_FROM_HOST = re.compile(r"\{host\}[^/:]*")


def by_name(urls: Mapping[str, str]) -> Tritons:
    """Local mode: local.yaml names each Triton."""

    def find(_namespace: str, host: str) -> str | Unknown:
        if host in urls:
            return urls[host]
        known = ", ".join(sorted(urls)) or "none"
        return Unknown("invalid", f"local.yaml names no Triton for host {host!r}; it names {known}")

    return find


def by_pattern(pattern: str, urls: Mapping[str, str]) -> Tritons:
    """On a cluster: `urls` (by `namespace/host`, then by `host`) first, else the pattern.

    A host without a dot takes the place of `{host}`, the rollout's namespace that of `{namespace}`. A host with a dot is a
    service's full name (`triton.vision.svc.cluster.local`) and takes the place of `{host}` and of what follows up to the
    port. Only services of the rollout's own namespace are reached so: who may write a TritonRollout in one namespace must not
    have models loaded in another. An operator names what else there is in `urls`.
    """

    def find(namespace: str, host: str) -> str | Unknown:
        for name in (f"{namespace}/{host}", host):
            if name in urls:
                return urls[name]
        if "." not in host:
            return pattern.replace("{host}", host).replace("{namespace}", namespace)
        _service, where, *rest = host.split(".")
        if where != namespace or rest[:1] not in ([], ["svc"]):
            return Unknown(
                "invalid",
                f"host {host!r} is no service of namespace {namespace}, so its Triton is not asked; "
                "the controller's configuration can name it under triton.urls",
            )
        return _FROM_HOST.sub(host, pattern)

    return find
