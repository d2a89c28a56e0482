"""`python -m rollout_controller.controller.metrics_page --write`: docs/metrics.md, made from the metrics themselves."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import get_args

from rollout_controller.api.status import Condition, GuardReading, Outcome, Phase, SlotStatus, VerdictKind
from rollout_controller.cluster.store import KINDS
from rollout_controller.controller.described import Described
from rollout_controller.controller.errors import Trouble
from rollout_controller.controller.metrics import EVENT_OUTCOMES, POST_OUTCOMES, Metrics
from rollout_controller.controller.queue import Figures
from rollout_controller.core.conditions import ACCEPTED, ROUTE_IN_SYNC, TYPES

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def _one_of(values: Iterable[object]) -> str:
    return ", ".join(f"`{value}`" for value in values)


LABELS: Mapping[str, str] = {
    "namespace": "of the TritonRollout",
    "rollout": "its name",
    "phase": _one_of(phase.value for phase in Phase),
    "reason": "a code of [operations.md](operations.md)",
    "condition": _one_of((*TYPES, ACCEPTED, ROUTE_IN_SYNC)),
    "status": _one_of(get_args(Condition.model_fields["status"].annotation)),
    "slot": "of the spec: two for each rollout",
    "role": _one_of(get_args(SlotStatus.model_fields["role"].annotation)),
    "version": "the version of a slot, one at a time",
    "workload": "the slot's workload, or its host where there is none",
    "kind": "`desired`, `observed`; of the controller: " + _one_of(kind.name for kind in KINDS),
    "event": _one_of(("Started", "Step", "Retreated", *get_args(Outcome))),
    "slo": "of the policy",
    "guard": "of the policy",
    "verdict": _one_of(kind.value for kind in VerdictKind),
    "state": _one_of(get_args(GuardReading.model_fields["state"].annotation)),
    "outcome": f"of attempts: {_one_of(get_args(Outcome))}; of events: {_one_of(EVENT_OUTCOMES)}; of other messages: "
    + _one_of(POST_OUTCOMES),
    "trouble": _one_of(get_args(Trouble)),
    "duty": "`tick`, `read`, `definitions`",
    "verb": "a call of the store: `get`, `list`, `create`, `replace`, `patch`, `replace_status`, `delete`",
    "source": "an SLI source, as in [sources.md](sources.md)",
    "sink": "where messages go: `event`, and the targets of [notifications.md](notifications.md)",
}
"""What the values of each label can be. None grows with requests, attempts or time; `version` has one value at a time."""

HEAD = """\
# Metrics

Made by `python -m rollout_controller.controller.metrics_page --write`; a test fails when it differs from the code.

The controller serves these at `/metrics` (port 8080 on a cluster). How to have them scraped, with dashboards and alerts on top:
[observability.md](observability.md). Besides, there are the usual `process_*` and `python_info`.

- Series of a rollout are made at each scrape from what is in memory and go with it. Only the replica that leads has them.
- Shares are from 0 to 1, times in seconds. Weights are percent, as in the VirtualService.
- Of verdicts, reasons, conditions and guards' states only the one that is so now is there, with the value 1.
- Counters begin when a process begins to lead: neither a restart nor a new leader counts an end twice.
"""


def everything() -> list[Described]:
    """All metrics, in the order in which they are served."""
    metrics = Metrics(counts_from=0)
    metrics.watch_queue(lambda: Figures(0, 0, 0, 0.0, 0, 0, 0))
    return metrics.described


def page() -> str:
    """docs/metrics.md."""
    told = everything()
    used = {label for metric in told for label in metric.labels}
    rollouts = [metric for metric in told if not metric.name.startswith("rollout_controller_")]
    own = [metric for metric in told if metric not in rollouts]
    labels = [f"| `{name}` | {LABELS[name]} |" for name in LABELS if name in used]
    return "\n".join(
        [
            HEAD,
            "## Rollouts\n",
            "All have the labels `namespace` and `rollout`; those below come on top.\n",
            *_table(rollouts),
            "\n## The controller itself\n",
            *_table(own),
            "\n## Labels\n",
            "| label | values |",
            "|---|---|",
            *labels,
            "",
        ]
    )


def _table(metrics: list[Described]) -> list[str]:
    rows = [
        f"| `{m.name}` | {m.kind} | {_one_of(x for x in m.labels if x not in ('namespace', 'rollout'))} | {m.text} |"
        for m in metrics
    ]
    return ["| metric | type | labels | meaning |", "|---|---|---|---|", *rows]


def main() -> int:
    """Print the page, or write it."""
    parser = argparse.ArgumentParser(prog="python -m rollout_controller.controller.metrics_page", description="docs/metrics.md")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name} instead of printing it")
    if parser.parse_args().write:
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
