"""Every situation a rollout can be shown in: documents made through the API types, so none is impossible to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rollout_controller.api.meta import parse
from rollout_controller.api.names import ANNOTATION_COMMAND, ANNOTATION_REQUEST, ANNOTATION_VERSION, API_VERSION, Raw
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.quantities import parse_instant
from rollout_controller.api.rollout import TritonRollout
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
    StepDone,
    Verdict,
    VerdictKind,
)

NOW = parse_instant("2026-01-31T13:05:30Z")

POLICY = parse(
    RolloutPolicy,
    {
        "apiVersion": API_VERSION,
        "kind": "RolloutPolicy",
        "metadata": {"name": "balanced", "namespace": "vision"},
        "spec": {
            "steps": [{"weight": 10}, {"weight": 25}, {"weight": 50}, {"weight": 100}],
            "slos": [
                {"name": "errors", "source": "envoy", "errorRate": {"max": "1%"}},
                {"name": "latency", "source": "envoy", "latency": {"quantile": 0.95, "max": "100ms"}},
            ],
            "guards": [{"name": "gpu", "source": "dcgm", "above": "90%", "for": "2m"}],
        },
    },
).to_raw()


@dataclass(frozen=True)
class Scene:
    rollout: Raw
    policy: Raw | None = None
    now: float = NOW


def rollout(
    status: RolloutStatus | None = None,
    *,
    name: str = "resnet50",
    version: str | None = "2",
    request: str | None = "run-8841",
    command: str | None = None,
) -> Raw:
    annotations = {ANNOTATION_VERSION: version, ANNOTATION_REQUEST: request, ANNOTATION_COMMAND: command}
    raw: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "TritonRollout",
        "metadata": {"name": name, "namespace": "vision", "annotations": {k: v for k, v in annotations.items() if v}},
        "spec": {
            "policy": "balanced",
            "route": {"virtualService": "triton", "http": name},
            "slots": {"blue": {"host": "triton-blue"}, "green": {"host": "triton-green"}},
            "deploy": {"modelRepository": {"model": name}},
        },
    }
    if status is not None:
        raw["status"] = status.to_raw()
    parse(TritonRollout, raw)
    return raw


def slots(
    canary: int, *, seen: int | None = None, version: str | None = "2", role: str = "canary", **green: Any
) -> dict[str, SlotStatus]:
    seen = canary if seen is None else seen
    return {
        "blue": SlotStatus(version="1", role="stable", weight=SlotWeight(desired=100 - canary, observed=100 - seen), ready=True),
        "green": SlotStatus.model_validate(
            {"version": version, "role": role, "weight": {"desired": canary, "observed": seen}, "ready": True, **green}
        ),
    }


def errors(kind: VerdictKind = VerdictKind.SATISFIED, bad: int = 3, of: int = 1021, **more: Any) -> Verdict:
    known: dict[str, Any] = {"value": bad / of, "interval": (0.001, 0.009)} if of else {}
    stable = {"stable_value": 0.004, "stable_requests": 9100, "stable_bad": 36}
    known["sentence"] = f"Canary error rate {bad / max(of, 1):.1%} ({bad} of {of}), stable 0.4%."
    return Verdict(slo="errors", kind="errors", verdict=kind, objective=0.01, requests=of, bad=bad, **{**known, **stable, **more})


def latency(kind: VerdictKind = VerdictKind.UNDECIDED, bad: int = 42, of: int = 1021, **more: Any) -> Verdict:
    known = {"value": bad / of, "interval": (0.029, 0.057), "stable_value": 0.038} if of else {}
    return Verdict(
        slo="latency",
        kind="latency",
        verdict=kind,
        objective=0.05,
        limit_ms=100.0,
        requests=of,
        bad=bad,
        **{**known, **more},
    )


def gpu(state: Any = "fine", value: float | None = 0.61, **more: Any) -> GuardReading:
    return GuardReading(guard="gpu", state=state, value=value, limit=0.9, **more)


def attempt(step: int, weight: int, *, age_s: float = 252, step_age_s: float = 70, **more: Any) -> Attempt:
    fields: dict[str, Any] = {
        "id": "a7",
        "number": 7,
        "version": "2",
        "request": "run-8841",
        "slot": "green",
        "started_at": NOW - age_s,
        "step": step,
        "weight": weight,
        "weight_set_at": NOW - step_age_s - 1 if weight else None,
        "step_started_at": NOW - step_age_s if weight else None,
        "first_traffic_at": NOW - age_s + 12 if weight else None,
    }
    return Attempt(**{**fields, **more})


def record(outcome: Outcome, code: str, sentence: str, **more: Any) -> AttemptRecord:
    fields: dict[str, Any] = {
        "id": "a7",
        "number": 7,
        "version": "2",
        "from_version": "1",
        "request": "run-8841",
        "slot": "green",
        "started_at": NOW - 300,
        "ended_at": NOW - 130,
        "outcome": outcome,
        "reason": Reason(code=code, sentence=sentence),
    }
    return AttemptRecord(**{**fields, **more})


def status(phase: Phase, code: str, sentence: str, **more: Any) -> RolloutStatus:
    fields: dict[str, Any] = {
        "phase": phase,
        "reason": Reason(code=code, sentence=sentence),
        "observed_version": "2",
        "observed_request": "run-8841",
        "stable_slot": "blue",
        "next_check_at": NOW + 24,
        "judge_written_at": NOW - 6,
    }
    return RolloutStatus(**{**fields, **more})


_DONE_10 = (StepDone(weight=10, seconds=182),)
_HARM = "Canary error rate 5.2 % [3.1, 8.0] (18 of 346), stable 0.4 %: false alarm at most 0.2 %."
_BROKEN = (
    "Version 2 could not be loaded into green, no traffic was moved: "
    "failed to load 'resnet50' version 2: AttributeError: no attribute 'weights'."
)


def _idle() -> Scene:
    return Scene(rollout(version=None, request=None), POLICY)


def _idle_serving() -> Scene:
    state = status(
        Phase.IDLE, "Idle", "All traffic is on blue, version 1; no other version is asked for.", slots=slots(0, version=None)
    )
    return Scene(rollout(state.model_copy(update={"observed_version": "1", "observed_request": None}), version="1", request=None))


def _asked() -> Scene:
    state = status(
        Phase.SUCCEEDED,
        "Promoted",
        "Version 2 on green has all traffic: 10, 25, 50, 100 % with nothing wrong.",
        slots=slots(100, role="stable"),
    )
    state = state.model_copy(
        update={"stable_slot": "green", "attempts": (record("Promoted", "Promoted", "Version 2 on green has all traffic."),)}
    )
    return Scene(rollout(state, version="3", request="run-8850"), POLICY)


def _preparing() -> Scene:
    sentence = "Bringing up version 2 in green: Triton is loading it."
    state = status(
        Phase.PREPARING,
        "Preparing",
        sentence,
        attempt=attempt(-1, 0, age_s=12),
        slots=slots(0, ready=False, message="loading"),
    )
    return Scene(rollout(state), POLICY)


def _progressing() -> Scene:
    state = status(
        Phase.PROGRESSING,
        "Waiting",
        "Waiting for latency: canary 4.1 % slower than 100 ms [2.9, 5.7] (42 of 1,021), stable 3.8 %: no verdict yet. "
        "Goes on at 13:10:20 at the latest (then marked unproven).",
        attempt=attempt(1, 25, steps_done=_DONE_10),
        slots=slots(25),
        verdicts=(errors(), latency(requests_needed=600)),
        guards=(gpu(),),
    )
    return Scene(rollout(state), POLICY)


def _rolling_back() -> Scene:
    state = status(
        Phase.ROLLING_BACK,
        "SloViolated",
        _HARM,
        attempt=attempt(0, 10),
        slots=slots(0, seen=10),
        verdicts=(errors(VerdictKind.VIOLATED, 18, 346),),
    )
    return Scene(rollout(state), POLICY)


def _rolled_back() -> Scene:
    state = status(
        Phase.ROLLED_BACK,
        "SloViolated",
        _HARM,
        attempt=attempt(
            0,
            10,
        ),
        slots=slots(0, role="idle"),
        verdicts=(errors(VerdictKind.VIOLATED, 18, 346, interval=(0.031, 0.08)), latency(VerdictKind.SATISFIED)),
        attempts=(
            record(
                "RolledBack",
                "SloViolated",
                _HARM,
                weight=10,
                requests=346,
                bad=18,
                last_sample_at=NOW - 131,
                traffic_off_at=NOW - 130.2,
            ),
        ),
    )
    return Scene(rollout(state), POLICY)


def _succeeded(*, unproven: bool = False) -> Scene:
    done = tuple(StepDone(weight=w, seconds=182 + w, unproven=unproven and w == 25) for w in (10, 25, 50, 100))
    sentence = "Version 2 on green has all traffic: 10, 25, 50, 100 %" + (
        "; unproven at 25 %." if unproven else " with nothing wrong."
    )
    state = status(
        Phase.SUCCEEDED,
        "Promoted",
        sentence,
        slots=slots(100, role="stable"),
        attempts=(record("Promoted", "Promoted", sentence, steps_done=done, weight=100, requests=9000, bad=21),),
    ).model_copy(update={"stable_slot": "green"})
    return Scene(rollout(state), POLICY)


def _paused() -> Scene:
    state = status(
        Phase.PAUSED,
        "Paused",
        "Paused by command 7f3a. Paused at 25 %; at 13:02:20 rolled back by itself.",
        observed_command="pause 7f3a",
        command_done=True,
        command_result="Paused by command 7f3a. Paused at 25 %; at 13:02:20 rolled back by itself.",
        attempt=attempt(1, 25, steps_done=_DONE_10, paused_at=NOW - 190, pause_ends_at=NOW + 86210),
        slots=slots(25),
        verdicts=(errors(), latency(VerdictKind.SATISFIED)),
        guards=(gpu(),),
    )
    return Scene(rollout(state, command="pause 7f3a"), POLICY)


def _aborted() -> Scene:
    sentence = "Aborted by command 9b21."
    state = status(
        Phase.ABORTED,
        "Aborted",
        sentence,
        observed_command="abort 9b21",
        command_done=True,
        command_result="Aborted by command 9b21.",
        slots=slots(0, role="idle"),
        attempts=(record("Aborted", "Aborted", sentence, weight=25, requests=212, bad=0),),
    )
    return Scene(rollout(state, command="abort 9b21"), POLICY)


def _superseded() -> Scene:
    before = record("Superseded", "Superseded", "Version 3 is asked for while version 2 was being tried.", weight=25, requests=80)
    state = status(
        Phase.PREPARING,
        "Preparing",
        "Bringing up version 3 in green: Triton is loading it.",
        attempt=attempt(-1, 0, age_s=4, id="a8", number=8, version="3", request="run-8850"),
        slots=slots(0, version=None),
        attempts=(before,),
    ).model_copy(update={"observed_version": "3", "observed_request": "run-8850"})
    return Scene(rollout(state, version="3", request="run-8850"), POLICY)


def _stalled_load() -> Scene:
    state = status(
        Phase.STALLED,
        "LoadFailed",
        _BROKEN,
        slots=slots(0, version=None, role="idle", ready=False),
        attempts=(record("Failed", "LoadFailed", _BROKEN),),
    )
    return Scene(rollout(state), POLICY)


def _stalled_route() -> Scene:
    sentence = (
        "Traffic cannot be shifted: VirtualService 'triton' has no http route named 'resnet50'; there are 'densenet' and 'bert'."
    )
    state = RolloutStatus(phase=Phase.STALLED, reason=Reason(code="RouteUnreadable", sentence=sentence))
    return Scene(rollout(state, request=None), POLICY)


def _holding() -> Scene:
    sentence = (
        "Holding at 25 %: Prometheus has not answered for 40 s (connection refused). "
        "Nobody is rolled back for that; at 13:14:50 the policy goes back to stable."
    )
    state = status(
        Phase.PROGRESSING,
        "Unknown",
        sentence,
        attempt=attempt(1, 25, steps_done=_DONE_10, unknown_since=NOW - 40),
        slots=slots(25),
        verdicts=(
            errors(VerdictKind.UNKNOWN, unknown="no-answer"),
            latency(VerdictKind.UNKNOWN, 0, 0, unknown="no-answer"),
        ),
        guards=(gpu("unknown", None),),
    )
    return Scene(rollout(state), POLICY)


def _drift() -> Scene:
    state = status(
        Phase.PROGRESSING,
        "Drift",
        "Drift: the VirtualService says blue 50 %, green 50 %, we wrote blue 75 %, green 25 %; restored.",
        attempt=attempt(1, 25, steps_done=_DONE_10),
        slots=slots(25, seen=50),
        verdicts=(errors(), latency()),
    )
    return Scene(rollout(state), POLICY)


def _refused() -> Scene:
    state = status(
        Phase.PROGRESSING,
        "Shifting",
        "Moving traffic to blue 75 %, green 25 %.",
        attempt=attempt(1, 25, steps_done=_DONE_10),
        slots=slots(25, seen=10),
        verdicts=(errors(), latency()),
    )
    words = (
        "Refused, and tried again every 30 s: patch VirtualService vision/triton: HTTP 403 Forbidden. It needs the verb patch on "
        "virtualservices.networking.istio.io in namespace vision; the chart's RBAC gives it to the controller."
    )
    condition = Condition(type="Stalled", status="True", reason="Refused", message=words, last_transition_time=NOW - 60)
    return Scene(rollout(state.model_copy(update={"conditions": (condition,)})), POLICY)


def _retreated() -> Scene:
    state = status(
        Phase.RETREATED,
        "Retreat",
        "Users are back on stable: 12 of 12 canary requests failed within 5 s. Trying 25 % again at 13:06:20 (1 of 3).",
        attempt=attempt(1, 0, steps_done=_DONE_10),
        slots=slots(0),
        verdicts=(errors(VerdictKind.UNDECIDED, 12, 212, interval=(0.02, 0.11)), latency()),
    )
    return Scene(rollout(state), POLICY)


def _common_cause() -> Scene:
    state = status(
        Phase.PROGRESSING,
        "BothMissObjective",
        "Holding: both versions miss the objective (canary 6.1 %, stable 5.8 %, at most 1 %): a rollback would not help.",
        attempt=attempt(1, 25, steps_done=_DONE_10),
        slots=slots(25),
        verdicts=(
            errors(VerdictKind.UNDECIDED, 62, 1021, interval=(0.045, 0.08), stable_value=0.058, common_cause=True),
            latency(),
        ),
        guards=(gpu("over", 0.97, stable_value=0.96, over_since=NOW - 80),),
    )
    return Scene(rollout(state), POLICY)


def _no_controller() -> Scene:
    scene = _progressing()
    return Scene(scene.rollout, scene.policy, NOW + 46)


def _refused_command() -> Scene:
    result = "pause was not done: no attempt is under way."
    scene = _succeeded()
    document = {**scene.rollout, "status": {**scene.rollout["status"], "observedCommand": "pause 11aa", "commandResult": result}}
    document["metadata"] = {**document["metadata"], "annotations": {ANNOTATION_VERSION: "2", ANNOTATION_COMMAND: "pause 11aa"}}
    return Scene(document, scene.policy)


def _drift_at_rest() -> Scene:
    state = status(
        Phase.SUCCEEDED,
        "Drift",
        "Drift: the VirtualService says blue 50 %, green 50 %, we wrote blue 0 %, green 100 %; left as it is.",
        slots=slots(100, seen=50),
    )
    return Scene(rollout(state.model_copy(update={"stable_slot": "green"})), POLICY)


SCENES: dict[str, Scene] = {
    "idle": _idle(),
    "idle-serving": _idle_serving(),
    "asked": _asked(),
    "preparing": _preparing(),
    "progressing": _progressing(),
    "rolling-back": _rolling_back(),
    "rolled-back": _rolled_back(),
    "succeeded": _succeeded(),
    "succeeded-unproven": _succeeded(unproven=True),
    "paused": _paused(),
    "aborted": _aborted(),
    "superseded": _superseded(),
    "stalled-load": _stalled_load(),
    "stalled-route": _stalled_route(),
    "holding": _holding(),
    "drift": _drift(),
    "drift-at-rest": _drift_at_rest(),
    "refused": _refused(),
    "retreated": _retreated(),
    "common-cause": _common_cause(),
    "no-controller": _no_controller(),
    "refused-command": _refused_command(),
}
