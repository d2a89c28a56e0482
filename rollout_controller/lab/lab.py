"""A lab: Envoy, two Triton slots, Prometheus and a GPU exporter in one directory, started and ended as one."""

from __future__ import annotations

import contextlib
import fcntl
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Literal
from urllib.parse import urlsplit

from rollout_controller.lab import (
    alertmanager,
    envoy,
    gpu_exporter,
    info,
    load,
    parts,
    ports,
    processes,
    procfs,
    prometheus,
    receiver,
    tritons,
)
from rollout_controller.lab.info import Info, Record
from rollout_controller.lab.processes import Running, Server

SLOTS = ("triton-blue", "triton-green")
READY_TIMEOUT_S = 60.0
NAMESPACE = prometheus.NAMESPACE

Say = Callable[[str], None]


class LabFailed(RuntimeError):
    """The lab cannot be started as it stands; the text says what to do."""


@dataclass(frozen=True)
class Status:
    """`up`: every server lives. `partly`: some do. `down`: none."""

    state: Literal["up", "partly", "down"]
    info: Info | None
    alive: tuple[str, ...]
    dead: tuple[str, ...]


@dataclass(frozen=True)
class Ended:
    """What `down` did: the processes it ended, and those still there (none, unless a process cannot be killed)."""

    ended: tuple[procfs.Found, ...]
    left: tuple[procfs.Found, ...]


class Lab:
    """One lab in one directory; several in different directories do not touch each other.

    As a context manager it runs in the foreground: its servers die with this process, however that ends. They follow
    the thread that called `up`, so call it from the main thread or from one that lives as long.
    """

    def __init__(
        self, directory: Path, say: Say = lambda _line: None, *, with_receiver: bool = False, with_alerts: bool = False
    ) -> None:
        """`with_receiver`: what would go to Slack goes to a receiver, which writes it down in DIR/messages.jsonl.

        `with_alerts`: Prometheus evaluates the product's alerts, too, and an Alertmanager tells them to the same receiver.
        """
        self.directory = directory.resolve()
        self._say, self._with_receiver, self._with_alerts = say, with_receiver or with_alerts, with_alerts
        self._running: dict[str, Running] = {}
        self._tethered = True

    def up(self, *, detached: bool = False, version: int = 1) -> Info:
        """Start everything and load `version` into the first slot; the second stays empty.

        A lab that is up already is left as it is. Detached: the servers go on after this process.
        Whatever interrupts the start, nothing stays behind. Raises LabFailed, MissingPart, BuildFailed, ServerFailed
        or TritonRefused.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._alone():
            found = self.status()
            if found.state == "up" and found.info:
                self._say(f"the lab in {self.directory} is up already: nothing was changed")
                return found.info
            if found.state == "partly":
                lives, ended = ", ".join(found.alive), ", ".join(found.dead) or "unknown"
                raise LabFailed(
                    f"in {self.directory} runs part of a lab ({lives}; ended: {ended}): end it first with `rollouts lab down`"
                )
            self._tethered = not detached
            try:
                return self._start(version)
            except BaseException:
                with _undisturbed():
                    self.down()
                raise

    def down(self) -> Ended:
        """End every process of this lab, whoever started it, and whatever it was doing."""
        records = self._records()
        before = procfs.marked(str(self.directory))
        graces = {r.pid: r.grace_s for r in records if r.alive} | {r.pid: r.server.grace_s for r in self._running.values()}
        left = processes.stop_all(self.directory, graces, self._running.values())
        self._running = {}
        for slot in SLOTS:
            tritons.remove_shared_memory(self.directory / slot)
        if not left:
            info.forget(self.directory)
        gone = {(p.pid, p.started) for p in before} - {(p.pid, p.started) for p in left}
        return Ended(ended=tuple(p for p in before if (p.pid, p.started) in gone), left=left)

    def status(self) -> Status:
        """Which servers live, by their pid and start time."""
        known = info.read(self.directory)
        records = self._records()
        alive = tuple(r.name for r in records if r.alive)
        dead = tuple(r.name for r in records if not r.alive)
        if records and not dead:
            return Status("up", known, alive, dead)
        strays = () if alive else tuple(p.name for p in procfs.marked(str(self.directory)))
        return Status("partly" if alive or strays else "down", known, alive or strays, dead)

    @property
    def servers(self) -> tuple[Record, ...]:
        """The servers of this lab, as they were last started."""
        return self._records()

    def load(self, *, rps: float, out: Path, seconds: float = 3600.0, seed: int = 1, tethered: bool = True) -> Running:
        """Start the load generator against Envoy; `down` ends it as well."""
        known = info.read(self.directory)
        if known is None:
            raise LabFailed(f"there is no lab in {self.directory}: start one with `rollouts lab up`")
        server = load.load_server(self.directory / "load.log", known.envoy, rps=rps, out=out, seconds=seconds, seed=seed)
        running = processes.start(server, self.directory, tethered=tethered)
        self._running[f"load-{running.pid}"] = running
        return running

    def stop_one(self, name: str) -> None:
        """End one server that this object started, as an outage."""
        left = processes.stop([self._running[name]], self.directory)
        if left:
            raise LabFailed(f"{name} cannot be ended: pids {', '.join(str(p.pid) for p in left)}")

    def start_one(self, name: str) -> None:
        """Start it again where it was. A Triton comes back with nothing loaded."""
        running = processes.start(self._running[name].server, self.directory, tethered=self._tethered)
        self._running[name] = running
        processes.wait_ready([running], READY_TIMEOUT_S)
        known = info.read(self.directory)
        if known:
            info.write(replace(known, servers=tuple(_record(running) if r.name == name else r for r in known.servers)))

    def __enter__(self) -> Info:
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with _undisturbed():
            self.down()

    def _start(self, version: int) -> Info:
        begun = time.monotonic()
        have = parts.find_parts(self._say, with_alertmanager=self._with_alerts)
        tritons.lay_out_models(self.directory / "models")
        planned, servers = self._plan(have)
        if boss := have.alertmanager:
            port, webhook = urlsplit(planned.alertmanager).port or 0, f"{planned.receiver}{receiver.HOOK}"
            servers.append(alertmanager.alertmanager_server(boss, self.directory / "alertmanager", port=port, webhook=webhook))
        for server in servers:
            self._running[server.name] = processes.start(server, self.directory, tethered=self._tethered)
        processes.wait_ready(
            self._running.values(), READY_TIMEOUT_S, lambda r, s: self._say(f"{r.server.name} is ready ({s:.1f} s)")
        )
        loading = time.monotonic()
        tritons.load_version(planned.triton[SLOTS[0]], version)
        self._say(f"{SLOTS[0]} serves version {version} ({time.monotonic() - loading:.1f} s)")
        ready = replace(planned, servers=tuple(_record(r) for r in self._running.values()))
        info.write(ready)
        self._say(f"the lab is up ({time.monotonic() - begun:.1f} s): {ready.envoy}")
        return ready

    def _plan(self, have: parts.Parts) -> tuple[Info, list[Server]]:
        """Addresses for everything, and the servers to start, slowest first."""
        home = self.directory
        front, admin, prom, gpu, controller, told, boss, *rest = ports.free_ports(7 + 2 * len(SLOTS))
        http, metrics = dict(zip(SLOTS, rest[::2], strict=True)), dict(zip(SLOTS, rest[1::2], strict=True))
        url = "http://127.0.0.1:{}".format
        planned = Info(
            directory=home,
            envoy=url(front),
            envoy_admin=url(admin),
            prometheus=url(prom),
            gpu_exporter=url(gpu),
            triton={slot: url(port) for slot, port in http.items()},
            triton_metrics={slot: url(port) for slot, port in metrics.items()},
            controller_port=controller,
            servers=(),
            receiver=url(told) if self._with_receiver else "",
            alertmanager=url(boss) if self._with_alerts else "",
        )
        targets = (
            prometheus.envoy_target(admin),
            prometheus.istio_target(admin),
            *(prometheus.Target("triton", metrics[slot], labels=prometheus.pod_labels(f"{slot}-0", "triton")) for slot in SLOTS),
            prometheus.Target("dcgm", gpu, labels=prometheus.pod_labels("dcgm-exporter-0", "exporter")),
            prometheus.controller_target(controller),
        )
        alerting = prometheus.Alerting(alertmanager.RULES, boss) if self._with_alerts else None
        slots = [
            tritons.triton_server(have.triton, slot, home / slot, home / "models", port=http[slot], metrics_port=metrics[slot])
            for slot in SLOTS
        ]
        return planned, [
            *slots,
            prometheus.prometheus_server(have.prometheus, home / "prometheus", port=prom, targets=targets, alerting=alerting),
            envoy.envoy_server(have.envoy, home / "envoy", port=front, admin_port=admin, slots=http),
            _gpu_server(home, gpu),
            *([replace(receiver.receiver_server(home, told), ready=url(told))] if self._with_receiver else []),
        ]

    def _records(self) -> tuple[Record, ...]:
        known = info.read(self.directory)
        return known.servers if known else ()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.directory / "lab.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise LabFailed(f"another `lab up` is starting the lab in {self.directory} just now") from None
            yield


def _gpu_server(home: Path, port: int) -> Server:
    directories = [f"{slot}={tritons.gpu_time(home / slot)}" for slot in SLOTS]
    arguments = ["--port", str(port), "--namespace", NAMESPACE, *directories]
    ready = f"http://127.0.0.1:{port}/metrics"
    server = processes.python_server("gpu-exporter", gpu_exporter.__name__, arguments, home / "gpu-exporter.log", grace_s=1.0)
    return replace(server, ready=ready)


def _record(running: Running) -> Record:
    server = running.server
    return Record(name=server.name, pid=running.pid, started=running.started, grace_s=server.grace_s, log=str(server.log))


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not stop the cleaning up after the first; that takes a few seconds at most."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
