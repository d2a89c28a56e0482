"""From the command line to an open store and a screen."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.fetch import LIST_EVERY_S, POLLS_S, Session
from rollout_controller.cli.place import DATABASE, DEFAULT_DIRECTORY, Cluster, Folder, folder_of, place, prefix, program
from rollout_controller.cli.screen import Screen, screen

__all__ = ["Session", "in_cluster", "local_directory", "opened", "screen"]


@contextmanager
def opened(args: Namespace) -> Iterator[Session]:
    """A session on the store that the options, the environment or the folder name."""
    shown = screen(plain=args.plain)
    where = place(args, shown)
    with in_cluster(args, where, shown) if isinstance(where, Cluster) else _in_folder(args, where, shown) as session:
        yield session


@contextmanager
def _in_folder(args: Namespace, folder: Folder, shown: Screen) -> Iterator[Session]:
    from rollout_controller.cluster.local import LocalStore  # noqa: PLC0415 - SQLite, which a cluster does not need

    store = LocalStore(_database(folder.path))
    try:
        yield Session(store=store, screen=shown, namespace=args.namespace, command=prefix(args), folder=folder.path)
    finally:
        store.close()


@contextmanager
def in_cluster(args: Namespace, cluster: Cluster, shown: Screen) -> Iterator[Session]:
    """A session on the API server.

    Raises:
        CommandError: there is no cluster to ask, or it does not let us.
        InvalidDocument: the kubeconfig is wrong.
    """
    from rollout_controller.cli.trouble import explained  # noqa: PLC0415
    from rollout_controller.cluster.kubeconfig import NoCluster  # noqa: PLC0415 - a quarter of a second
    from rollout_controller.cluster.kubernetes import KubernetesStore  # noqa: PLC0415
    from rollout_controller.cluster.light import LightTransport  # noqa: PLC0415

    try:
        transport = LightTransport(cluster.kubeconfig, cluster.context)
    except NoCluster:
        raise CommandError(
            f"there is no cluster and no folder to ask: no kubeconfig was found ($KUBECONFIG, ~/.kube/config) and no"
            f" {DEFAULT_DIRECTORY} here; name one: {program()} --kubeconfig FILE ..., or {program()} --local DIR ...",
            Exit.USAGE,
        ) from None
    home = transport.namespace
    try:
        with explained(transport.where):
            yield Session(
                store=KubernetesStore(transport, manager="rollouts"),
                screen=shown,
                namespace=None if args.all_namespaces else args.namespace or home,
                command=prefix(args),
                home=home,
                polls_s=POLLS_S,
                list_every_s=LIST_EVERY_S,
            )
    finally:
        transport.close()


def local_directory(given: str | None, screen: Screen) -> Path:
    """The folder of documents; raises CommandError where none is named and none is here."""
    folder = folder_of(given, screen)
    if folder is None:
        raise CommandError("no folder is named: use --local DIR", Exit.USAGE)
    return folder


def _database(directory: Path) -> Path:
    """The file of an existing store; raises CommandError where there is none."""
    path = directory / DATABASE
    if not path.exists():
        raise CommandError(
            f"there is no {DATABASE} in {directory}: start a lab ({program()} lab up {directory})"
            f" or write a document ({program()} --local {directory} apply -f FILE)"
        )
    return path
