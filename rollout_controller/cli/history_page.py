"""`rollouts history NAME -o html`: one attempt as a self-contained page, to be attached to a ticket."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import parse
from rollout_controller.api.names import GROUP, Raw
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.rollout import TritonRollout
from rollout_controller.cli import past as pasts
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.fetch import Session
from rollout_controller.cli.past import Past
from rollout_controller.cli.words import seconds_since_1970
from rollout_controller.cluster.store import Refused
from rollout_controller.controller.urls import is_url
from rollout_controller.report.model import Panel, Told
from rollout_controller.report.page import html

if TYPE_CHECKING:
    from rollout_controller.controller.config import PrometheusConfig

ATTEMPT = f"{GROUP}/attempt"


def page(args: Namespace, session: Session) -> int:
    """Write the page to --to, or to standard output."""
    _check(args)
    document = session.find(args.name)
    rollout = parse(TritonRollout, document)
    past = pasts.find(rollout, args.attempt, session.clock())
    told, made = _told(session, document, past)
    panels, how = _panels(args, session, document, past)
    text = html(pasts.report(past, told, panels, [*made, *how]))
    if args.to is None:
        sys.stdout.write(text)
        return Exit.FINE
    try:
        Path(args.to).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{args.to} cannot be written: {(error.strerror or type(error).__name__).lower()}") from None
    session.screen.note(f"attempt {past.record.number} of {past.name} is in {args.to}")
    return Exit.FINE


def _check(args: Namespace) -> None:
    """Raises CommandError: without this the page would only lack its graphs."""
    if args.prometheus is not None and not is_url(args.prometheus):
        allowed = "http:// or https://, a host and a port, for example http://127.0.0.1:9090"
        raise CommandError(f"--prometheus: {args.prometheus!r} is not a URL; {allowed}", Exit.USAGE)
    if args.prometheus_token_file is not None:
        try:
            Path(args.prometheus_token_file).read_bytes()
        except OSError as error:
            said = f"--prometheus-token-file: {args.prometheus_token_file} cannot be read: {error.strerror}"
            raise CommandError(said, Exit.USAGE) from None


def _told(session: Session, document: Raw, past: Past) -> tuple[list[Told], list[tuple[str, str]]]:
    """The events of the attempt. A cluster keeps them for an hour."""
    try:
        events = session.events(document)
    except Refused as error:
        return [], [("decisions", f"the events were not read: {error}")]
    told = []
    for event in events:
        labels = (event.get("metadata") or {}).get("labels") or {}
        at = seconds_since_1970(event.get("eventTime"))
        if labels.get(ATTEMPT) == past.record.id and at is not None:
            note, warning = str(event.get("note") or ""), event.get("type") == "Warning"
            told.append(Told(at, str(event.get("reason") or ""), note, warning))
    whence = "from the events of the attempt" if told else "from the record in the status; its events are not kept any more"
    return told, [("decisions", whence)]


def _panels(args: Namespace, session: Session, document: Raw, past: Past) -> tuple[list[Panel], list[tuple[str, str]]]:
    """The SLIs from Prometheus, or why there are none."""
    try:
        config = _prometheus(args, session.folder)
    except InvalidDocument as error:
        return [], [("graphs", f"no Prometheus was asked: {error.one_line}")]
    if config is None:
        return [], [("graphs", "no Prometheus was asked; --prometheus URL names one")]
    policy = session.policy_of(document)
    if policy is None:
        return [], [("graphs", f"Prometheus was not asked: {session.why_no_policy(document)}")]
    from rollout_controller.cli.past_series import ASK_S, panels  # noqa: PLC0415 - the Prometheus client, half a second
    from rollout_controller.controller.prometheus import prometheus  # noqa: PLC0415
    from rollout_controller.slo.sources import load_sources  # noqa: PLC0415 - no others need it

    server = prometheus(config, timeout_s=ASK_S)
    rollout, rules = parse(TritonRollout, document), parse(RolloutPolicy, policy)
    sources = load_sources(*(config.folders if args.sources is None else (Path(args.sources),)))
    found, problems = panels(past, rollout, rules, server, window_s=config.window, sources=sources)
    whence = f"counted by the Prometheus at {server.url}, by the policy as it is now"
    return found, [("graphs", "; ".join(problems) if problems else whence)]


def _prometheus(args: Namespace, folder: Path | None) -> PrometheusConfig | None:
    """The one of the command line, else of local.yaml; raises InvalidDocument."""
    from rollout_controller.controller.config import PrometheusConfig, load_local  # noqa: PLC0415 - APScheduler's weight

    if args.prometheus is None:
        return None if folder is None else load_local(folder).prometheus
    return parse(PrometheusConfig, {"url": args.prometheus, "tokenFile": args.prometheus_token_file})
