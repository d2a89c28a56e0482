"""What a cluster refuses, in one sentence for the person who typed the command: what, as seen from where, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rollout_controller.cli.exits import CommandError
from rollout_controller.cluster.store import Forbidden, NotInstalled, StoreError, Unauthorized, Unavailable, Untrusted

CHART = "kubectl apply --server-side -f helm/rollout-controller/crds, or install the chart, which brings them"


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
            space = f"namespace {error.namespace}" if error.namespace else "all namespaces"
            can_i = f"kubectl auth can-i {error.verb} {error.resource} {f'-n {error.namespace}' if error.namespace else '-A'}"
            said = f": {error.said}" if error.said else ""
            return f"you may not {error.verb} {error.resource} in {space} ({where}){said}\nTo see what you may: {can_i}"
        case NotInstalled():
            kind = f"{error.kind.plural} ({error.kind.api_version})"
            return f"the CRDs are not installed: {where} knows no {kind}\nTo install them: {CHART}"
        case Untrusted():
            return f"{error} ({where}: its certificate-authority or tls-server-name)"
    return f"{error} ({where})"
