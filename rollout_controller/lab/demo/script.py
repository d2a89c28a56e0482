"""The play: which versions CI asks for, what is wrong with each, how each must end - and whether it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rollout_controller.api.status import AttemptRecord

Harm = Literal["none", "failed", "slow"]


@dataclass(frozen=True)
class Act:
    """One ask of CI. `what` completes "version 3: ..."; `outcome` and `code` are how the attempt must end."""

    version: str
    request: str
    what: str
    outcome: str
    code: str
    harm: Harm


ACTS = (
    Act("2", "demo-1", "a good one", "Promoted", "Promoted", "none"),
    Act("3", "demo-2", "fails 5 % of its requests", "RolledBack", "ErrorsViolated", "failed"),
    Act("4", "demo-3", "answers 38 % of its requests in about 180 ms", "RolledBack", "LatencyViolated", "slow"),
    Act("5", "demo-4", "dies under its first requests", "RolledBack", "ErrorsViolated", "failed"),
)


@dataclass(frozen=True)
class Ending:
    """How an act ended: the attempt's record (None: it did not end in time), and the route's weights then, by version."""

    act: Act
    record: AttemptRecord | None
    weights: Mapping[str, int]


def differences(ending: Ending, serving: str) -> Sequence[str]:
    """What is not as it should be, one sentence each. `serving`: the version that must have all the traffic now."""
    act, record = ending.act, ending.record
    if record is None:
        return (f"version {act.version}: the attempt did not end in time",)
    found = []
    if record.outcome != act.outcome:
        found.append(f"version {act.version}: should end {act.outcome}, ended {record.outcome} ({record.reason.sentence})")
    elif record.reason.code != act.code:
        found.append(f"version {act.version}: should end by {act.code}, ended by {record.reason.code} ({record.reason.sentence})")
    if ending.weights.get(serving) != 100:
        shares = ", ".join(f"version {version} {percent} %" for version, percent in sorted(ending.weights.items())) or "unknown"
        found.append(f"after version {act.version}: all traffic should be on version {serving}, the route says {shares}")
    return tuple(found)


def serving_after(acts: Sequence[Act], first: str) -> list[str]:
    """The version that serves after each act, when all ends as it should."""
    serving, out = first, []
    for act in acts:
        serving = act.version if act.outcome == "Promoted" else serving
        out.append(serving)
    return out
