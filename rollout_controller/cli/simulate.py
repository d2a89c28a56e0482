"""`rollouts simulate`: a policy file and a made world, hundreds of attempts by the product's own `decide`."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from rollout_controller.api.errors import InvalidDocument
from rollout_controller.api.meta import Model, parse
from rollout_controller.api.policy import RolloutPolicy
from rollout_controller.api.quantities import format_percent
from rollout_controller.cli import files
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.screen import screen
from rollout_controller.cli.simulated import Shown, page, raw
from rollout_controller.replay.picture import picture
from rollout_controller.replay.simulate import Ask, play_of, simulate
from rollout_controller.replay.world import Harm, World, WorldFile
from rollout_controller.slo.sources import Sources, check_policy, load_sources

IDENTICAL = "identical version"
MOST_HARMS = 6
_MOST, _SECONDS = 1000, 20.0
"""Unless told: at most so many attempts of each version, none begun after so many seconds."""
_SAY_EVERY_S = 5.0
_HARM_WORDS = "errors=5%, p95=120ms, outage, hang=50%, gpu=95%, and with them from=50% (a weight), after=10m"

T = TypeVar("T", bound=Model)


def run(args: Namespace) -> int:
    """Simulate, show, and draw; exit code 0 whatever was found."""
    began = time.monotonic()
    sources = load_sources(*([Path(args.sources)] if args.sources else ()))
    policy = _policy(args.file, sources)
    world, harms = _world(args)
    harms = harms or _usual(policy, world)
    plays = {IDENTICAL: play_of(policy, world, Harm(), sources, insist=args.insist)}
    plays |= {name: play_of(policy, world, harm, sources, insist=args.insist) for name, harm in harms.items()}
    seconds = args.time if args.time is not None else _SECONDS if args.attempts is None else None
    more = {IDENTICAL: len(harms)}  # half of the work: a small share needs many attempts, a large one few
    ask = Ask(plays, args.attempts or _MOST, more, args.seed, processes=args.processes, seconds=seconds)
    target = None if args.picture is None else _writable(args.picture)
    with _progress(plain=args.plain) as progress:
        results = simulate(ask, progress)
    shown = Shown(policy, args.file, world, harms, results, args.seed, time.monotonic() - began)
    if target is not None:
        target.write_text(picture(policy.metadata.name, results, plays), encoding="utf-8")
    terminal = screen(plain=args.plain)
    if args.output:
        terminal.data(raw(shown), args.output)
    else:
        terminal.page(page(shown))
        if target is not None:
            terminal.note(f"picture: {target}")
    return Exit.FINE


def _policy(file: str, sources: Sources) -> RolloutPolicy:
    """The one RolloutPolicy of a file.

    Raises:
        InvalidDocument: with every fault's line.
        CommandError: there is none, or more than one.
    """
    found = [each for each in files.read(file) if each.raw.get("kind") == "RolloutPolicy"]
    if len(found) != 1:
        raise CommandError(f"{file}: {len(found) or 'no'} RolloutPolicy documents in it; exactly one is simulated", Exit.USAGE)
    document = found[0]
    try:
        policy = parse(RolloutPolicy, document.raw)
    except InvalidDocument as invalid:
        raise invalid.at(document.file, document.lines) from None
    if faults := check_policy(policy, sources):
        raise InvalidDocument(file, faults).at(document.file, document.lines)
    return policy


def _world(args: Namespace) -> tuple[World, dict[str, Harm]]:
    """The file's world with what the options say instead, and the versions that hurt."""
    said: dict[str, Any] = {}
    lines: dict[str, int] = {}
    name = "the options"
    if args.world is not None:
        documents = files.read(args.world)
        if len(documents) != 1:
            raise CommandError(f"{args.world}: {len(documents)} documents in it; a world is one", Exit.USAGE)
        said, lines, name = dict(documents[0].raw), documents[0].lines, args.world
        _parsed(WorldFile, {"rps": 1.0, **said} if args.rps is not None else said, name, lines)
    options = {"rps": args.rps, "errors": args.errors, "p95": args.p95, "scrape": args.scrape, "batch": args.batch}
    said |= {key: value for key, value in options.items() if value is not None}
    if args.hiccups:
        said["hiccups"] = [_hiccups(text) for text in args.hiccups]
    if "rps" not in said:
        raise CommandError("how many requests a second? Say --rps N, or rps: N in a --world FILE", Exit.USAGE)
    made = _parsed(WorldFile, said, name, {})
    harms = dict(made.harms) | {text: _harm(text) for text in args.harm or ()}
    if len(harms) > MOST_HARMS:
        raise CommandError(f"{len(harms)} harms; at most {MOST_HARMS} are simulated side by side", Exit.USAGE)
    if IDENTICAL in harms:
        raise CommandError(f"a harm may not be called {IDENTICAL!r}", Exit.USAGE)
    return _plain(made), harms


def _plain(made: WorldFile) -> World:
    """The world alone."""
    return World.model_construct(**{name: getattr(made, name) for name in World.model_fields})


def _parsed(kind: type[T], raw_: dict[str, Any], name: str, lines: dict[str, int]) -> T:
    try:
        return parse(kind, raw_)
    except InvalidDocument as invalid:
        if lines:
            raise invalid.at(name, lines) from None
        first = invalid.errors[0]
        option = f"--{first.path}" if first.path else name
        raise CommandError(f"{option}: {first.read}" + (f"; {first.allowed}" if first.allowed else ""), Exit.USAGE) from None


def _hiccups(text: str) -> dict[str, Any]:
    """`20s/5m` or `20s/5m/4`."""
    parts = text.split("/")
    if len(parts) not in (2, 3):
        raise CommandError(f"--hiccups {text}: write LENGTH/EVERY or LENGTH/EVERY/PODS, for example 20s/5m/4", Exit.USAGE)
    if parts[2:] and not parts[2].isdecimal():
        raise CommandError(f"--hiccups {text}: {parts[2]!r} is no number of pods", Exit.USAGE)
    return {"length": parts[0], "every": parts[1], "pods": int(parts[2]) if parts[2:] else 1}


def _harm(text: str) -> Harm:
    """`errors=5%,from=50%` and the like."""
    fields = {"errors": "errors", "p95": "p95", "hang": "hang", "gpu": "gpu", "from": "fromWeight", "after": "after"}
    said: dict[str, Any] = {}
    for part in text.split(","):
        key, _, value = part.strip().partition("=")
        if key == "outage" and not value:
            said["outage"] = True
        elif key in fields and value:
            said[fields[key]] = value
        else:
            raise CommandError(f"--harm {text}: {part.strip()!r} was read; it may be {_HARM_WORDS}", Exit.USAGE)
    try:
        harm = parse(Harm, said)
    except InvalidDocument as invalid:
        first = invalid.errors[0]
        raise CommandError(f"--harm {text}: {first.read}; {first.allowed}", Exit.USAGE) from None
    if harm.none:
        raise CommandError(f"--harm {text}: it says when, but not what; {_HARM_WORDS}", Exit.USAGE)
    return harm


def _usual(policy: RolloutPolicy, world: World) -> dict[str, Harm]:
    """What is asked about when nobody says: five times the errors that are allowed, twice the latency, an outage."""
    harms: dict[str, Harm] = {}
    errors = next((slo.bad_share for slo in policy.spec.slos if slo.kind == "errors"), None)
    if errors is not None:
        share = min(round(max(5 * errors, 3 * world.errors), 6), 0.9)
        harms[f"errors={format_percent(share)}"] = Harm.model_construct(errors=share)
    if any(slo.kind == "latency" for slo in policy.spec.slos):
        harms[f"p95={world.p95 * 1.5 * 1000:g}ms"] = Harm.model_construct(p95=world.p95 * 1.5)
    harms["outage"] = Harm.model_construct(outage=True)
    return harms


def _writable(file: str) -> Path:
    """Where the picture goes; said before half a minute of work, not after."""
    path = Path(file)
    if path.suffix != ".svg":
        raise CommandError(f"--picture {file}: it is drawn as SVG; call it NAME.svg", Exit.USAGE)
    try:
        path.touch()
    except OSError as error:
        raise CommandError(f"--picture {file}: cannot be written: {error.strerror}", Exit.USAGE) from None
    return path


@contextmanager
def _progress(*, plain: bool) -> Iterator[Callable[[int, int], None]]:
    """On stderr: a bar on a terminal, else a line every few seconds."""
    if sys.stderr.isatty() and not plain:
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("attempts of each version that hurts", total=None)
            yield lambda done, most: bar.update(task, completed=done, total=most)
        return
    last = time.monotonic()

    def say(done: int, most: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _SAY_EVERY_S:
            last = time.monotonic()
            sys.stderr.write(f"{done:,} of at most {most:,} attempts of each version that hurts\n")
            sys.stderr.flush()

    yield say
