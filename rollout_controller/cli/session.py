"""From the command line to an open store and a screen."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from rollout_controller.cli.fetch import Session, database, local_directory
from rollout_controller.cli.screen import screen
from rollout_controller.cluster.local import LocalStore

__all__ = ["Session", "command_prefix", "local_directory", "opened", "screen"]


@contextmanager
def opened(args: Namespace) -> Iterator[Session]:
    """A session on the store that the options, the environment or the folder name."""
    shown = screen(plain=args.plain)
    store = LocalStore(database(local_directory(args.local, shown)))
    try:
        yield Session(store=store, screen=shown, namespace=args.namespace, command=command_prefix(args))
    finally:
        store.close()


def command_prefix(args: Namespace) -> str:
    """How the proposed commands must begin to reach the same documents."""
    import shlex  # noqa: PLC0415

    parts = ["rollouts"]
    parts += ["--local", shlex.quote(args.local)] if args.local else []
    parts += ["-n", shlex.quote(args.namespace)] if args.namespace else []
    return " ".join(parts)
