"""Servers end with everything they started, die with their parent when asked to, and say why they did not start."""

from __future__ import annotations

import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rollout_controller.lab import procfs, tether
from rollout_controller.lab.info import Record
from rollout_controller.lab.ports import free_ports
from rollout_controller.lab.processes import Running, Server, ServerFailed, start, stop, stop_all, wait_ready

pytestmark = pytest.mark.lab

SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"


def python(code: str, tmp_path: Path, **options: object) -> Server:
    return Server(name="thing", argv=[sys.executable, "-c", code], log=tmp_path / "log", **options)  # type: ignore[arg-type]


def wait_for(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        time.sleep(0.02)


Run = Callable[..., Running]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def run(mark: Path) -> Iterator[Run]:
    """Starts a server that the test need not end."""
    started: list[Running] = []

    def start_it(server: Server, *, tethered: bool = False) -> Running:
        started.append(start(server, mark, tethered=tethered))
        return started[-1]

    yield start_it
    stop_all(mark, {}, started)


def test_stop_kills_grandchildren_that_ignore_sigterm(run: Run, mark: Path) -> None:
    parent = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); time.sleep(60)"
    running = run(python(parent, mark, grace_s=0.5))
    wait_for(lambda: len(procfs.marked(str(mark))) == 2)
    assert stop([running], mark) == ()
    assert procfs.marked(str(mark)) == ()


def test_stop_all_finds_what_left_its_group_and_lost_its_parent(run: Run, mark: Path) -> None:
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True)"
    running = run(python(parent, mark))
    running.handle.wait(timeout=30)
    wait_for(lambda: len(procfs.marked(str(mark))) == 1)
    assert stop_all(mark, {}, [running]) == ()
    assert procfs.marked(str(mark)) == ()


def test_a_server_may_take_its_grace_to_save_its_work(run: Run, mark: Path) -> None:
    saves = (
        "import pathlib, signal, sys, time\n"
        f"def save(*_): time.sleep(0.5); pathlib.Path({str(mark / 'saved')!r}).touch(); sys.exit()\n"
        f"signal.signal(signal.SIGTERM, save); pathlib.Path({str(mark / 'ready')!r}).touch(); time.sleep(60)"
    )
    running = run(python(saves, mark, grace_s=5.0))
    wait_for((mark / "ready").exists)
    stop([running], mark)
    assert (mark / "saved").exists()
    assert running.handle.returncode == 0


@pytest.mark.parametrize("tethered", [True, False])
def test_only_a_tethered_server_dies_with_a_parent_that_is_killed(mark: Path, tethered: bool) -> None:
    code = (
        "import time; from pathlib import Path; from rollout_controller.lab.processes import Server, start\n"
        f"mark = Path({str(mark)!r})\n"
        f"start(Server(name='x', argv=[{sys.executable!r}, '-c', {SLEEP!r}], log=mark / 'log'), mark, tethered={tethered})\n"
        "time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    wait_for(lambda: any(p.name.startswith("python") and p.pid == p.group for p in procfs.marked(str(mark))))
    time.sleep(0.3)
    parent.kill()
    parent.wait(timeout=30)
    if tethered:
        wait_for(lambda: not procfs.marked(str(mark)))
    else:
        time.sleep(0.5)
        assert procfs.marked(str(mark))


def test_a_tether_whose_parent_is_gone_already_starts_nothing(tmp_path: Path) -> None:
    touch = ["touch", str(tmp_path / "started")]
    done = subprocess.run(
        [sys.executable, "-I", "-S", tether.__file__, "1", *touch], capture_output=True, text=True, timeout=10, check=False
    )
    assert "was not started" in done.stderr
    assert not (tmp_path / "started").exists()


def test_a_server_that_ends_at_once_is_quoted(run: Run, mark: Path) -> None:
    running = run(python("raise SystemExit('cannot read model.yaml')", mark, ready="http://127.0.0.1:1/"), tethered=True)
    with pytest.raises(ServerFailed, match=r"thing ended at once \(exit status 1\)(.|\n)*cannot read model.yaml"):
        wait_ready([running], 5.0)


def test_a_server_that_never_is_ready_is_quoted(run: Run, mark: Path) -> None:
    code = f"print('waiting for the disk', flush=True); {SLEEP}"
    running = run(python(code, mark, ready=f"http://127.0.0.1:{free_ports(1)[0]}/", grace_s=0), tethered=True)
    wait_for(lambda: "waiting" in running.server.log.read_text())
    with pytest.raises(ServerFailed, match=r"was not ready after 0.5 s(.|\n)*waiting for the disk"):
        wait_ready([running], 0.5)


def test_a_stranger_on_the_port_does_not_make_a_server_ready(run: Run, mark: Path) -> None:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        running = run(python(SLEEP, mark, ready=f"http://127.0.0.1:{stranger.server_port}/", grace_s=0), tethered=True)
        with pytest.raises(ServerFailed, match="was not ready"):
            wait_ready([running], 0.7)
        stranger.shutdown()


def test_a_reused_pid_is_a_stranger() -> None:
    me = procfs.look(os.getpid())
    assert me is not None
    known = Record(name="x", pid=me.pid, started=me.started, grace_s=0, log="")
    other = Record(name="x", pid=me.pid, started=me.started - 1, grace_s=0, log="")
    assert (known.alive, other.alive) == (True, False)


def test_a_zombie_does_not_live(run: Run, mark: Path) -> None:
    running: Running = run(python("pass", mark))
    wait_for(lambda: procfs.look(running.pid) is None)
    running.handle.wait(timeout=30)


def test_stopping_twice_is_nothing(run: Run, mark: Path) -> None:
    running = run(python(SLEEP, mark))
    assert stop([running], mark) == ()
    assert stop([running], mark) == ()
    assert running.handle.returncode == -signal.SIGTERM
