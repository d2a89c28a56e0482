"""`rollouts lab up|down|status`: the lab's servers by hand."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from rollout_controller.lab import receiver
from rollout_controller.lab.golang import BuildFailed
from rollout_controller.lab.info import Info
from rollout_controller.lab.lab import Lab, LabFailed
from rollout_controller.lab.outside import MissingPart
from rollout_controller.lab.processes import ServerFailed
from rollout_controller.lab.tritons import TritonRefused

FINE, FAILED = 0, 1
LOOK_S = 0.5
TROUBLE = (LabFailed, MissingPart, BuildFailed, ServerFailed, TritonRefused, OSError)
"""What can go wrong outside of our code; each says what to do."""


def run(args: argparse.Namespace) -> int:
    """One of the three; gives the exit code. `status`: 0 up, 1 otherwise."""
    lab = Lab(Path(args.directory), _say, with_alerts=args.with_receiver)
    try:
        if args.action == "up":
            return _up(lab, args)
        return _down(lab) if args.action == "down" else _status(lab)
    except TROUBLE as trouble:
        sys.stderr.write(f"error: {said(trouble)}\n")
        return FAILED


def said(trouble: Exception) -> str:
    """In a sentence; of a file system's troubles the file and why, without the number."""
    if isinstance(trouble, OSError) and trouble.filename:
        return f"{trouble.filename}: {trouble.strerror}"
    return str(trouble)


def _up(lab: Lab, args: argparse.Namespace) -> int:
    """Start the servers and the load. In the foreground everything ends with this process."""
    was_up = lab.status().state == "up"
    try:
        info = lab.up(detached=args.detach)
        if not was_up:
            lab.load(rps=args.rps, out=lab.directory / "load.jsonl", seconds=24 * 3600.0, tethered=not args.detach)
            _say(f"load: {args.rps:g} requests a second, for a day at most")
        _where(info, args.directory)
        if args.detach:
            return FINE
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: ended.set())
        _say("Ctrl-C ends it.")
        _show(lab.directory, ended)
    except BaseException:
        if not was_up:
            lab.down()
        raise
    lab.down()
    return FINE


def _show(directory: Path, ended: threading.Event) -> None:
    """Print what would have gone to Slack, as it comes, until it is time to end."""
    shown = 0
    while not ended.wait(LOOK_S):
        told = receiver.shown(directory)
        for text in told[shown:]:
            _say(text)
        shown = len(told)


def _down(lab: Lab) -> int:
    """End every process of the lab; documents and logs stay."""
    done = lab.down()
    if done.left:
        names = ", ".join(f"{process.name} ({process.pid})" for process in done.left)
        raise LabFailed(f"these processes cannot be ended: {names}")
    count = len(done.ended)
    _say(f"{count} process{'' if count == 1 else 'es'} ended" if count else f"no lab was up in {lab.directory}")
    return FINE


def _status(lab: Lab) -> int:
    status = lab.status()
    _say(f"the lab in {lab.directory} is {status.state}")
    for name in status.alive:
        _say(f"  {name:<14} lives")
    for name in status.dead:
        _say(f"  {name:<14} ended")
    if status.info:
        _where(status.info, str(lab.directory))
    return FINE if status.state == "up" else FAILED


def _where(info: Info, directory: str) -> None:
    _say(f"  requests       {info.envoy}/v2/models/classifier/infer")
    _say(f"  Prometheus     {info.prometheus}")
    if info.alertmanager:
        _say(f"  Alertmanager   {info.alertmanager}")
    if info.receiver:
        _say(f"  messages       {info.directory / receiver.FILE}")
    _say(f"  controller     rollouts --local {directory} controller")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
