"""All rollouts: who is moving, who was rolled back, who cannot be seen, whose route somebody else touched."""

from __future__ import annotations

from tools.dashboards.parts import (
    GREEN,
    RED,
    YELLOW,
    Board,
    Query,
    data_source,
    figure,
    graph,
    listing,
    numbered,
    timeline,
    variable,
)
from tools.dashboards.rollout import PHASES

SOME = 'namespace=~"$namespace"'
MOVING = "Preparing|Progressing|Retreated|Paused|Promoting|RollingBack"
WHO = {"namespace": "Namespace", "rollout": "Rollout"}


def _count(expr: str) -> Query:
    return Query(f"count({expr}) or vector(0)")


BOARD = Board(
    uid="rollouts-fleet",
    title="Rollouts / Fleet",
    says="All TritonRollouts of the chosen namespaces, those that need a person first.",
    span="now-6h",
    variables=(data_source(), variable("namespace", "Namespace", "label_values(rollout_phase, namespace)", many=True)),
    panels=(
        figure("Rollouts", "That the controller knows.", _count(f"max by (namespace, rollout) (rollout_step{{{SOME}}})")),
        figure(
            "Moving",
            "In an attempt.",
            _count(f'max by (namespace, rollout) (rollout_phase{{{SOME}, phase=~"{MOVING}"}}) == 1'),
        ),
        figure(
            "Rolled back",
            "What was asked for is not served.",
            _count(f'max by (namespace, rollout) (rollout_phase{{{SOME}, phase="RolledBack"}}) == 1'),
            steps=((None, GREEN), (1, RED)),
        ),
        figure(
            "Stalled",
            "Nothing goes on until a person does something.",
            _count(f'max by (namespace, rollout) (rollout_condition{{{SOME}, condition="Stalled", status="True"}})'),
            steps=((None, GREEN), (1, RED)),
        ),
        figure(
            "Unknown",
            "In an attempt with an objective that cannot be seen.",
            _count(f'max by (namespace, rollout) (rollout_verdict{{{SOME}, verdict="Unknown"}})'),
            steps=((None, GREEN), (1, YELLOW)),
        ),
        figure(
            "Drift",
            "The route is not what was written.",
            _count(f'max by (namespace, rollout) (rollout_condition{{{SOME}, condition="RouteInSync", status="False"}})'),
            steps=((None, GREEN), (1, YELLOW)),
        ),
        timeline(
            "Phases",
            "One bar for each rollout.",
            Query(numbered("rollout_phase", SOME, "phase", PHASES, "namespace, rollout"), "{{namespace}}/{{rollout}}"),
            PHASES,
            height=9,
        ),
        listing(
            "Who is moving",
            "The canary's share of the traffic.",
            Query(
                f'max by (namespace, rollout, slot) (rollout_weight{{{SOME}, role="canary", kind="observed"}})\n'
                f"* on (namespace, rollout, slot) group_left (version) "
                f"topk by (namespace, rollout, slot) (1, max by (namespace, rollout, slot, version) "
                f'(rollout_slot_info{{{SOME}, role="canary"}}))'
            ),
            value="Weight",
            unit="percent",
            columns={**WHO, "slot": "Slot", "version": "Version"},
        ),
        listing(
            "Who was rolled back in the last seven days",
            "How long ago traffic was taken off.",
            Query(
                "time() - max by (namespace, rollout) "
                f'(rollout_event_timestamp_seconds{{{SOME}, event="RolledBack"}}) < 7 * 86400'
            ),
            value="Ago",
            unit="s",
            columns=WHO,
        ),
        graph(
            "Canaries' weights",
            "Percent of their routes' traffic.",
            "percent",
            Query(
                f'max by (namespace, rollout) (rollout_weight{{{SOME}, role="canary", kind="observed"}})',
                "{{namespace}}/{{rollout}}",
            ),
            top=100,
        ),
        graph(
            "Unknown: seconds in the last hour, by rollout",
            "Time of attempts in which an objective could not be judged.",
            "s",
            Query(
                f"topk(10, sum by (namespace, rollout) (increase(rollout_unknown_seconds_total{{{SOME}}}[1h])))",
                "{{namespace}}/{{rollout}}",
            ),
        ),
        graph(
            "Drifts in the last hour, by rollout",
            "How often somebody else's hand on the route was found.",
            "short",
            Query(
                f"topk(10, sum by (namespace, rollout) (increase(rollout_drift_total{{{SOME}}}[1h])))",
                "{{namespace}}/{{rollout}}",
            ),
        ),
        graph(
            "Retreats in the last hour, by rollout",
            "How often users were taken out of the way of sudden harm before it was judged.",
            "short",
            Query(
                f"topk(10, sum by (namespace, rollout) (increase(rollout_retreats_total{{{SOME}}}[1h])))",
                "{{namespace}}/{{rollout}}",
            ),
        ),
        graph(
            "Attempts that ended, by outcome",
            "Since the replica that leads began to.",
            "short",
            Query(f"sum by (outcome) (rollout_attempts_total{{{SOME}}})", "{{outcome}}"),
        ),
        graph(
            "From the last sample used to traffic moved",
            "Of all rollbacks since the leader began.",
            "s",
            *(
                Query(f"histogram_quantile({q}, sum by (le) (rollout_rollback_seconds_bucket{{{SOME}}}))", f"p{round(q * 100)}")
                for q in (0.5, 0.95)
            ),
        ),
        graph(
            "How long attempts take",
            "Mean by outcome since the leader began.",
            "s",
            Query(
                f"sum by (outcome) (rollout_duration_seconds_sum{{{SOME}}})\n"
                f"/ sum by (outcome) (rollout_duration_seconds_count{{{SOME}}})",
                "{{outcome}}",
            ),
        ),
    ),
)
