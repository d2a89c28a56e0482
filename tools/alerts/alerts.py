"""Every alert. What to do about each stands in docs/runbooks/NAME.md."""

from __future__ import annotations

from tools.alerts.model import Alert, Group
from tools.alerts.recordings import ERRORS, GPU, burnt

BUDGET = 0.01
"""Share of requests that may fail: the policies' own objective (errorRate max 1%)."""
FAST, SLOW = 14.4, 6.0
"""Burn rates of the SRE workbook: 2 % of a 30 days' budget in an hour, 5 % in six."""
WHO = "{{ $labels.namespace }}/{{ $labels.rollout }}"
MODEL = "{{ $labels.model }} version {{ $labels.version }} in {{ $labels.namespace }}"
BY = "namespace, rollout"
MOVING = "Preparing|Progressing|Retreated|Promoting|RollingBack"


def _phase(phases: str) -> str:
    return f'max by ({BY}, phase) (rollout_phase{{phase=~"{phases}"}}) == 1'


def _weight(kind: str) -> str:
    return f'max by ({BY}, slot) (rollout_weight{{kind="{kind}"}})'


def _burns(rate: float, long: str, short: str) -> str:
    limit = f"{rate:g} * {BUDGET:g}"
    return f"{burnt(long)} > {limit}\nand {burnt(short)} > {limit}"


MODELS = Group(
    "rollouts-triton.alerts",
    (
        Alert(
            "TritonGpuSaturated",
            "warning",
            f"{GPU} > 90",
            "5m",
            "GPU of {{ $labels.namespace }}/{{ $labels.pod }} over 90 % for 5 minutes",
            "The busiest GPU of pod {{ $labels.pod }} in {{ $labels.namespace }} is at {{ $value | humanize }} %. Requests begin to queue.",
        ),
        Alert(
            "TritonErrors",
            "critical",
            f"{ERRORS} > 0.01",
            "2m",
            f"Triton fails more than 1 % of the requests to {MODEL}",
            f"{{{{ $value | humanizePercentage }}}} of the requests to {MODEL} failed in the last 5 minutes, by Triton's own count.",
        ),
        Alert(
            "TritonPodRestarts",
            "warning",
            'max by (namespace, pod, container) (kube_pod_container_status_restarts_total{container=~".*triton.*"}\n'
            '- min_over_time(kube_pod_container_status_restarts_total{container=~".*triton.*"}[1h])) > 2',
            "0m",
            "Triton in {{ $labels.namespace }}/{{ $labels.pod }} restarts again and again",
            "Container {{ $labels.container }} of pod {{ $labels.pod }} in {{ $labels.namespace }} restarted {{ $value }} times "
            "in the last hour.",
        ),
        Alert(
            "RolloutServedErrors",
            "warning",
            f"{burnt('5m')} > {BUDGET:g}",
            "2m",
            f"More than 1 % of the requests to {WHO} fail",
            f"{{{{ $value | humanizePercentage }}}} of the requests to the workloads of {WHO} failed in the last 5 minutes, as clients "
            "saw it (mesh).",
        ),
        Alert(
            "RolloutErrorBudgetBurnsFast",
            "critical",
            _burns(FAST, "1h", "5m"),
            "1m",
            f"{WHO} spends its error budget {FAST:g} times too fast",
            f"{{{{ $value | humanizePercentage }}}} of the requests to {WHO} failed in the last hour, and it goes on. A month's budget "
            "(1 % of the requests) is gone in two days.",
        ),
        Alert(
            "RolloutErrorBudgetBurns",
            "warning",
            _burns(SLOW, "6h", "30m"),
            "5m",
            f"{WHO} spends its error budget {SLOW:g} times too fast",
            f"{{{{ $value | humanizePercentage }}}} of the requests to {WHO} failed in the last six hours, and it goes on. A month's "
            "budget (1 % of the requests) is gone in five days.",
        ),
    ),
)

ROLLOUTS = Group(
    "rollouts.alerts",
    (
        Alert(
            "RolloutStuck",
            "critical",
            f"(max by ({BY}) (abs({_weight('desired')} - {_weight('observed')})) > 0\n"
            f'  and on ({BY}) max by ({BY}) (rollout_phase{{phase=~"{MOVING}"}}) == 1)\n'
            f'or max by ({BY}) (rollout_reason{{reason="Stuck"}})',
            "2m",
            f"Traffic of {WHO} cannot be moved",
            f"The VirtualService of {WHO} does not have the weights that the controller wants, or it gave up after ten minutes. "
            f"Where traffic is now stands in the VirtualService. See: rollouts -n {{{{ $labels.namespace }}}} explain "
            "{{ $labels.rollout }}",
        ),
        Alert(
            "RolloutWaitsForPerson",
            "warning",
            _phase("Stalled|Paused"),
            "15m",
            f"{WHO} is {{{{ $labels.phase }}}} and waits for a person",
            f"{WHO} has been {{{{ $labels.phase }}}} for 15 minutes; nothing goes on by itself before the policy's limits. See: "
            "rollouts -n {{ $labels.namespace }} explain {{ $labels.rollout }}",
        ),
        Alert(
            "RolloutRolledBack",
            "warning",
            _phase("RolledBack"),
            "0m",
            f"{WHO} was rolled back",
            "The version asked for was taken back; all traffic is on the version of before, so users are safe. Why: rollouts -n "
            "{{ $labels.namespace }} explain {{ $labels.rollout }}",
        ),
        Alert(
            "RolloutUnknown",
            "warning",
            f'max by ({BY}, slo) (rollout_verdict{{verdict="Unknown"}}) == 1',
            "5m",
            f"{WHO} cannot see its objective {{{{ $labels.slo }}}}",
            f"For 5 minutes nothing could be said about {{{{ $labels.slo }}}} of {WHO}. Its weight is held; nobody is rolled back for it "
            "before the policy's unknown.after.",
        ),
        Alert(
            "RolloutDrift",
            "warning",
            f'max by ({BY}) (rollout_condition{{condition="RouteInSync", status="False"}}) == 1\n'
            f"or max by ({BY}) (rollout_drift_total - min_over_time(rollout_drift_total[30m])) > 2",
            "2m",
            f"Somebody else changes the route of {WHO}",
            f"The VirtualService of {WHO} is not what the controller wrote, or was put right three times and more in half an hour.",
        ),
    ),
)

CONTROLLER = Group(
    "rollouts-controller.alerts",
    (
        Alert(
            "RolloutControllerDown",
            "critical",
            "absent(rollout_controller_leader)",
            "2m",
            "No rollout-controller is scraped",
            "No replica of rollout-controller answers Prometheus. Traffic stays as it is, and no bad version is rolled back.",
        ),
        Alert(
            "RolloutControllerNoLeader",
            "critical",
            "max by (namespace, job) (rollout_controller_leader) == 0",
            "1m",
            "No replica of {{ $labels.job }} leads",
            "Replicas of {{ $labels.job }} in {{ $labels.namespace }} run, and none has held the lease for a minute. No bad version is "
            "rolled back.",
        ),
        Alert(
            "RolloutNotificationsFailing",
            "warning",
            'sum by (namespace, job, sink) (increase(rollout_controller_notifications_total{outcome=~"failed|dropped|refused|expired"}[15m])) > 0',
            "0m",
            "Messages to {{ $labels.sink }} are lost",
            "Given up or dropped in the last 15 minutes: about {{ $value | humanize }} messages to {{ $labels.sink }}. Rollouts go on; "
            "people do not hear of them there.",
        ),
    ),
)
