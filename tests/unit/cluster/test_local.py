"""What is special about documents in one SQLite file: other processes, broken files, full disks, and the route file beside it."""

from __future__ import annotations

import errno
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from rollout_controller.api.names import Key
from rollout_controller.cluster import local_watch
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.local_watch import Bell
from rollout_controller.cluster.rds import RdsProjection
from rollout_controller.cluster.store import POLICY, VIRTUAL_SERVICE, Expired, Kind, NotFound, Refused, Unavailable
from tests.contract.documents import policy, virtual_service
from tests.support.routes import increment, set_weights

KEY = Key("vision", "triton")
ROOT = Path(__file__).parents[3]

Open = Callable[..., LocalStore]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """Opens stores on one file and closes them."""
    stores: list[LocalStore] = []

    def open_store(**options: Any) -> LocalStore:
        stores.append(LocalStore(tmp_path / "store.db", **options))
        return stores[-1]

    yield open_store
    for store in stores:
        store.close()


@pytest.fixture
def rds(tmp_path: Path) -> RdsProjection:
    return RdsProjection(tmp_path / "envoy" / "rds.yaml", name="local")


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs `code` with `arguments` as sys.argv[1:]."""
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def say(process: subprocess.Popen[str]) -> str:
    """The process's next line."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def finish(process: subprocess.Popen[str]) -> str:
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return out


def file_weights(rds: RdsProjection) -> dict[str, int]:
    """Weight by cluster in the route file."""
    action = json.loads(rds.path.read_text())["resources"][0]["virtual_hosts"][0]["routes"][0]["route"]
    if "cluster" in action:
        return {action["cluster"]: 100}
    return {cluster["name"]: cluster["weight"] for cluster in action["weighted_clusters"]["clusters"]}


def store_weights(store: LocalStore) -> dict[str, int]:
    """Weight by host in the store, without the zeros."""
    route = store.get(VIRTUAL_SERVICE, KEY)["spec"]["http"][0]["route"]
    return {entry["destination"]["host"]: entry["weight"] for entry in route if entry["weight"]}


# other processes

INCREMENT = """
import sys
import threading
from rollout_controller.api.names import Key
from rollout_controller.cluster import local_watch
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.local_watch import Bell
from tests.support.routes import increment, set_weights
store = LocalStore(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
increment(store, Key("vision", "triton"), 50)
store.close()
"""


def test_no_increment_is_lost_between_processes(opened: Open) -> None:
    store = opened()
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    others = [python(INCREMENT, store.path) for _ in range(2)]
    assert [say(other) for other in others] == ["ready", "ready"]
    for other in others:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
    increment(store, KEY, 50)
    for other in others:
        finish(other)
    assert store.get(VIRTUAL_SERVICE, KEY)["metadata"]["annotations"]["example.com/n"] == "150"


LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
connection.close()
"""


def test_a_database_that_another_process_locks_is_unavailable_for_a_bounded_time(opened: Open) -> None:
    store = opened(busy_timeout_s=0.3)
    made = store.create(POLICY, policy("vision"))
    other = python(LOCK, store.path)
    assert say(other) == "locked"
    with pytest.raises(Unavailable, match=r"store\.db is locked by another process"):
        store.delete(POLICY, Key("vision", "balanced"))
    assert store.get(POLICY, Key("vision", "balanced")) == made
    other.communicate("\n", timeout=10)
    store.delete(POLICY, Key("vision", "balanced"))


def test_a_writer_waits_for_another_that_is_soon_done(opened: Open) -> None:
    store = opened(busy_timeout_s=5)
    other = python(LOCK, store.path)
    assert say(other) == "locked"
    assert other.stdin is not None
    other.stdin.write("\n")
    other.stdin.flush()
    store.create(POLICY, policy("vision"))
    finish(other)


# broken files


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("to do: buy milk\n" * 300)
    with pytest.raises(Refused, match=r"notes\.txt is not a database"):
        LocalStore(path)
    assert path.read_text().startswith("to do")


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "bookmarks.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE places (url TEXT)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(Refused, match=r"bookmarks\.db is another program's database"):
        LocalStore(path)
    assert path.read_bytes() == before


def test_a_file_of_a_newer_version_is_refused(opened: Open) -> None:
    path = opened().path
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Refused, match="written by a newer version"):
        opened()


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store.db")
    for index in range(200):
        store.create(POLICY, policy("vision", f"p{index}"))
    store.close()
    content = bytearray(store.path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    store.path.write_bytes(content)
    with pytest.raises(Refused, match=r"store\.db is damaged"):
        LocalStore(store.path).list(POLICY)


def test_a_directory_that_cannot_be_made_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="file cannot be made"):
        LocalStore(tmp_path / "file" / "store.db")


def test_a_file_that_was_removed_is_unavailable_and_a_new_one_is_a_new_store(opened: Open) -> None:
    store = opened()
    store.create(POLICY, policy("vision"))
    since = store.list(POLICY).resource_version
    for path in store.path.parent.glob("store.db*"):
        path.unlink()
    with pytest.raises(Unavailable, match=r"store\.db cannot be opened: No such file"):
        store.get(POLICY, Key("vision", "balanced"))
    time.sleep(0.01)
    opened()
    assert store.list(POLICY).items == ()
    with pytest.raises(Expired):
        next(store.watch(POLICY, None, since, 1))


def test_a_closed_store_is_unavailable(opened: Open) -> None:
    store = opened()
    store.close()
    with pytest.raises(Unavailable, match="was closed"):
        store.list(POLICY)


# watching


def test_the_log_of_changes_keeps_its_bounds(opened: Open) -> None:
    store = opened(log_rows=1000, log_bytes=300_000)
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    path = "/metadata/annotations/example.com~1n"
    for index in range(60):
        store.patch(VIRTUAL_SERVICE, KEY, [{"op": "replace", "path": path, "value": f"{index}" + "x" * 20_000}])
    connection = sqlite3.connect(store.path)
    ((count, size),) = connection.execute("SELECT count(*), sum(size) FROM changes").fetchall()
    ((version, floor, claimed),) = connection.execute("SELECT version, floor, log_bytes FROM head").fetchall()
    connection.close()
    assert size == claimed <= 300_000
    assert count == version - floor == 14


def test_a_quiet_watch_gives_a_sign_of_life(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_watch, "BOOKMARK_S", 0.2)
    store = opened()
    event = next(store.watch(POLICY, None, store.list(POLICY).resource_version, 60))
    assert event.type == "BOOKMARK"


def test_a_watch_is_ended_from_another_thread(opened: Open) -> None:
    store = opened()
    watch = store.watch(POLICY, None, store.list(POLICY).resource_version, 60)
    watch.close()
    assert list(watch) == []


@pytest.mark.parametrize("since", ["", "now", "-1", "\u0661"])
def test_a_watch_from_no_resource_version_is_refused(opened: Open, since: str) -> None:
    with pytest.raises(Refused, match="no resourceVersion"):
        next(opened().watch(POLICY, None, since, 1))


# the route file


def test_a_write_is_in_the_route_file_when_it_returns(opened: Open, rds: RdsProjection) -> None:
    store = opened(projections=[rds])
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    assert file_weights(rds) == {"triton-blue": 100}
    set_weights(store, 75, 25)
    assert file_weights(rds) == {"triton-blue": 75, "triton-green": 25}
    store.create(POLICY, policy("vision"))
    store.delete(VIRTUAL_SERVICE, KEY)
    assert file_weights(rds) == {"triton-blue": 75, "triton-green": 25}, "a deleted document moves no traffic"


def test_sync_mends_the_route_file(opened: Open, rds: RdsProjection) -> None:
    store = opened(projections=[rds])
    store.sync()
    assert not rds.path.exists()
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    rds.path.write_text("half written")
    store.sync()
    assert file_weights(rds) == {"triton-blue": 100}


def test_what_envoy_cannot_do_is_not_stored(opened: Open, rds: RdsProjection) -> None:
    store = opened(projections=[rds])
    made = store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    with pytest.raises(Refused, match=r"spec\.http\[0\]\.mirror: cannot be translated"):
        store.patch(VIRTUAL_SERVICE, KEY, [{"op": "add", "path": "/spec/http/0/mirror", "value": {"host": "x"}}])
    assert store.get(VIRTUAL_SERVICE, KEY) == made
    with pytest.raises(Refused, match=r"'triton\.example\.com' is in VirtualService vision/other, too"):
        store.create(VIRTUAL_SERVICE, virtual_service("vision", "other"))
    with pytest.raises(NotFound):
        store.get(VIRTUAL_SERVICE, Key("vision", "other"))


def test_a_store_opened_without_its_route_file_does_not_move_traffic(opened: Open, rds: RdsProjection) -> None:
    opened(projections=[rds]).create(VIRTUAL_SERVICE, virtual_service("vision"))
    unaware = opened()
    with pytest.raises(Refused, match="this process does not know it"):
        set_weights(unaware, 0, 100)
    unaware.create(POLICY, policy("vision"))
    assert file_weights(rds) == {"triton-blue": 100}


def test_a_commit_that_fails_takes_the_route_file_back(opened: Open, rds: RdsProjection) -> None:
    class Breaks:
        """Fails after the route file was written."""

        armed = False
        kind: Kind = VIRTUAL_SERVICE

        def __call__(self, texts: Sequence[str]) -> None:
            if self.armed:
                self.armed = False
                assert file_weights(rds) == {"triton-green": 100}
                raise OSError(errno.EIO, "Input/output error", "/somewhere/else")

    breaks = Breaks()
    store = opened(projections=[rds, breaks])
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    breaks.armed = True
    with pytest.raises(Unavailable, match="/somewhere/else cannot be written: Input/output error"):
        set_weights(store, 0, 100)
    assert file_weights(rds) == {"triton-blue": 100} == store_weights(store)


FULL = """
import resource, signal, sys
from rollout_controller.cluster import local_watch
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.local_watch import Bell
from rollout_controller.cluster.rds import RdsProjection
from rollout_controller.cluster.store import POLICY, Unavailable
from tests.contract.documents import policy
from tests.support.routes import set_weights
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = LocalStore(sys.argv[1], projections=[RdsProjection(sys.argv[2], name="local")])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    for index in range(5000):
        store.create(POLICY, policy("vision", f"p{index}")) if sys.argv[4] == "store" else set_weights(store, 0, 100)
except Unavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
set_weights(store, 50, 50)
store.close()
"""


def test_a_full_disk_for_the_route_file_leaves_both_as_they_were(opened: Open, tmp_path: Path) -> None:
    small = RdsProjection(tmp_path / "small" / "rds.yaml", name="local")
    store = opened(projections=[small])
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    before = small.path.read_bytes()
    code = FULL.replace("set_weights(store, 50, 50)", "")  # the disk stays full
    said = finish(python(code, store.path, small.path, 200, "route"))
    assert said.strip() == f"{small.path} cannot be written: File too large"
    assert small.path.read_bytes() == before
    assert store_weights(store) == {"triton-blue": 100} == file_weights(small)
    set_weights(store, 0, 100)
    assert store_weights(store) == {"triton-green": 100} == file_weights(small)


def test_a_full_disk_for_the_store_is_unavailable_and_passes(opened: Open, rds: RdsProjection) -> None:
    store = opened(projections=[rds])
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    said = finish(python(FULL, store.path, rds.path, 400_000, "store"))
    assert "store.db cannot" in said
    assert store_weights(store) == {"triton-blue": 50, "triton-green": 50} == file_weights(rds)


WRITE = """
import itertools, sys
from rollout_controller.cluster import local_watch
from rollout_controller.cluster.local import LocalStore
from rollout_controller.cluster.local_watch import Bell
from rollout_controller.cluster.rds import RdsProjection
from tests.support.routes import set_weights
store = LocalStore(sys.argv[1], projections=[RdsProjection(sys.argv[2], name="local")])
print("ready", flush=True)
for blue in itertools.cycle(range(1, 100)):
    set_weights(store, blue, 100 - blue)
    print(blue, flush=True)
"""


@pytest.mark.long
def test_a_writer_killed_anywhere_leaves_a_store_that_reads_and_a_route_file_that_matches(
    opened: Open, rds: RdsProjection
) -> None:
    store = opened(projections=[rds])
    store.create(VIRTUAL_SERVICE, virtual_service("vision"))
    for round_ in range(5):
        writer = python(WRITE, store.path, rds.path)
        assert say(writer) == "ready"
        for _ in range(3 + round_):
            said = say(writer)
        time.sleep(0.0007 * round_)
        writer.send_signal(signal.SIGKILL)
        assert writer.stdout is not None
        with writer:
            said = [said, *writer.stdout.read().split()][-1]  # communicate would pass by what readline has read ahead
        weights = store_weights(store)
        assert weights["triton-blue"] in (int(said), int(said) % 99 + 1), "what was acknowledged is there"
        assert file_weights(rds)["triton-blue"] in (weights["triton-blue"], weights["triton-blue"] % 99 + 1)
        store.sync()
        assert file_weights(rds) == weights
        set_weights(store, 100, 0)
        assert file_weights(rds) == {"triton-blue": 100}


def test_when_the_one_who_looks_cannot_another_one_does() -> None:
    """One of the threads that watch looks at the file for all: after an error of its own the others slept on, up to 5 s."""
    looks = 0

    def look() -> int:
        nonlocal looks
        looks += 1
        if looks == 5:
            raise Unavailable("too many open files")
        return 7 if looks > 5 else 0

    bell, closed, ends = Bell(look), threading.Event(), time.monotonic() + 300
    woken: list[str] = []

    def wait(name: str) -> None:
        with suppress(Unavailable):
            bell.wait(POLICY, 0, ends, closed)
            woken.append(name)

    threads = [threading.Thread(target=wait, args=(name,), daemon=True) for name in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(woken) == 2
