"""What is exported: exact names, counted once, and gone with its rollout."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from rollout_controller.api.names import Key
from rollout_controller.api.status import (
    Attempt,
    AttemptRecord,
    Condition,
    GuardReading,
    Outcome,
    Phase,
    Reason,
    RolloutStatus,
    SlotStatus,
    SlotWeight,
    Verdict,
    VerdictKind,
)
from rollout_controller.cluster.store import ROLLOUT, Unavailable
from rollout_controller.controller import exposition, metrics_page
from rollout_controller.controller.metrics import EVENT_OUTCOMES, Metrics
from rollout_controller.controller.queue import WorkQueue

KEY, OTHER = Key("vision", "resnet50"), Key("vision", "bert")
WHO = {"namespace": "vision", "rollout": "resnet50"}
NAMES = {
    "rollout_phase", "rollout_weight", "rollout_step", "rollout_slo_value", "rollout_slo_objective", "rollout_evidence",
    "rollout_attempts_total", "rollout_rollback_seconds_bucket", "rollout_duration_seconds_bucket", "rollout_drift_total",
    "rollout_unknown_seconds_total", "rollout_reason", "rollout_condition", "rollout_slot_info", "rollout_attempt_number",
    "rollout_event_timestamp_seconds", "rollout_slo_latency_limit_seconds", "rollout_slo_requests", "rollout_slo_bad_requests",
    "rollout_verdict", "rollout_guard_value", "rollout_guard_limit", "rollout_guard_state",
}  # fmt: skip


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return parsed(exposition.text(metrics.registry).decode())


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return samples(metrics).get((name, frozenset((WHO | labels).items())))


def verdict(kind: VerdictKind, unknown: str | None = None) -> Verdict:
    return Verdict(
        slo="errors", kind="errors", verdict=kind, unknown=unknown, value=0.03, objective=0.01, false_alarm=0.02, limit_ms=250,
        requests=100, bad=3, stable_value=0.01, stable_requests=900, stable_bad=9,
    )  # fmt: skip


def ended(number: int, at: float, outcome: Outcome = "RolledBack", *, off: float | None = None) -> AttemptRecord:
    return AttemptRecord(
        id=f"a{number}", number=number, version="2", slot="green", started_at=at - 42, ended_at=at, outcome=outcome,
        reason=Reason(code="ErrorsOver", sentence="..."), last_sample_at=at - 1, traffic_off_at=off,
    )  # fmt: skip


def running(*, unknown: str | None = None, attempts: tuple[AttemptRecord, ...] = ()) -> RolloutStatus:
    return RolloutStatus(
        phase=Phase.PROGRESSING,
        attempt=Attempt(
            id="a9", number=9, version="2", slot="green", started_at=1000, step=1, weight=25, step_started_at=1005, left_at=1007
        ),
        slots={
            "blue": SlotStatus(role="stable", version="1", weight=SlotWeight(desired=75, observed=90)),
            "green": SlotStatus(role="canary", version="2", weight=SlotWeight(desired=25)),
        },
        attempt_count=9,
        reason=Reason(code="Waiting", sentence="..."),
        conditions=(Condition(type="Stalled", status="False", reason="Waiting", message="...", last_transition_time=1000),),
        guards=(GuardReading(guard="gpu", state="over", value=0.95, stable_value=0.4, limit=0.9),),
        verdicts=(verdict(VerdictKind.UNKNOWN if unknown else VerdictKind.UNDECIDED, unknown),),
        attempts=attempts,
    )


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(counts_from=1000)


def test_a_rollout_in_its_second_step(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(), 1010)
    assert value(metrics, "rollout_phase", phase="Progressing") == 1
    assert value(metrics, "rollout_phase", phase="Idle") == 0
    assert sum(v for (name, _), v in samples(metrics).items() if name == "rollout_phase") == 1
    assert value(metrics, "rollout_weight", slot="blue", role="stable", kind="desired") == 75
    assert value(metrics, "rollout_weight", slot="blue", role="stable", kind="observed") == 90
    assert value(metrics, "rollout_weight", slot="green", role="canary", kind="observed") is None
    assert value(metrics, "rollout_step") == 2
    assert value(metrics, "rollout_attempt_number") == 9
    assert value(metrics, "rollout_reason", reason="Waiting") == 1
    assert value(metrics, "rollout_condition", condition="Stalled", status="False") == 1
    assert value(metrics, "rollout_slo_value", slo="errors", role="canary") == 0.03
    assert value(metrics, "rollout_slo_value", slo="errors", role="stable") == 0.01
    assert value(metrics, "rollout_slo_latency_limit_seconds", slo="errors") == 0.25
    assert value(metrics, "rollout_slo_requests", slo="errors", role="stable") == 900
    assert value(metrics, "rollout_slo_bad_requests", slo="errors", role="canary") == 3
    assert value(metrics, "rollout_verdict", slo="errors", verdict="Undecided") == 1
    assert value(metrics, "rollout_guard_value", guard="gpu", role="canary") == 0.95
    assert value(metrics, "rollout_guard_limit", guard="gpu") == 0.9
    assert value(metrics, "rollout_guard_state", guard="gpu", state="over") == 1
    assert value(metrics, "rollout_slo_objective", slo="errors") == 0.01
    assert value(metrics, "rollout_evidence", slo="errors") == 50


def test_a_slot_is_told_with_its_version_and_the_workload_that_the_mesh_names(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(), 1010, {"blue": "triton-blue", "green": "triton-green"})
    assert value(metrics, "rollout_slot_info", slot="green", role="canary", version="2", workload="triton-green") == 1
    assert value(metrics, "rollout_slot_info", slot="blue", role="stable", version="1", workload="triton-blue") == 1


def test_what_is_not_so_any_more_is_not_there(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(), 1010)
    metrics.rollouts.record(KEY, running(unknown="no-data"), 1011)
    found = [dict(labels)["verdict"] for name, labels in samples(metrics) if name == "rollout_verdict"]
    assert found == ["Unknown"]


def test_when_things_happened(metrics: Metrics) -> None:
    newest_first = (ended(4, 1090, "Promoted"), ended(3, 1060, off=1058.5), ended(2, 1020, off=1020))
    metrics.rollouts.record(KEY, running(attempts=newest_first), 1100)
    events = {
        dict(labels)["event"]: v for (name, labels), v in samples(metrics).items() if name == "rollout_event_timestamp_seconds"
    }
    assert events == {"Started": 1000, "Step": 1005, "Retreated": 1007, "Promoted": 1090, "RolledBack": 1058.5}
    at_rest = RolloutStatus(phase=Phase.SUCCEEDED, attempts=newest_first)
    metrics.rollouts.record(KEY, at_rest, 1200)
    assert value(metrics, "rollout_event_timestamp_seconds", event="Started") == 1090 - 42
    assert value(metrics, "rollout_event_timestamp_seconds", event="Step") is None


def test_every_promised_name_is_exported_with_namespace_and_rollout(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(unknown="no-data"), 1010)
    metrics.rollouts.record(KEY, running(attempts=(ended(1, 1020, off=1020),)), 1020)
    found = {name for name, labels in samples(metrics) if {"namespace", "rollout"} <= dict(labels).keys()}
    assert found >= NAMES
    assert not {name for name in found if name.endswith("_created")}


def test_an_end_is_counted_once_however_often_it_is_seen(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(), 1010)
    for now in (1020, 1021, 1022):
        metrics.rollouts.record(KEY, running(attempts=(ended(1, 1020),)), now)
    for now in (1023, 1024):
        metrics.rollouts.record(KEY, running(attempts=(ended(1, 1020, off=1020.2),)), now)
    assert value(metrics, "rollout_attempts_total", outcome="RolledBack", reason="ErrorsOver") == 1
    assert value(metrics, "rollout_rollback_seconds_count") == 1
    assert value(metrics, "rollout_rollback_seconds_sum") == pytest.approx(1.2)
    assert value(metrics, "rollout_rollback_seconds_bucket", le="1.0") == 0
    assert value(metrics, "rollout_rollback_seconds_bucket", le="2.0") == 1
    assert value(metrics, "rollout_duration_seconds_sum", outcome="RolledBack") == pytest.approx(42)
    metrics.rollouts.record(KEY, running(attempts=(ended(2, 1090), ended(1, 1020))), 1090)
    assert value(metrics, "rollout_attempts_total", outcome="RolledBack", reason="ErrorsOver") == 2


def test_ends_of_before_this_process_led_are_not_counted_again(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(attempts=(ended(1, 999, off=999),)), 1010)
    assert value(metrics, "rollout_attempts_total", outcome="RolledBack", reason="ErrorsOver") is None
    assert value(metrics, "rollout_rollback_seconds_count") is None


def test_a_failed_attempt_that_had_no_traffic_is_no_rollback_time(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(attempts=(ended(1, 1020, "Failed"),)), 1020)
    assert value(metrics, "rollout_attempts_total", outcome="Failed", reason="ErrorsOver") == 1
    assert value(metrics, "rollout_rollback_seconds_count") is None


def test_unknown_time_is_counted_by_reason_between_turns(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(unknown="no-answer"), 1010)
    metrics.rollouts.record(KEY, running(unknown="no-answer"), 1015)
    metrics.rollouts.record(KEY, running(unknown="stale"), 1018)
    metrics.rollouts.record(KEY, running(), 1020)
    metrics.rollouts.record(KEY, running(unknown="stale"), 1030)
    metrics.rollouts.record(KEY, running(), 99999)
    assert value(metrics, "rollout_unknown_seconds_total", reason="no-answer") == 8
    assert value(metrics, "rollout_unknown_seconds_total", reason="stale") == 2 + 60


def test_drift_is_counted(metrics: Metrics) -> None:
    metrics.rollouts.record(KEY, running(), 1010)
    assert value(metrics, "rollout_drift_total") == 0
    metrics.rollouts.drifted(KEY)
    assert value(metrics, "rollout_drift_total") == 1


def test_series_go_when_their_rollout_goes(metrics: Metrics) -> None:
    for key in (KEY, OTHER):
        metrics.rollouts.record(key, running(attempts=(ended(1, 1020, off=1020),)), 1010)
    metrics.rollouts.forget(KEY)
    names = {dict(labels).get("rollout") for _, labels in samples(metrics)}
    assert "bert" in names
    assert "resnet50" not in names


def test_the_controllers_own(metrics: Metrics) -> None:
    queue = WorkQueue[Key](on_wait=metrics.queue_wait.observe)
    metrics.watch_queue(queue.figures)
    metrics.watch_age("TritonRollout", lambda: 3.5)
    queue.add(KEY)
    with pytest.raises(Unavailable), metrics.store_call("patch", ROLLOUT.name):
        raise Unavailable("locked")
    with metrics.turn():
        pass
    with pytest.raises(KeyError), metrics.turn():
        raise KeyError("x")
    metrics.ticked("tick", lag_s=0.1, took_s=0.01, missed=2)
    metrics.sink("event", EVENT_OUTCOMES)("failed")
    metrics.queried("envoy", 0.02)
    metrics.queried("envoy", 2.0, "no-answer")
    found = {(name, labels): v for (name, labels), v in samples(metrics).items() if name.startswith("rollout_controller_")}

    def get(name: str, **labels: str) -> float | None:
        return found.get((f"rollout_controller_{name}", frozenset(labels.items())))

    assert get("queue_depth") == 1
    assert get("queue_adds_total") == 1
    assert get("queue_dropped_total") == 0
    assert get("watch_age_seconds", kind="TritonRollout") == 3.5
    assert get("store_errors_total", verb="patch", kind="TritonRollout", trouble="transient") == 1
    assert get("store_call_seconds_count", verb="patch", kind="TritonRollout") == 1
    assert get("reconcile_seconds_count") == 2
    assert get("reconcile_errors_total", trouble="bug") == 1
    assert get("ticks_missed_total", duty="tick") == 2
    assert get("prometheus_query_failures_total", source="envoy", reason="no-answer") == 1
    assert get("notifications_total", sink="event", outcome="failed") == 1
    assert get("notifications_total", sink="event", outcome="dropped") == 0, "an alert sees the first one, too"
    assert get("leader") == 0


def test_the_page_is_the_metrics() -> None:
    assert metrics_page.PAGE.read_text() == metrics_page.page(), "python -m rollout_controller.controller.metrics_page --write"


def test_every_label_is_explained_and_no_other() -> None:
    assert {label for metric in metrics_page.everything() for label in metric.labels} == set(metrics_page.LABELS)


def test_the_page_has_all_that_is_served(metrics: Metrics) -> None:
    metrics.watch_queue(WorkQueue[Key]().figures)
    served = {family.name + ("_total" if family.type == "counter" else "") for family in metrics.registry.collect()}
    told = {metric.name for metric in metrics.described}
    usual = {name for name in served if name.startswith(("process_", "python_"))}
    assert told == served - usual
    assert {metric.name for metric in metrics_page.everything()} == told


def test_names_follow_the_conventions() -> None:
    for name, kind, text, labels in metrics_page.everything():
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith(("_seconds", "_seconds_total")) == ("seconds" in name), "the unit is the end of the name"
        assert text[0].isupper() or text[0].isdigit(), text
        assert not {"le", "quantile", "attempt", "request", "url", "pod"} & set(labels), f"{name}: too many values"


def test_the_text_says_what_prometheus_clients_own_says() -> None:
    registry = CollectorRegistry()
    for number, odd in enumerate(("plain", 'qu"ote', "back\\slash", "line\nbreak", "\u00e9", "")):
        gauge = Gauge(f"gauge_{number}", f"Help {odd}", ["label", "other"], registry=registry)
        gauge.labels(odd, "x").set((0, 1, -2.5, float("inf"), float("-inf"), 1e-300)[number])
    Gauge("nothing", "No number", registry=registry).set(float("nan"))
    Counter("counted", "A counter", ["kind"], registry=registry).labels("a").inc(3)
    Histogram("lasted_seconds", "A histogram", registry=registry).observe(0.3)
    theirs = {place: value for place, value in parsed(generate_latest(registry).decode()).items() if "_created" not in place[0]}
    ours = parsed(exposition.text(registry).decode())
    assert ours.pop(("nothing", frozenset())) != theirs.pop(("nothing", frozenset())), "NaN is not even itself"
    assert ours == theirs
    kinds = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("# ") and "_created" not in line]
    assert kinds == [line for line in exposition.text(registry).decode().splitlines() if line.startswith("# ")]
