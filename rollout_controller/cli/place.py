"""Where the documents are: in a folder of this machine, or in a cluster. Decided from options and environment alone."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.screen import Screen

DATABASE = "rollouts.db"
DEFAULT_DIRECTORY = ".lab"
ENVIRONMENT = "ROLLOUTS_LOCAL"
PLUGIN = "kubectl-rollouts"
"""kubectl finds its plugins by their file names: as this one, the program is `kubectl rollouts`."""


@dataclass(frozen=True)
class Folder:
    """DIR/rollouts.db, without a cluster."""

    path: Path


@dataclass(frozen=True)
class Cluster:
    """The cluster of a kubeconfig; what is None is as for kubectl: $KUBECONFIG or ~/.kube/config, and its current context."""

    kubeconfig: Path | None
    context: str | None


def place(args: Namespace, screen: Screen) -> Folder | Cluster:
    """--local or --context and --kubeconfig, else $ROLLOUTS_LOCAL, else ./.lab where a lab was started, else the cluster.

    Raises:
        CommandError: options that exclude each other.
    """
    if args.all_namespaces and args.namespace is not None:
        raise CommandError("-A means every namespace and -n one: leave one of them out", Exit.USAGE)
    to_cluster = [option for option in ("context", "kubeconfig") if getattr(args, option) is not None]
    if args.local is not None and to_cluster:
        raise CommandError(f"--local means documents without a cluster: leave out --local or --{to_cluster[0]}", Exit.USAGE)
    for option in ("local", "context", "kubeconfig", "namespace"):
        if getattr(args, option) == "":
            raise CommandError(f"--{option} is empty", Exit.USAGE)
    if not to_cluster and (folder := folder_of(args.local, screen)) is not None:
        return Folder(folder)
    return Cluster(None if args.kubeconfig is None else Path(args.kubeconfig), args.context)


def folder_of(given: str | None, screen: Screen) -> Path | None:
    """--local, else $ROLLOUTS_LOCAL, else ./.lab where a lab was started; None where there is none of these."""
    if given or os.environ.get(ENVIRONMENT):
        return Path(given or os.environ[ENVIRONMENT])
    default = Path(DEFAULT_DIRECTORY)
    if (default / DATABASE).exists():
        screen.note(f"using {DEFAULT_DIRECTORY} in this folder (--local was not given; --context NAME takes a cluster)")
        return default
    return None


def program() -> str:
    """How the user calls us: `rollouts`, or `kubectl rollouts` when kubectl runs us as its plugin."""
    return "kubectl rollouts" if Path(sys.argv[0]).stem == PLUGIN else "rollouts"


def prefix(args: Namespace) -> str:
    """How the proposed commands must begin to reach the same place, without the namespace."""
    import shlex  # noqa: PLC0415

    parts = [program()]
    for option in ("local", "kubeconfig", "context"):
        if getattr(args, option):
            parts += [f"--{option}", shlex.quote(getattr(args, option))]
    return " ".join(parts)
