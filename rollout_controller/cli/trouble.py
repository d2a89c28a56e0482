"""What a cluster refuses, in one sentence for the person who typed the command: what, as seen from where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rollout_controller.cli.exits import CommandError
from rollout_controller.cluster.store import Forbidden, NotInstalled, Refused, StoreError, Unauthorized, Unavailable

CHART = "helm install rollout-controller (its chart brings them), or kubectl apply -f helm/rollout-controller/crds"


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what the store raises into a CommandError; `where` names the context and its file."""
    try:
        yield
    except (Unauthorized, Forbidden, NotInstalled, Unavailable) as error:
        raise CommandError(sentence(error, where)) from error


def sentence(error: StoreError, where: str) -> str:
    """By the class of the error, never by its text."""
    match error:
        case Unauthorized():
            return f"the API server does not accept the credentials of {where}: they are wrong or have expired; log in again"
        case Forbidden():
            in_ = f"-n {error.namespace}" if error.namespace else "-A"
            return (
                f"you may not {error.verb} {error.resource}"
                + (f" in namespace {error.namespace}" if error.namespace else " in all namespaces")
                + f" ({where}; see kubectl auth can-i {error.verb} {error.resource} {in_})"
            )
        case NotInstalled():
            return f"the CRDs are not installed: {where} has no {error.kind.plural} of {error.kind.api_version}: {CHART}"
        case Refused():
            return str(error)
    return f"{error} ({where})"
