"""`rollouts controller`: on which documents it acts, a folder's or a cluster's, and nothing unclear about that."""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace

from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.screen import screen
from rollout_controller.cli.session import local_directory

WHERE = "say what it shall act on: --local DIR (a folder), or --config FILE (a cluster; docs/kubernetes.md says what is in it)"


def run(args: Namespace) -> int:
    """Run until a signal; gives the exit code. Raises CommandError for options that do not go together."""
    args.namespaces = _namespaces(args.namespaces)
    if args.namespace is not None or args.all_namespaces:
        raise CommandError(
            "a controller takes --namespaces NS[,NS...]; without it, all namespaces or those of --config", Exit.USAGE
        )
    if args.config is None:
        _only_on_a_cluster(args)
        try:
            args.local = str(local_directory(args.local, screen(plain=True)))
        except CommandError:
            raise CommandError(WHERE, Exit.USAGE) from None
    elif args.local:
        raise CommandError(f"--local {args.local} and --config {args.config} do not go together: {WHERE}", Exit.USAGE)
    signal.signal(signal.SIGTERM, _nothing_begun)
    args.log_format = args.log_format or ("console" if sys.stderr.isatty() else "json")
    from rollout_controller.controller.main import run as run_controller  # noqa: PLC0415 - a second of imports

    return run_controller(args)


def _nothing_begun(_number: int, _frame: object) -> None:
    """SIGTERM before there is a controller to be told: without a handler the first process of a container does not hear it."""
    raise SystemExit(int(Exit.FINE))


def _only_on_a_cluster(args: Namespace) -> None:
    where = f"--local {args.local}" if args.local else "a folder ($ROLLOUTS_LOCAL)" if os.environ.get("ROLLOUTS_LOCAL") else ""
    for option in ("namespaces", "kubeconfig", "context"):
        if getattr(args, option):
            said = f"--{option} is for a cluster"
            raise CommandError(f"{said}, not for {where}" if where else f"{said}; it needs --config FILE, too", Exit.USAGE)


def _namespaces(text: str | None) -> tuple[str, ...]:
    """`a,b` as names; raises CommandError."""
    if text is None:
        return ()
    from rollout_controller.controller.config import namespace_name  # noqa: PLC0415 - pydantic, half a second

    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        try:
            namespace_name(name)
        except ValueError as error:
            read, _, allowed = str(error).partition("|")
            raise CommandError(f"--namespaces: {read}; {allowed}, several with commas between them", Exit.USAGE) from None
    return names
