"""What is built from Go modules: the servers' names, modules, flags, and the files taken along. `golang.py` builds them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCES = Path(__file__).parent / "build"
PROMETHEUS_MODULE = "github.com/prometheus/prometheus"


class NoVersion(RuntimeError):
    """A go.mod of ours does not name a version of its module."""


@dataclass(frozen=True)
class Build:
    """Servers from one module. Its directory in `build/` holds go.mod and go.sum: what is built, to the last dependency.

    `binaries`: name -> main package; several come from one call of Go, under the names that Go gives them.
    `files`: name -> path in the module, kept beside the binaries. `tags`, `stamp`: build tags, and the variable that takes the
    version. `packages`: how many there are to compile, for the progress lines (`go list -deps`). `minutes`: about how long that
    takes on 2 cores with nothing cached. `after`: a build whose packages it shares (the two go.mod name the same versions),
    with the minutes and packages that are left then.
    """

    name: str
    says: str
    module: str
    minutes: float
    binaries: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    packages: int = 0
    tags: str = ""
    stamp: str = ""
    after: str = ""
    minutes_after: float = 0.0
    packages_after: int = 0

    @property
    def source(self) -> Path:
        return SOURCES / self.name

    @property
    def version(self) -> str:
        """The module's version without its v; Prometheus numbers its module differently: v0.313.5 is 3.13.5."""
        found = re.search(
            rf"^(?:require|\t)\s*{re.escape(self.module)} v([^\s/]+)(?: // indirect)?$",
            (self.source / "go.mod").read_text(),
            re.MULTILINE,
        )
        if found is None:
            raise NoVersion(f"{self.source / 'go.mod'} does not name a version of {self.module}")
        own = re.fullmatch(r"0\.(\d+)(\d\d)\.(\d+)", found[1]) if self.module == PROMETHEUS_MODULE else None
        return f"{int(own[1])}.{int(own[2])}.{int(own[3])}" if own else found[1]

    def cost(self, made: Collection[str]) -> tuple[float, int]:
        """Minutes and packages, where builds of these names have been made with the same caches."""
        return (self.minutes_after, self.packages_after) if self.after in made else (self.minutes, self.packages)

    @property
    def outputs(self) -> tuple[str, ...]:
        return (*self.binaries, *self.files)

    @property
    def key(self) -> str:
        """What the cached parts depend on: the modules, the flags and the files taken along."""
        digest = hashlib.sha256()
        for name in ("go.mod", "go.sum"):
            digest.update((self.source / name).read_bytes())
        digest.update("\0".join(self.command(Path("go"), Path("made"), "")).encode())
        digest.update("\0".join(f"{name}={path}" for name, path in self.files.items()).encode())
        return digest.hexdigest()[:12]

    def command(self, go: Path, made: Path, version: str) -> list[str]:
        """Go's command line. `made`: a file for one binary, a directory for several."""
        stamp = f"-s -w -X {self.stamp}={version}" if self.stamp else "-s -w"
        tags = ["-tags", self.tags] if self.tags else []
        flags = ["-v", *tags, "-trimpath", "-gcflags=all=-dwarf=false", f"-ldflags={stamp}", "-o", str(made)]
        return [str(go), "build", *flags, *self.binaries.values()]


PROMETHEUS = Build(
    name="prometheus",
    says="Prometheus",
    module=PROMETHEUS_MODULE,
    minutes=3,
    binaries={"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
    packages=1023,
    tags="remove_all_sd",  # without discovery for clouds (files and static targets remain): a third of the packages
    stamp="github.com/prometheus/common/version.Version",
)
PROMTOOL = Build(
    name="promtool",
    says="promtool",
    module=PROMETHEUS_MODULE,
    minutes=6,
    binaries={"promtool": "github.com/prometheus/prometheus/cmd/promtool"},
    packages=1097,
    tags="remove_all_sd",
    stamp="github.com/prometheus/common/version.Version",
)
ALERTMANAGER = Build(
    name="alertmanager",
    says="Alertmanager",
    module="github.com/prometheus/alertmanager",
    minutes=2,
    binaries={"alertmanager": "github.com/prometheus/alertmanager/cmd/alertmanager"},
    packages=704,
    stamp="github.com/prometheus/common/version.Version",
    after="prometheus",
    minutes_after=0.5,
    packages_after=109,
)
ETCD = Build(
    name="etcd",
    says="etcd",
    module="go.etcd.io/etcd/server/v3",
    minutes=1.5,
    binaries={"etcd": "go.etcd.io/etcd/server/v3"},
    packages=565,
)
KUBERNETES = Build(
    name="kubernetes",
    says="kube-apiserver, kube-controller-manager and kube-scheduler",
    module="k8s.io/kubernetes",
    minutes=7,
    binaries={name: f"k8s.io/kubernetes/cmd/{name}" for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler")},
    packages=2423,
    stamp="k8s.io/component-base/version.gitVersion",
)
KUBECTL = Build(
    name="kubectl",
    says="kubectl",
    module="k8s.io/kubernetes",
    minutes=3,
    binaries={"kubectl": "k8s.io/kubernetes/cmd/kubectl"},
    packages=895,
    stamp="k8s.io/component-base/version.gitVersion",
    after="kubernetes",
    minutes_after=1,
    packages_after=195,
)
KWOK = Build(
    name="kwok",
    says="kwok",
    module="sigs.k8s.io/kwok",
    minutes=2,
    binaries={"kwok": "sigs.k8s.io/kwok/cmd/kwok"},
    files={
        name: f"kustomize/stage/{path}"
        for name, path in {
            "node-initialize.yaml": "node/fast/node-initialize.yaml",
            "node-heartbeat.yaml": "node/heartbeat/node-heartbeat.yaml",
            "pod-ready.yaml": "pod/fast/pod-ready.yaml",
            "pod-complete.yaml": "pod/fast/pod-complete.yaml",
            "pod-delete.yaml": "pod/fast/pod-delete.yaml",
        }.items()
    },
    packages=974,
)
ISTIO_CRDS = Build(
    name="istio-crds",
    says="Istio's CRDs",
    module="istio.io/api",
    minutes=0.1,
    files={"istio-crds.yaml": "kubernetes/customresourcedefinitions.gen.yaml"},
)
OPERATOR_CRDS = Build(
    name="operator-crds",
    says="the Prometheus operator's CRDs",
    module="github.com/prometheus-operator/prometheus-operator",
    minutes=0.1,
    files={
        f"{plural}.yaml": f"example/prometheus-operator-crd/monitoring.coreos.com_{plural}.yaml"
        for plural in ("servicemonitors", "prometheusrules")
    },
)
ISTIOD = Build(
    name="istiod",
    says="istiod",
    module="istio.io/istio",
    minutes=5,
    binaries={"pilot-discovery": "istio.io/istio/pilot/cmd/pilot-discovery"},
    packages=1767,
    tags="disable_pgv",  # without the checks that Envoy's messages carry along, as Istio's own builds
)
