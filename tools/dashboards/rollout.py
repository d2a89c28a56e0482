"""One rollout: where it is, why, and the numbers behind it. All but the mesh's figures are the controller's own metrics."""

from __future__ import annotations

from rollout_controller.api.status import Phase, VerdictKind
from tools.dashboards.parts import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    YELLOW,
    Board,
    Query,
    State,
    annotation,
    data_source,
    figure,
    graph,
    numbered,
    timeline,
    variable,
)
from tools.queries import FAILED, MESH, of_rollouts

ONE = 'namespace="$namespace", rollout="$rollout"'

COLORS = {
    Phase.IDLE: GREY,
    Phase.PREPARING: BLUE,
    Phase.PROGRESSING: PURPLE,
    Phase.RETREATED: ORANGE,
    Phase.PAUSED: YELLOW,
    Phase.PROMOTING: BLUE,
    Phase.SUCCEEDED: GREEN,
    Phase.ROLLING_BACK: ORANGE,
    Phase.ROLLED_BACK: RED,
    Phase.ABORTED: YELLOW,
    Phase.STALLED: RED,
}
PHASES = tuple(State(phase.value, color) for phase, color in COLORS.items())
VERDICTS = (
    State(VerdictKind.SATISFIED.value, GREEN),
    State(VerdictKind.UNDECIDED.value, BLUE),
    State(VerdictKind.UNKNOWN.value, YELLOW),
    State(VerdictKind.VIOLATED.value, RED),
)
GUARD_STATES = (State("fine", GREEN), State("unknown", YELLOW), State("over", RED))
EVENTS = (
    ("Started", BLUE),
    ("Step", PURPLE),
    ("Retreated", ORANGE),
    ("Promoted", GREEN),
    ("RolledBack", RED),
    ("Aborted", YELLOW),
    ("Failed", RED),
)


def _last(metric: str, by: str, more: str = "") -> str:
    return f"max by ({by}) ({metric}{{{ONE}{more}}})"


BOARD = Board(
    uid="rollouts-rollout",
    title="Rollouts / Rollout",
    says="One TritonRollout: weights, phase, objectives with evidence and verdict, guards, and what users got.",
    variables=(
        data_source(),
        variable("namespace", "Namespace", "label_values(rollout_phase, namespace)"),
        variable("rollout", "Rollout", 'label_values(rollout_phase{namespace="$namespace"}, rollout)'),
        variable("slo", "SLO", f"label_values(rollout_slo_objective{{{ONE}}}, slo)", many=True, hidden=True),
    ),
    annotations=tuple(
        annotation(
            event, color, f'max by (event) (rollout_event_timestamp_seconds{{{ONE}, event="{event}"}}) * 1000', "{{event}}"
        )
        for event, color in EVENTS
    ),
    panels=(
        figure("Phase", "Where it is now.", Query(numbered("rollout_phase", ONE, "phase", PHASES, "rollout")), states=PHASES),
        figure("Reason", "Code of docs/operations.md.", Query(_last("rollout_reason", "reason"), "{{reason}}"), named=True),
        figure(
            "Canary runs",
            "Version of the slot that is tried; none at rest.",
            Query(_last("rollout_slot_info", "version", ', role="canary"'), "{{version}}"),
            named=True,
        ),
        figure(
            "Stable runs",
            "Version that serves.",
            Query(_last("rollout_slot_info", "version", ', role="stable"'), "{{version}}"),
            named=True,
        ),
        figure("Step", "Of the policy, from 1; 0: preparing, or at rest.", Query(f"max(rollout_step{{{ONE}}})")),
        figure("Attempt", "Its number.", Query(f"max(rollout_attempt_number{{{ONE}}})")),
        timeline(
            "Phase over time",
            "The transitions are in docs/concepts.md.",
            Query(numbered("rollout_phase", ONE, "phase", PHASES, "rollout"), "{{rollout}}"),
            PHASES,
            height=4,
        ),
        graph(
            "Weights: desired and observed",
            "Percent of the route's traffic. Desired is what the controller wants, observed what the VirtualService says: "
            "when they differ for long, something is stuck.",
            "percent",
            Query(_last("rollout_weight", "slot, role, kind"), "{{slot}} ({{role}}) {{kind}}"),
            top=100,
        ),
        graph(
            "Requests per second, by role",
            "From Istio's metrics of the client's side.",
            "reqps",
            Query(
                of_rollouts(f"rate(istio_requests_total{{{MESH}}}[$__rate_interval])", "role", ONE),
                "{{role}}",
            ),
        ),
        "Objectives",
        graph(
            "$slo: share of bad requests",
            "Of the canary and, in the same windows, of stable; the limit is the policy's. Bad is an error, or an answer "
            "slower than the objective's limit.",
            "percentunit",
            Query(f'max by (role) (rollout_slo_value{{{ONE}, slo=~"$slo"}})', "{{role}}"),
            Query(f'max(rollout_slo_objective{{{ONE}, slo=~"$slo"}})', "limit"),
            repeat="slo",
        ),
        timeline(
            "Verdicts",
            "Satisfied and Violated are proofs; Undecided needs more requests; Unknown sees nothing and blames nobody.",
            Query(numbered("rollout_verdict", ONE, "verdict", VERDICTS, "slo"), "{{slo}}"),
            VERDICTS,
            width=12,
            height=8,
        ),
        graph(
            "Evidence of harm",
            "1 is none. A policy with falseRollback 1 % rolls back at 100 and more; the scale is logarithmic.",
            "short",
            Query(_last("rollout_evidence", "slo"), "{{slo}}"),
            log=True,
        ),
        graph(
            "Requests judged in this attempt",
            "All, and the bad ones among them.",
            "short",
            Query(_last("rollout_slo_requests", "slo, role"), "{{slo}} {{role}}"),
            Query(_last("rollout_slo_bad_requests", "slo, role"), "{{slo}} {{role}} bad"),
        ),
        graph(
            "Latency by role",
            "p50, p95 and p99 from Istio's histogram of the client's side: as exact as its buckets are.",
            "ms",
            *(
                Query(
                    f"histogram_quantile({q}, "
                    + of_rollouts(
                        f"rate(istio_request_duration_milliseconds_bucket{{{MESH}}}[$__rate_interval])", "role, le", ONE
                    )
                    + ")",
                    f"{{{{role}}}} p{round(q * 100)}",
                )
                for q in (0.5, 0.95, 0.99)
            ),
        ),
        "Guards, and what could not be seen",
        graph(
            "Guards",
            "GPU saturation and the like, with their limits.",
            "percentunit",
            Query(_last("rollout_guard_value", "guard, role"), "{{guard}} {{role}}"),
            Query(_last("rollout_guard_limit", "guard"), "{{guard}} limit"),
        ),
        timeline(
            "Guards' states",
            "Over: no step forward; over for its whole time: what its `then` says.",
            Query(numbered("rollout_guard_state", ONE, "state", GUARD_STATES, "guard"), "{{guard}}"),
            GUARD_STATES,
            width=12,
            height=8,
        ),
        graph(
            "Unknown: seconds per second, by reason",
            "1 is: nothing was seen all the time. Nobody is rolled back for it before the policy's unknown.after.",
            "percentunit",
            Query(f"sum by (reason) (rate(rollout_unknown_seconds_total{{{ONE}}}[$__rate_interval]))", "{{reason}}"),
        ),
        graph(
            "Errors per second, by role",
            "From Istio's metrics of the client's side.",
            "reqps",
            Query(
                of_rollouts(f"rate(istio_requests_total{{{MESH}, {FAILED}}}[$__rate_interval])", "role", ONE),
                "{{role}}",
            ),
        ),
    ),
)
