"""Whether stable misses an objective before an attempt has any traffic: then a canary could not be told from it."""

from __future__ import annotations

from collections.abc import Mapping

from rollout_controller.api.policy import PolicySpec, Slo
from rollout_controller.core.explain.numbers import milliseconds, percent, percent_exact
from rollout_controller.core.judge import stable
from rollout_controller.core.observation import SliReading
from rollout_controller.core.rounding import rounded


def stable_misses(policy: PolicySpec, readings: Mapping[str, SliReading]) -> str | None:
    """The first objective that stable misses by its windows of the last 1 or 5 minutes, in words; None: none is known to be."""
    for slo in policy.slos:
        bins: stable.Bins = ()
        reading = readings.get(slo.name, SliReading())
        for window in reading.windows:
            if 0 <= window.stable.bad <= window.stable.total:
                bins = stable.remember(bins, rounded(window.end - window.start, 1e3), window.stable)
        share = stable.share_over(bins, slo.bad_share)
        if share is not None:
            return f"{slo.name}: {_measured(slo, share)}, at most {percent_exact(slo.bad_share)}"
    return None


def _measured(slo: Slo, share: float) -> str:
    if slo.latency is None:
        return f"error rate {percent(share)}"
    return f"{percent(share)} slower than {milliseconds(slo.latency.max * 1000)}"
