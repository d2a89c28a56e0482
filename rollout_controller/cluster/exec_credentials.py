"""Credential plugins of a kubeconfig (`exec`): one run, its answer read. lightkube speaks older versions of this protocol only.

Protocol: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube.config.models import UserExec

from rollout_controller.cluster.store import Refused

VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
PLUGIN_S = 20.0
"""A plugin has this long when it cannot ask anybody anything."""
PERSON_S = 300.0
"""And this long when it can: it may send a person to a browser."""
CLUSTER_FIELDS = (
    "server",
    "tls-server-name",
    "insecure-skip-tls-verify",
    "certificate-authority-data",
    "proxy-url",
    "disable-compression",
)
"""What a plugin that asks for it (`provideClusterInfo`) is told about the cluster."""


@dataclass(frozen=True, repr=False)
class Credentials:
    """A bearer token, or a client certificate with its key as PEM; empty where there is none."""

    token: str = ""
    certificate: str = ""
    key: str = ""


def run(plugin: UserExec, raw: Mapping[str, Any], cluster: Mapping[str, Any], *, folder: Path, user: str) -> Credentials:
    """Run the plugin; `raw` is its entry as written, `folder` the kubeconfig's, `user` names it in sentences.

    Raises:
        Refused: the plugin is not there, failed, took too long, or gave no credentials.
    """
    if plugin.apiVersion not in VERSIONS:
        raise Refused(f"{user}: exec.apiVersion: {plugin.apiVersion!r} was read; allowed are {', '.join(VERSIONS)}")
    person = raw.get("interactiveMode", "IfAvailable") != "Never" and sys.stdin is not None and sys.stdin.isatty()
    command = plugin.command
    if os.sep in command:
        command = str(folder / command)
    asked: dict[str, Any] = {"interactive": person}
    if raw.get("provideClusterInfo"):
        asked["cluster"] = _told(cluster)
    info = {"apiVersion": plugin.apiVersion, "kind": "ExecCredential", "spec": asked}
    environment = {
        **os.environ,
        **{variable.name: variable.value for variable in plugin.env or ()},
        "KUBERNETES_EXEC_INFO": json.dumps(info),
    }
    try:
        done = subprocess.run(  # noqa: S603 - the kubeconfig's owner asks for it
            [command, *(plugin.args or ())],
            env=environment,
            stdin=None if person else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if person else subprocess.PIPE,
            timeout=PERSON_S if person else PLUGIN_S,
            check=False,
        )
    except FileNotFoundError:
        hint = f": {' '.join(plugin.installHint.split())}" if plugin.installHint else ""
        raise Refused(f"{user}: there is no credential plugin {plugin.command!r} on this machine{hint}") from None
    except subprocess.TimeoutExpired as error:
        raise Refused(f"{user}: the credential plugin {plugin.command!r} did not end within {error.timeout:g} s") from None
    except OSError as error:
        raise Refused(f"{user}: the credential plugin {plugin.command!r} cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join((done.stderr or b"").decode(errors="replace").split())[-400:]
        raise Refused(f"{user}: the credential plugin {plugin.command!r} exited {done.returncode}{said and f': {said}'}")
    return _read(done.stdout, plugin, user)


def _told(cluster: Mapping[str, Any]) -> dict[str, Any]:
    told = {name: cluster[name] for name in CLUSTER_FIELDS if name in cluster}
    for extension in cluster.get("extensions") or ():
        if extension.get("name") == "client.authentication.k8s.io/exec":
            told["config"] = extension.get("extension")
    return told


def _read(output: bytes, plugin: UserExec, user: str) -> Credentials:
    """The ExecCredential that was printed; nothing of it is repeated in an error, it is a secret."""
    try:
        answer = json.loads(output)
        version, status = answer["apiVersion"], answer["status"]
        credentials = Credentials(
            token=status.get("token") or "",
            certificate=status.get("clientCertificateData") or "",
            key=status.get("clientKeyData") or "",
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Refused(f"{user}: the credential plugin {plugin.command!r} printed no ExecCredential") from None
    if version != plugin.apiVersion:
        raise Refused(f"{user}: the credential plugin {plugin.command!r} speaks {version}, {plugin.apiVersion} was asked for")
    if not credentials.token and not (credentials.certificate and credentials.key):
        raise Refused(f"{user}: the credential plugin {plugin.command!r} gave neither a token nor a certificate with its key")
    return credentials
