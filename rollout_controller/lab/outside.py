"""Servers that the machine has already, on PATH or where a variable says, of versions that will do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from rollout_controller.lab.builds import KUBERNETES

Say = Callable[[str], None]

PROMETHEUS_OLDEST = (2, 42)
ALERTMANAGER_OLDEST = (0, 25)
ETCD_OLDEST = (3, 5)
"""Older ones do not tell a watch how far it is (RequestWatchProgress): watches end again and again."""
KUBERNETES_OLDEST = (1, 30)
UNSAID = (0, 0)


class MissingPart(RuntimeError):
    """A server that is not here; carries the command that installs it."""

    def __init__(self, name: str, how_to_install: str, why: str = "it is not installed") -> None:
        self.name = name
        self.how_to_install = how_to_install
        super().__init__(f"{name}: {why}. To have it: {how_to_install}")


def promtool() -> Path | None:
    """One that the machine has already."""
    return _on_path("promtool", PROMETHEUS_OLDEST)


def alertmanager() -> Path | None:
    """One that the machine has already. Debian calls it prometheus-alertmanager."""
    return _on_path("alertmanager", ALERTMANAGER_OLDEST) or _on_path("prometheus-alertmanager", ALERTMANAGER_OLDEST)


def _on_path(name: str, oldest: tuple[int, int]) -> Path | None:
    found = shutil.which(name)
    version = _version(Path(found), r"^[a-z]+, version (?:(\d+)\.(\d+))?") if found else None
    return Path(found) if found and version is not None and version >= oldest else None


def prometheus(say: Say) -> Path | None:
    """A Prometheus that the machine has already. Raises MissingPart where the named one is none or too old."""
    if named := os.environ.get("ROLLOUTS_PROMETHEUS"):
        return _named_prometheus(Path(named))
    found = shutil.which("prometheus")
    version = _prometheus_version(Path(found)) if found else None
    if found and (version is None or version < PROMETHEUS_OLDEST):
        say(f"prometheus on PATH ({found}) is older than 2.42 or does not say its version: not used")
        return None
    return Path(found) if found else None


def etcd(say: Say) -> Path | None:
    """An etcd that the machine has already, in KUBEBUILDER_ASSETS or on PATH, of a version that will do."""
    found = _asset("etcd")
    version = _version(found, r"^etcd Version: (\d+)\.(\d+)") if found else None
    if found and (version is None or version < ETCD_OLDEST):
        say(f"etcd in {found.parent} is older than {_dotted(ETCD_OLDEST)} or does not say its version: not used")
        return None
    return found


def kubernetes(say: Say) -> dict[str, Path] | None:
    """The three servers of Kubernetes that the machine has already, all of one version that will do."""
    found = {name: _asset(name) for name in KUBERNETES.binaries}
    here = {name: path for name, path in found.items() if path}
    if not here:
        return None
    versions = {_version(path, r"^Kubernetes v(\d+)\.(\d+)") for path in here.values()}
    if len(here) == len(found) and len(versions) == 1 and (versions.pop() or UNSAID) >= KUBERNETES_OLDEST:
        return here
    say(
        f"{', '.join(map(str, here.values()))}: not used,"
        f" as {KUBERNETES.says} of one version >= {_dotted(KUBERNETES_OLDEST)} are needed"
    )
    return None


def kubectl() -> Path | None:
    """One that the machine has already, in KUBEBUILDER_ASSETS or on PATH, of a version that will do."""
    found = _asset("kubectl")
    version = _version(found, r"^Client Version: v(\d+)\.(\d+)", "version", "--client") if found else None
    return found if version is not None and version >= KUBERNETES_OLDEST else None


def _asset(name: str) -> Path | None:
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        path = Path(assets) / name
        if os.access(path, os.X_OK):
            return path
    found = shutil.which(name)
    return Path(found) if found else None


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _named_prometheus(binary: Path) -> Path:
    """Trusted where it does not say its version (a plain `go build` says none); refused where it does not run or is too old."""
    version = _prometheus_version(binary)
    if version is None or UNSAID < version < PROMETHEUS_OLDEST:
        raise MissingPart("Prometheus", "set ROLLOUTS_PROMETHEUS to a prometheus >= 2.42, or unset it", f"{binary} is not one")
    return binary


def _prometheus_version(binary: Path) -> tuple[int, int] | None:
    """None: it does not run, or is another program."""
    return _version(binary, r"^prometheus, version (?:(\d+)\.(\d+))?")


def _version(binary: Path, pattern: str, *words: str) -> tuple[int, int] | None:
    """What it says of its version, asked with these words (`--version`).

    UNSAID where only the numbers are missing, None where it is another program.
    """
    try:
        done = subprocess.run([binary, *(words or ("--version",))], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, done.stdout + done.stderr, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found and found[1] else UNSAID if found else None


def silent(_line: str) -> None:
    """The finders say what they do not use; once is enough."""
