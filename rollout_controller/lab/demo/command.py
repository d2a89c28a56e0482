"""`rollouts demo`: from the command line to the last page, and whatever happens, nothing is left running."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

from rollout_controller.api.meta import Key
from rollout_controller.api.policy import Latency
from rollout_controller.cluster.local import LocalStore
from rollout_controller.lab.command import said
from rollout_controller.lab.demo import pages, summary
from rollout_controller.lab.demo.lines import Lines
from rollout_controller.lab.demo.play import Play
from rollout_controller.lab.demo.record import Record
from rollout_controller.lab.demo.scene import limits, scene
from rollout_controller.lab.demo.script import ACTS
from rollout_controller.lab.demo.stage import Stage, StageFailed, documents, versions
from rollout_controller.lab.demo.view import GPU_NOTE, view
from rollout_controller.lab.golang import BuildFailed
from rollout_controller.lab.lab import LabFailed
from rollout_controller.lab.outside import MissingPart
from rollout_controller.lab.processes import ServerFailed
from rollout_controller.lab.traffic import Log, Traffic
from rollout_controller.lab.tritons import TritonRefused
from rollout_controller.report.chart import svg
from rollout_controller.report.page import html

RPS = 150.0
NAME = "classifier"
FINE, FAILED, INTERRUPTED = 0, 1, 130
TROUBLE = (StageFailed, LabFailed, MissingPart, BuildFailed, ServerFailed, TritonRefused, OSError)
"""What can go wrong outside of our code; each says what to do."""
ENDS_US = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interruption:
    """Ctrl-C and its like: the first raises KeyboardInterrupt, unless the cleaning up has begun; later ones do nothing."""

    def __init__(self) -> None:
        self._armed = True

    def begin(self) -> None:
        for number in ENDS_US:
            signal.signal(number, self._asked)

    def clean_up(self) -> None:
        """From here on nothing interrupts, to the very end of the process."""
        self._armed = False
        for number in ENDS_US:
            signal.signal(number, signal.SIG_IGN)

    def _asked(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt


def run(args: argparse.Namespace) -> int:
    """Play it; gives the exit code: 0 when all four ended as they should, 1 when not, 130 when interrupted."""
    interruption = Interruption()
    stage = Stage(Path(args.dir), _say, keep=args.keep)
    try:
        interruption.begin()
        try:
            code = _play(stage, args)
        except BaseException:
            interruption.clean_up()
            stage.down()
            raise
        interruption.clean_up()
        if not args.keep:
            stage.down()
    except KeyboardInterrupt:
        interruption.clean_up()
        stage.down()
        _note("interrupted; everything is stopped")
        return INTERRUPTED
    except TROUBLE as trouble:
        _note(f"error: {said(trouble)}")
        return FAILED
    _say(_what_next(Path(args.dir), keep=args.keep))
    return code


def _play(stage: Stage, args: argparse.Namespace) -> int:
    rps = args.rps or RPS
    texts = documents()
    _say("rollouts demo: four versions of a model, real servers, one of the versions good. About a minute and a half.")
    info = stage.up(rps)
    servers = versions(info)
    _say(GPU_NOTE)
    with contextlib.closing(LocalStore(stage.store_path)) as store, _shown(plain=args.plain) as show:
        record = _record(stage, store, texts["policies/demo.yaml"])
        Play(stage, record, NAME, lambda: show(record)).run(ACTS)
    end = time.time()
    table = summary.rows(record)
    command = "make demo" + (f' DEMO="--rps {rps:g}"' if args.rps else "")
    told = stage.messages(sum(played.record is not None for played in record.played))
    alerts = stage.alerts()
    texts = {**texts, "what Slack would have shown": "\n\n".join((*told, *alerts))}
    page = pages.report(record, end, made=pages.how(servers, rps=rps, command=command), documents=texts)
    (stage.directory / "report.html").write_text(html(page))
    (stage.directory / "timeline.svg").write_text(svg(page.timeline, standalone=True))
    _say("\n" + "\n".join(f"  {line}".rstrip() for line in summary.text_table(table)))
    _say("\n  Slack would have shown (docs/notifications.md):")
    for text in told:
        _say("\n" + "\n".join(f"    {line}" for line in text.splitlines()))
    _say("\n  " + _about_alerts(stage.no_alerts, len(alerts)))
    for text in alerts[:1]:
        _say("\n" + "\n".join(f"    {line}" for line in text.splitlines()))
    named = ", ".join(f"{name} {version}".strip() for name, version in servers.items())
    _say(f"\n  Everything above came from real servers on this machine: {named}.\n  {GPU_NOTE}")
    wrong = [sentence for played in record.played for sentence in played.differences]
    missing = [f"version {act.version}: was not played" for act in ACTS[len(record.played) :]]
    for sentence in (*wrong, *missing):
        _note(f"error: {sentence}")
    return FAILED if wrong or missing else FINE


def _about_alerts(missing: str, count: int) -> str:
    if missing:
        return f"There was no Alertmanager: {missing}. `make lab` makes it, however long that takes, or says why not."
    if not count:
        return "Alertmanager had nothing to tell yet."
    return f"Alertmanager would have told it, too ({count} times), for example:"


def _record(stage: Stage, store: LocalStore, policy: str) -> Record:
    traffic = Traffic(_limit_ms(policy))
    log = Log(stage.directory / "envoy" / "access.jsonl", traffic)
    return Record(store, Key("default", NAME), log, traffic, time.time)


def _limit_ms(policy: str) -> float:
    import yaml  # noqa: PLC0415

    latency = (Latency.model_validate(slo["latency"]) for slo in yaml.safe_load(policy)["spec"]["slos"] if "latency" in slo)
    return next((one.max * 1000 for one in latency), float("inf"))


@contextlib.contextmanager
def _shown(*, plain: bool) -> Iterator[Callable[[Record], None]]:
    """How a moment is shown: drawn in its place on a terminal, else one line for each change."""
    dumb = plain or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    if dumb:
        lines = Lines(_say)
        yield lambda record: lines.show(scene(record, len(ACTS), time.time()))
        return
    from rich.console import Console  # noqa: PLC0415 - 0.15 s that only a terminal pays
    from rich.live import Live  # noqa: PLC0415

    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=True, vertical_overflow="crop") as live:

        def draw(record: Record) -> None:
            shown = view(scene(record, len(ACTS), time.time()), limits(record.policy), console.width)
            live.update(shown, refresh=True)

        yield draw


def _what_next(directory: Path, *, keep: bool) -> str:
    where = shlex.quote(str(directory))
    called = _called()
    left = f"Stop:  {called} lab down {where}" if keep else ""
    return f"  Look:  open {where}/report.html        Play:  {called} --local {where} status        {left}".rstrip()


def _called() -> str:
    """How the user reaches this command line."""
    if shutil.which("rollouts"):
        return "rollouts"
    program = Path(sys.argv[0])
    return os.path.relpath(program) if program.name == "rollouts" else "python -m rollout_controller"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _note(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
