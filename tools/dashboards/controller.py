"""The controller itself: does it lead, does it keep up, do those that it asks answer."""

from __future__ import annotations

from tools.dashboards.parts import GREEN, ORANGE, RED, Board, Query, data_source, figure, graph, variable

US = 'job=~"$job"'
RATE = "[$__rate_interval]"


def _quantile(q: float, name: str, *by: str) -> str:
    labels = ", ".join((*by, "le"))
    return f"histogram_quantile({q}, sum by ({labels}) (rate(rollout_controller_{name}_bucket{{{US}}}{RATE})))"


def _p(name: str, *by: str) -> tuple[Query, Query]:
    who = " ".join(f"{{{{{label}}}}}" for label in by)
    return Query(_quantile(0.5, name, *by), f"{who} p50".strip()), Query(_quantile(0.99, name, *by), f"{who} p99".strip())


def _rate(name: str, *by: str) -> Query:
    return Query(
        f"sum by ({', '.join(by)}) (rate(rollout_controller_{name}{{{US}}}{RATE}))", " ".join(f"{{{{{label}}}}}" for label in by)
    )


BOARD = Board(
    uid="rollouts-controller",
    title="Rollouts / Controller",
    says="Leadership, ticks, queue, turns, the API server's and Prometheus' latency and errors, messages.",
    variables=(data_source(), variable("job", "Job", "label_values(rollout_controller_leader, job)", many=True)),
    panels=(
        figure(
            "Leaders",
            "One, always.",
            Query(f"sum(rollout_controller_leader{{{US}}})"),
            steps=((None, RED), (1, GREEN), (2, RED)),
        ),
        figure("Replicas", "That are scraped.", Query(f"count(rollout_controller_leader{{{US}}})")),
        figure(
            "Version",
            "Of the program.",
            Query(f"max by (version) (rollout_controller_build_info{{{US}}})", "{{version}}"),
            named=True,
        ),
        figure(
            "Unknown fields",
            "Fields that the cluster's definitions would drop: apply the CRDs of this version.",
            Query(f"max(rollout_controller_definitions_unknown_fields{{{US}}})"),
            steps=((None, GREEN), (1, ORANGE)),
        ),
        figure("Keys in the queue", "That wait now.", Query(f"max(rollout_controller_queue_depth{{{US}}})")),
        figure(
            "Judged lag, p99",
            "From a window's end to the turn that judged it.",
            Query(_quantile(0.99, "judged_lag_seconds")),
            unit="s",
        ),
        graph(
            "Who leads",
            "1 for the one that does.",
            "short",
            Query(f"max by (instance) (rollout_controller_leader{{{US}}})", "{{instance}}"),
            top=1,
        ),
        graph(
            "Rollouts by phase",
            "As the leader has them.",
            "short",
            Query(f"sum by (phase) (rollout_phase{{{US}}}) > 0", "{{phase}}"),
        ),
        "Does it keep up",
        graph("A turn: see, decide, apply", "Waits for no network but its own writes.", "s", *_p("reconcile_seconds")),
        graph(
            "Turns that failed, per second",
            "By kind of trouble; `bug` is ours.",
            "short",
            _rate("reconcile_errors_total", "trouble"),
        ),
        graph("Wait in the queue", "Until a worker took the key.", "s", *_p("queue_wait_seconds")),
        graph(
            "Queue",
            "Keys that wait, keys whose time has not come, keys in workers.",
            "short",
            *(
                Query(f"max(rollout_controller_queue_{name}{{{US}}})", name)
                for name in ("depth", "delayed", "processing", "oldest_seconds")
            ),
        ),
        graph(
            "Judged lag",
            "From a window's end until it was judged, or found to change nothing now: the eyes' delay.",
            "s",
            *_p("judged_lag_seconds"),
        ),
        graph("How late ticks come", "By duty.", "s", *_p("tick_lag_seconds", "duty")),
        graph("How long ticks take", "By duty; `read` asks Prometheus.", "s", *_p("tick_seconds", "duty")),
        graph("Ticks left out, per second", "By duty.", "short", _rate("ticks_missed_total", "duty")),
        "Whom it asks",
        graph(
            "API server: p99 by call",
            "Of every call but watches.",
            "s",
            Query(_quantile(0.99, "store_call_seconds", "verb", "kind"), "{{verb}} {{kind}}"),
        ),
        graph("API server: calls per second", "By call.", "short", _rate("store_call_seconds_count", "verb", "kind")),
        graph(
            "API server: errors per second",
            "Conflicts are normal where others write, too.",
            "short",
            _rate("store_errors_total", "verb", "kind", "trouble"),
        ),
        graph(
            "Watches: seconds since they last heard",
            "A quiet kind swings up to 30.",
            "s",
            Query(f"max by (kind, instance) (rollout_controller_watch_age_seconds{{{US}}})", "{{kind}} {{instance}}"),
        ),
        graph("Prometheus: latency by source", "Of one query.", "s", *_p("prometheus_query_seconds", "source")),
        graph(
            "Prometheus: failures per second",
            "By source and reason; each makes verdicts Unknown, none rolls anybody back.",
            "short",
            _rate("prometheus_query_failures_total", "source", "reason"),
        ),
        "Messages, and what it costs",
        graph("Messages per second", "By sink and outcome.", "short", _rate("notifications_total", "sink", "outcome")),
        graph(
            "Messages that wait",
            "For their target. They survive a restart and hold nothing up.",
            "short",
            Query(f"max by (sink) (rollout_controller_notifications_waiting{{{US}}})", "{{sink}}"),
        ),
        graph(
            "CPU", "Cores.", "short", Query(f"sum by (instance) (rate(process_cpu_seconds_total{{{US}}}{RATE}))", "{{instance}}")
        ),
        graph(
            "Memory", "Resident.", "bytes", Query(f"max by (instance) (process_resident_memory_bytes{{{US}}})", "{{instance}}")
        ),
    ),
)
