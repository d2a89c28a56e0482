"""The canary has traffic: judge it, keep the route as we want it, and go on, hold or go back."""

from __future__ import annotations

from dataclasses import replace

from rollout_controller.api.meta import evolve
from rollout_controller.api.policy import PolicySpec, Step
from rollout_controller.api.status import Outcome, Phase, Reason, Verdict, VerdictKind
from rollout_controller.core import fights
from rollout_controller.core.explain import phase as explain
from rollout_controller.core.explain.codes import Code
from rollout_controller.core.guards import read_guards, tripped
from rollout_controller.core.judge import StepView, assess, suspects
from rollout_controller.core.observation import RouteState
from rollout_controller.core.phases import retreat
from rollout_controller.core.phases.canary import keep_canary
from rollout_controller.core.phases.endings import adopted_request, at, echoed, interrupted, leave, new_command, refused
from rollout_controller.core.phases.route import keep_route
from rollout_controller.core.phases.steps import GIVE_UP_S, advance, current_step, held, next_weight, pause, pause_then
from rollout_controller.core.states import Event
from rollout_controller.core.turn import TRAFFIC_LOOK_S, Decision, Turn

ENDINGS: dict[str, Outcome] = {"Superseded": "Superseded", "Aborted": "Aborted"}
SUSPECT = 0.1
"""False-alarm chance from which time alone no longer takes a version forward: more users would meet what may be harm."""
FIRST_WINDOWS_S = 5.0
"""After a step has begun: so long is it no news that nothing was seen of it yet."""


def progress(turn: Turn) -> Decision:
    """One turn of Progressing. A person is heard also while nothing can be seen."""
    turn, decision = watch(turn)
    if decision is not None:
        return decision
    turn, decision = _obey(turn)
    if decision is not None:
        return decision
    turn, decision = _keep_sight(turn)
    return decision if decision is not None else _go_on(turn)


def hold(turn: Turn) -> Decision:
    """One turn of Paused: traffic stays, harm still counts."""
    turn, decision = watch(turn)
    if decision is not None:
        return decision
    command = new_command(turn)
    if command is not None:
        return _obey_paused(turn, *command)
    turn, _ = _keep_sight(turn)
    attempt = turn.attempt
    ends = attempt.pause_ends_at
    if ends is not None and turn.now >= ends:
        if pause_then(turn) == "Resume":
            return _pause_over(turn, ends)
        return leave(turn, "RolledBack", explain.pause_ran_out(turn.now - (attempt.paused_at or turn.now)))
    reason = turn.status.reason
    if reason is None or reason.code == Code.ROUTE_UNREADABLE:  # what was in the way is not any more
        end = "resumed" if pause_then(turn) == "Resume" else "rolled back"
        reason = explain.paused("a person or the policy", attempt.weight, ends, end)
    return Decision(turn.status, reason, min(turn.now + TRAFFIC_LOOK_S, ends or turn.now + TRAFFIC_LOOK_S))


def _pause_over(turn: Turn, ended_at: float) -> Decision:
    """A pause that ends by itself: on to where it goes, unless something speaks against more traffic (safety rule 6).

    Then it lasts, for as long as a step would be held; what cannot be seen does what the policy says of that. A person may
    resume.
    """
    attempt, policy, now = turn.attempt, turn.policy, turn.now
    assert policy is not None
    if attempt.resume_to == "step":
        return _resume(turn, to_next=False)
    blind = _blind(turn)
    if blind is not None:
        since, limit = max(attempt.unknown_since or ended_at, ended_at), policy.unknown.after
        words = "goes back to stable" if policy.unknown.then == "Rollback" else "stays paused"
        against: Reason | None = explain.unknown(attempt.weight, blind, since + limit, words)
    else:
        since, limit = ended_at, policy.hold.timeout
        undecided = next((v for v in turn.status.verdicts if v.verdict is not VerdictKind.SATISFIED), None)
        requests = max((v.requests for v in turn.status.verdicts), default=0) - attempt.requests_before_step
        against = _against(turn, current_step(policy, attempt.weight), requests, _held_by(turn), undecided)
    if against is None:
        return _resume(turn, to_next=True)
    if now - since < limit:
        return Decision(turn.status, against, min(now + TRAFFIC_LOOK_S, since + limit))
    if blind is not None and policy.unknown.then == "Rollback":
        return leave(turn, "RolledBack", explain.blind_too_long(now - since, blind))
    longer = evolve(attempt, pause_ends_at=now + policy.paused.after, step_pause=False)
    return Decision(evolve(turn.status, attempt=longer), against, now + TRAFFIC_LOOK_S)


def watch(turn: Turn) -> tuple[Turn, Decision | None]:
    """What every turn with traffic begins with. The order is the order of urgency; harm comes first."""
    route = turn.seen.route
    if isinstance(route, RouteState) and route.mark and _begun_rollback(turn, route):
        ending = ENDINGS.get(route.mark.ending, "RolledBack")
        return turn, leave(turn, ending, Reason(code=route.mark.code, sentence=route.mark.sentence))
    if (decision := retreat.begun(turn)) is not None:
        return turn, decision
    turn, harm = _judged(turn)
    if harm is not None:
        return turn, leave(turn, "RolledBack", explain.reason(_harm_code(harm), harm.sentence))
    if (decision := retreat.due(turn)) is not None:
        return turn, decision
    if (decision := interrupted(turn)) is not None:
        return turn, decision
    turn = at(turn, adopted_request(turn))
    turn, decision = keep_canary(turn)
    if decision is not None:
        return turn, decision
    if turn.policy is not None and (guard := tripped(turn.policy, turn.status.guards, turn.seen)) is not None:
        return turn, leave(turn, "RolledBack", explain.guard_harm(guard.sentence))
    return turn, keep_route(turn)


def _begun_rollback(turn: Turn, route: RouteState) -> bool:
    """The route's mark says that this attempt is being left: a controller that died after moving traffic said so."""
    return route.mark is not None and route.mark.attempt == turn.attempt.id and route.mark.phase == Phase.ROLLING_BACK


def _harm_code(harm: Verdict) -> Code:
    return Code.ERRORS_VIOLATED if harm.kind == "errors" else Code.LATENCY_VIOLATED


def _judged(turn: Turn) -> tuple[Turn, Verdict | None]:
    """The turn with clocks, verdicts and guards brought up to now, and the verdict that says harm, if any."""
    attempt = turn.attempt
    if attempt.step_started_at is None and turn.status.phase is not Phase.RETREATED and turn.route_is(turn.status):
        first = attempt.first_traffic_at or turn.now
        before = max((v.requests for v in turn.status.verdicts), default=0)
        before = before if attempt.left_at is None else attempt.requests_before_step
        attempt = evolve(attempt, step_started_at=turn.now, first_traffic_at=first, requests_before_step=before)
    status = evolve(turn.status, attempt=attempt)
    if turn.policy is None:
        return at(turn, status), None
    weight = attempt.weight if attempt.back_to is None else attempt.back_to
    step = StepView(
        attempt_started_at=attempt.started_at,
        first_traffic_at=attempt.first_traffic_at,
        step=attempt.step,
        step_started_at=attempt.step_started_at,
        weight=weight,
        next_weight=next_weight(turn.policy, weight) or 100,
        retreat=turn.policy.retreat != "off" and turn.policy.judge.rule == "evidence",
        retreats=attempt.retreats,
        left_at=attempt.left_at,
        planned_s=sum(turn.policy.max_hold(s) for s in turn.policy.steps),
    )
    said = status.verdicts if turn.brief else ()
    assessment = assess(turn.policy, step, status.judge, turn.seen.windows, turn.now, said=said)
    newest = max((s.window_end or 0.0 for s in assessment.state.slos.values()), default=0.0)
    status = evolve(
        status,
        judge=assessment.state,
        verdicts=assessment.verdicts,
        guards=read_guards(turn.policy, status.guards, turn.seen, brief=turn.brief)
        if attempt.first_traffic_at is not None
        else (),
        attempt=evolve(attempt, last_sample_at=assessment.harm_at or newest or attempt.last_sample_at),
    )
    return at(turn, status), assessment.harm


def _keep_sight(turn: Turn) -> tuple[Turn, Decision | None]:
    """Unknown is its own verdict: hold, say so, and after the policy's time do what it says (safety rule 6)."""
    attempt, now = turn.attempt, turn.now
    blind = _blind(turn)
    if blind is None and attempt.unknown_since is None and attempt.stuck_since is None:
        return turn, None
    if blind is None:
        return at(turn, evolve(turn.status, attempt=evolve(attempt, unknown_since=None, stuck_since=None))), None
    since = attempt.unknown_since if attempt.unknown_since is not None else now
    turn = at(turn, evolve(turn.status, attempt=evolve(attempt, unknown_since=since, stuck_since=None)))
    if turn.status.phase is Phase.PAUSED:
        return turn, None
    after, then = (turn.policy.unknown.after, turn.policy.unknown.then) if turn.policy else (GIVE_UP_S, "Rollback")
    if now - since >= after:
        reason = explain.blind_too_long(now - since, blind)
        return turn, leave(turn, "RolledBack", reason) if then == "Rollback" else pause(turn, reason, to_next=False)
    if attempt.step_started_at is None or now - attempt.step_started_at < FIRST_WINDOWS_S:
        return turn, None  # the first windows of a step are still on their way
    reason = explain.unknown(attempt.weight, blind, since + after, "goes back to stable" if then == "Rollback" else "pauses")
    tell = turn.tell(reason, warning=True, again=True)
    return turn, Decision(turn.status, reason, min(now + TRAFFIC_LOOK_S, since + after), tells=(tell,))


def _blind(turn: Turn) -> str | None:
    """What cannot be seen, in words; None when everything can."""
    if turn.policy is None:
        return turn.policy_problem
    for verdict in turn.status.verdicts:
        if verdict.verdict is VerdictKind.UNKNOWN:
            return verdict.sentence
    return next((guard.sentence for guard in turn.status.guards if guard.state == "unknown"), None)


def _go_on(turn: Turn) -> Decision:
    """Advance when the step has what it needs; otherwise say what is missing and until when."""
    attempt, policy = turn.attempt, turn.policy
    if policy is None or attempt.step_started_at is None or _blind(turn) is not None:
        reason = explain.waiting("the first data of this step", None, "")
        return Decision(turn.status, reason, turn.now + 1.0)
    step = current_step(policy, attempt.weight)
    lasted = held(turn)
    minimum, maximum = policy.min_hold(step), policy.max_hold(step)
    over = _held_by(turn)
    undecided = next((v for v in turn.status.verdicts if v.verdict is not VerdictKind.SATISFIED), None)
    requests = max((v.requests for v in turn.status.verdicts), default=0) - attempt.requests_before_step
    few = requests < policy.min_requests(step)
    if attempt.go_full or attempt.go_next or (lasted >= minimum and undecided is None and not few and over is None):
        return _step_done(turn, step, unproven=undecided is not None)
    if lasted >= maximum:
        return _out_of_time(turn, step, requests, over, undecided)
    ends = turn.now - lasted + maximum
    next_change = turn.now - lasted + minimum if lasted < minimum else ends
    look_again = min(turn.now + turn.look_s, next_change, ends)
    if turn.brief and turn.status.reason is not None and turn.status.reason.code == Code.WAITING:
        return Decision(turn.status, turn.status.reason, look_again)
    if over is not None and over.code == Code.DRIFT_REPEATS:
        return Decision(turn.status, over, look_again)
    missing = (over and over.sentence.removeprefix("Holding: ").rstrip(".")) or (
        undecided and f"{undecided.slo}: {undecided.sentence.rstrip('.')}"
    )
    if missing is None and few:
        missing = f"{policy.min_requests(step) - requests:,} more requests"
    missing = missing or f"the step's time: {explain.span(minimum - lasted)} more"
    reason = explain.waiting(missing, ends, "a probe proves nothing" if step.probe else _then_words(policy))
    return Decision(turn.status, reason, look_again)


def _then_words(policy: PolicySpec) -> str:
    return {"Advance": "then marked unproven", "Pause": "then paused", "Rollback": "then rolled back"}[policy.undecided.then]


def _held_by(turn: Turn) -> Reason | None:
    """What keeps any step from going forward, however healthy the version looks and however long it takes."""
    if turn.policy_problem:
        return explain.policy_problem(turn.policy_problem)
    over = next((guard.sentence for guard in turn.status.guards if guard.state == "over"), None)
    if over is not None:
        return explain.reason(Code.GUARD_HOLDS, f"holding: {over}")
    return fights.repeats(turn.status.drift, turn.now)


def _out_of_time(turn: Turn, step: Step, requests: int, over: Reason | None, undecided: Verdict | None) -> Decision:
    """The step's maxHold has passed without all that it needs."""
    assert turn.policy is not None
    policy, lasted = turn.policy, held(turn)
    few = requests < policy.min_requests(step)
    against = _against(turn, step, requests, over, undecided)
    if against is not None:
        timeout = max(policy.hold.timeout, policy.max_hold(step))
        if lasted < timeout:
            return Decision(turn.status, against, turn.now + min(TRAFFIC_LOOK_S, timeout - lasted))
        if turn.policy_problem or (few and policy.unknown.then == "Rollback") or policy.undecided.then == "Rollback":
            return leave(turn, "RolledBack", against)
        return pause(turn, against, to_next=False)
    if step.probe:
        return _step_done(turn, step, unproven=False)
    words = undecided.sentence if undecided else ""
    if policy.undecided.then == "Rollback":
        return leave(turn, "RolledBack", explain.undecided_rollback(lasted, words))
    if policy.undecided.then == "Pause":
        return pause(
            turn, explain.reason(Code.UNDECIDED_PAUSE, f"no verdict after {explain.span(lasted)}: {words}"), to_next=True
        )
    return _step_done(turn, step, unproven=True)


def _against(turn: Turn, step: Step, requests: int, over: Reason | None, undecided: Verdict | None) -> Reason | None:
    """Why time alone takes nobody forward; None: it does."""
    assert turn.policy is not None
    if over is not None:
        return over
    if undecided is not None and undecided.common_cause:
        return explain.reason(Code.BOTH_MISS, f"holding: {undecided.sentence}")
    needed = turn.policy.min_requests(step)
    if requests < needed:
        return explain.too_few_requests(requests, needed, held(turn))
    suspected = suspects(turn.policy, turn.status.judge, SUSPECT)
    suspect = next((v for v in turn.status.verdicts if v.slo in suspected), None)
    return explain.reason(Code.SIGNS_OF_HARM, f"holding: {suspect.sentence}") if suspect is not None else None


def _step_done(turn: Turn, step: Step, *, unproven: bool) -> Decision:
    """The step has what it needs: wait for a person if it says so, else go on."""
    attempt = turn.attempt
    if step.pause is not None and not (attempt.go_full or attempt.go_next) and step.weight == attempt.weight:
        reason = explain.reason(Code.STEP_PAUSE, f"{step.weight} % is done; the policy waits for a person here")
        return pause(turn, reason, to_next=True, for_s=step.pause.duration)
    return advance(turn, unproven=unproven)


# --- commands ------------------------------------------------------------------------------------------------


def _obey(turn: Turn) -> tuple[Turn, Decision | None]:
    """A command in Progressing, or the turn in which it was refused. Abort was handled before."""
    command = new_command(turn)
    if command is None:
        return turn, None
    verb, ident = command
    if verb == "pause":
        decision = pause(turn, explain.reason(Code.PAUSED, f"paused by command {ident}"), to_next=False)
    elif verb in {"promote", "promote-full"} and not turn.policy_problem:
        full = verb == "promote-full"
        going = evolve(turn.attempt, go_full=full, go_next=True)
        decision = advance(at(turn, evolve(turn.status, attempt=going)), unproven=True)
    else:
        why = "nothing is paused" if verb == "resume" else turn.policy_problem
        return at(turn, refused(turn.status, verb, ident, why)), None
    return turn, replace(decision, status=echoed(decision.status, verb, ident, decision.reason.sentence))


def _obey_paused(turn: Turn, verb: str, ident: str) -> Decision:
    if verb in {"resume", "promote", "promote-full"} and not turn.policy_problem:
        turn = at(turn, evolve(turn.status, attempt=evolve(turn.attempt, go_full=verb == "promote-full")))
        decision = _resume(turn, to_next=verb != "resume" or turn.attempt.resume_to == "next")
        return replace(decision, status=echoed(decision.status, verb, ident, decision.reason.sentence))
    why = "it is paused already" if verb == "pause" else turn.policy_problem
    status = refused(turn.status, verb, ident, why)
    reason = status.reason or explain.paused("a person", turn.attempt.weight, None, "")
    return Decision(status, reason, turn.now + TRAFFIC_LOOK_S)


def _resume(turn: Turn, *, to_next: bool) -> Decision:
    """Back to Progressing, at the policy's weight; the step's clock begins anew unless the step was done."""
    attempt = evolve(turn.attempt, paused_at=None, pause_ends_at=None, resume_to="step", step_pause=False)
    resumed = at(turn, turn.go(Event.RESUME, attempt=attempt))
    if to_next:
        resumed = at(resumed, evolve(resumed.status, attempt=evolve(attempt, go_next=True)))
        return advance(resumed, unproven=any(v.verdict is not VerdictKind.SATISFIED for v in turn.status.verdicts))
    assert turn.policy is not None
    steps = turn.policy.steps
    weight = (
        min(current_step(turn.policy, attempt.weight).weight, attempt.weight) or steps[min(attempt.step, len(steps) - 1)].weight
    )
    status = evolve(
        resumed.status,
        attempt=evolve(attempt, weight=weight, weight_set_at=turn.now, step_started_at=None, left_at=None, held_before=0.0),
    )
    reason = explain.reason(Code.RESUMED, f"resumed at {weight} %")
    return Decision(status, reason, turn.now, move=turn.set_weights(status, reason), tells=(turn.tell(reason),))
