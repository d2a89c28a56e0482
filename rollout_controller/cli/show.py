"""The commands that only read: status, list, explain, history."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from rollout_controller.api.names import Raw
from rollout_controller.cli import tables
from rollout_controller.cli.card import card
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.fetch import Session, key_of
from rollout_controller.cli.info import Info, facts
from rollout_controller.cli.page import Blank, Page, Para
from rollout_controller.cli.words import clock, seconds_since_1970
from rollout_controller.cluster.store import Forbidden

PHASE_EXITS = {
    "RolledBack": Exit.ROLLED_BACK,
    "RollingBack": Exit.ROLLED_BACK,
    "Aborted": Exit.ROLLED_BACK,
    "Stalled": Exit.FAILED,
    "Paused": Exit.PAUSED,
}
"""What `status NAME --exit-code` answers; 0 for every other phase."""


def status(args: Namespace, session: Session) -> int:
    """One rollout's card, or the list of all."""
    if args.watch and args.output in {"json", "yaml", "raw"}:
        raise CommandError(f"-w follows as text: leave out -w or -o {args.output}", Exit.USAGE)
    if args.name is None:
        return _status_of_all(args, session)
    return _status_of(args, session, session.find(args.name))


def _status_of(args: Namespace, session: Session, rollout: Raw) -> int:
    key = key_of(rollout)
    command = session.reach(key.namespace)
    if args.watch:
        watch(session, (session.info(document) for document in session.follow(key)), lambda info: card(info, command))
    info = session.info(rollout)
    if args.output == "raw":
        session.screen.data(rollout, "json")
    elif args.output in {"json", "yaml"}:
        session.screen.data(facts(info), args.output)
    else:
        session.screen.page((*card(info, command), *(_sentences(info) if args.output == "wide" else ())))
    return PHASE_EXITS.get(info.phase, Exit.FINE) if args.exit_code else Exit.FINE


def _sentences(info: Info) -> Page:
    return (Blank(), *(Para(check.name, check.sentence or "-", size=tables.EXPLAIN_LABEL) for check in info.checks))


def _status_of_all(args: Namespace, session: Session) -> int:
    rollouts = session.rollouts()
    if args.output == "raw":
        session.screen.data(list(rollouts), "json")
    elif args.output in {"json", "yaml"}:
        session.screen.data({"rollouts": [facts(session.info(rollout)) for rollout in rollouts]}, args.output)
    elif not rollouts:
        where = f" in namespace {session.namespace}" if session.namespace else ""
        session.screen.note(f"there is no TritonRollout{where} yet: {session.command} apply -f FILE")
    elif len(rollouts) == 1 and not args.many:
        return _status_of(args, session, rollouts[0])
    elif args.watch:
        _watch_all(session, wide=args.output == "wide", spaces=args.all_namespaces)
    else:
        infos = [session.info(rollout) for rollout in rollouts]
        session.screen.page(tables.listing(infos, wide=args.output == "wide", spaces=args.all_namespaces))
    return Exit.FINE


def _watch_all(session: Session, *, wide: bool, spaces: bool) -> None:
    seen: dict[tuple[str, str], tuple[object, ...]] = {}
    reads = ([session.info(rollout) for rollout in rollouts] for rollouts in session.rollouts_again_and_again())
    if session.screen.rich:
        with session.screen.live() as draw:
            for infos in reads:
                draw(tables.listing(infos, wide=wide, spaces=spaces))
    for infos in reads:
        for info in infos:
            if seen.get((info.namespace, info.name)) != tables.headline(info):
                seen[info.namespace, info.name] = tables.headline(info)
                session.screen.line(f"{clock(session.clock())}   {tables.change_line(info, spaces=spaces)}")


def watch(session: Session, infos: Iterable[Info], page: Callable[[Info], Page]) -> Info | None:
    """Show each Info: drawn in place on a terminal, one line a change in a pipe. The last one, when they end."""
    last: Info | None = None
    if session.screen.rich:
        with session.screen.live() as draw:
            for info in infos:
                draw(page(info))
                last = info
        return last
    for info in infos:
        if last is None or tables.headline(info) != tables.headline(last):
            session.screen.line(f"{clock(session.clock())}   {tables.change_line(info)}")
        last = info
    return last


def history(args: Namespace, session: Session) -> int:
    if args.output == "html":
        from rollout_controller.cli.history_page import page  # noqa: PLC0415 - the documents' types, a third of a second

        return page(args, session)
    for option in ("attempt", "to", "prometheus", "prometheus_token_file"):
        if getattr(args, option) is not None:
            raise CommandError(f"--{option.replace('_', '-')} is for -o html", Exit.USAGE)
    info = session.info(session.find(args.name))
    if args.output in {"json", "yaml"}:
        session.screen.data({"name": info.name, "namespace": info.namespace, "attempts": facts(info.history)}, args.output)
    else:
        session.screen.page(tables.history(info))
    return Exit.FINE


def explain(args: Namespace, session: Session) -> int:
    rollout = session.find(args.name)
    policy = session.policy_of(rollout)
    rules = _rules(str((rollout.get("spec") or {}).get("policy")), policy, session.why_no_policy(rollout))
    events: list[tables.EventInfo] = []
    if args.events:
        try:
            events = [_event(event) for event in session.events(rollout)[-args.events :]]
        except Forbidden as error:
            rules["events"] = f"You may not {error.verb} {error.resource} in this namespace."
    session.screen.page(tables.explanation(session.info(rollout), rules, events, session.reach(key_of(rollout).namespace)))
    return Exit.FINE


def _event(raw: Raw) -> tables.EventInfo:
    series: Any = raw.get("series") or {}
    return tables.EventInfo(
        at=seconds_since_1970(series.get("lastObservedTime") or raw.get("eventTime")),
        code=str(raw.get("reason") or ""),
        sentence=str(raw.get("note") or ""),
        warning=raw.get("type") == "Warning",
        times=int(series.get("count") or 1),
    )


def _rules(name: str, policy: Mapping[str, Any] | None, lack: str) -> dict[str, str]:
    """The policy in words; `lack` where there is none."""
    if policy is None:
        return {"policy": lack}
    spec = policy.get("spec", {})
    steps = ", ".join(f"{step['weight']} %" + (" (waits for a person)" if "pause" in step else "") for step in spec["steps"])
    judge, undecided, unknown, drift = (spec.get(part, {}) for part in ("judge", "undecided", "unknown", "drift"))
    return {
        "policy": f"{name}: {steps}.",
        "promise": f"An innocent version is rolled back in at most {judge.get('falseRollback', '1%')} of rollouts.",
        "undecided": f"After {undecided.get('after', '6m')} in a step: {_deed(undecided.get('then', 'Advance'))}.",
        "blind": f"After {unknown.get('after', '10m')} without data: {_deed(unknown.get('then', 'Rollback'))}.",
        "drift": f"When somebody else moves traffic: {_deed(drift.get('then', 'Restore'))}.",
    }


def _deed(then: str) -> str:
    return {
        "Advance": "go on, marked unproven",
        "Pause": "pause for a person",
        "Rollback": "go back to stable",
        "Restore": "put our weights back",
        "Abort": "abort",
    }.get(then, then)
