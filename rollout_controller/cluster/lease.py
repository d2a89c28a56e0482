"""Leadership by a Lease: who leads renews it, who waits measures on its own clock how long nobody did."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import structlog

from rollout_controller.api.names import Key, Raw
from rollout_controller.cluster.fence import Fence, steady
from rollout_controller.cluster.store import (
    LEASE,
    AlreadyExists,
    Conflict,
    NotFound,
    ObjectStore,
    Refused,
    StoreError,
)

LONGEST_S = 60
"""No lease of ours lasts longer; a record that says so is not waited for longer."""
AGAIN_S = 0.25
"""A leader whose renewal failed tries again after this long."""
REFUSED_S = 5.0
"""Who may not read or write the Lease looks again after this long: only a person can change that."""
SAY_AGAIN_S = 60.0


@dataclass(frozen=True)
class Timing:
    """Seconds. A leader that did not renew for `deadline_s` ends; then what it began takes at most `request_s`, and only after
    `duration_s` may another lead. A follower looks every `look_s`, and at the moment the lease may run out.
    """

    duration_s: int = 4
    deadline_s: float = 2.5
    renew_s: float = 1.0
    request_s: float = 1.0
    look_s: float = 0.5

    def __post_init__(self) -> None:
        if not self.request_s < self.deadline_s or not self.renew_s < self.deadline_s:
            raise ValueError("a renewal must fit into the deadline")
        if not self.deadline_s + self.request_s < self.duration_s <= LONGEST_S:
            raise ValueError("deadline and one request must fit into the lease, and the lease into a minute")

    @classmethod
    def of(cls, duration_s: int) -> Timing:
        """The same proportions for another lease."""
        return cls(duration_s, duration_s * 0.625, duration_s / 4, duration_s / 4, duration_s / 8)


@dataclass(frozen=True)
class Acquire:
    """Nobody holds it (any more): write it."""


@dataclass(frozen=True)
class Renew:
    """It is ours: write it anew."""


@dataclass(frozen=True)
class Wait:
    """Another holds it, for `seconds` more if it does not renew."""

    seconds: float
    holder: str


@dataclass(frozen=True)
class Lost:
    """We led and do so no longer."""

    why: str


Step = Acquire | Renew | Wait | Lost


@dataclass(frozen=True)
class Candidate:
    """What one process knows about the lease. PURE: the clock's value (`now`, steady seconds) is an argument.

    `renewed_at`: when the last write of ours that succeeded was begun; None: we do not lead. `seen`: the resourceVersion of the
    Lease as we saw it last (empty: there was none), and `seen_at`: since when, on our clock. Nobody else's clock is looked at.
    """

    identity: str
    timing: Timing = Timing()
    renewed_at: float | None = None
    seen: str | None = None
    seen_at: float | None = None

    def look(self, document: Raw | None, now: float) -> tuple[Candidate, Step]:
        """What to do about the Lease as it was read (None: there is none) before `now`."""
        spec = spec_of(document)
        holder = str(spec.get("holderIdentity") or "")
        if self.renewed_at is not None:
            return self, self._as_leader(document, holder, now)
        if holder == self.identity:  # a write of ours that seemed to fail
            return self, Renew()
        if document is not None and not holder:
            return self, Acquire()
        version = "" if document is None else str(document["metadata"]["resourceVersion"])
        known = self if self.seen == version else replace(self, seen=version, seen_at=now)
        assert known.seen_at is not None
        left = known.seen_at + self._duration(spec) - now
        return known, Wait(left, holder) if left > 0 else Acquire()

    def overdue(self, now: float) -> bool:
        """Whether we lead and the deadline of our renewal has passed."""
        return self.renewed_at is not None and now - self.renewed_at >= self.timing.deadline_s

    def late(self, now: float) -> Lost:
        """How leadership ends that was not renewed in time."""
        assert self.renewed_at is not None
        return Lost(f"it was not renewed for {now - self.renewed_at:.1f} s (deadline {self.timing.deadline_s:g} s)")

    def _as_leader(self, document: Raw | None, holder: str, now: float) -> Step:
        if self.overdue(now):
            return self.late(now)
        if document is None or holder == self.identity:
            return Renew()
        return Lost(f"it is held by {holder!r} now" if holder else "somebody emptied it")

    def _duration(self, spec: Raw) -> float:
        """How long the holder promised to be the holder; ours where it did not say. A Lease that is not there at all is
        waited for as long: its holder may not know yet.
        """
        said = spec.get("leaseDurationSeconds")
        whole = isinstance(said, int) and not isinstance(said, bool) and said > 0
        return min(said, LONGEST_S) if whole and said is not None else self.timing.duration_s


def spec_of(document: Raw | None) -> Raw:
    """The spec of a Lease; empty when there is none."""
    spec = (document or {}).get("spec")
    return spec if isinstance(spec, dict) else {}


def claimed(document: Raw | None, key: Key, candidate: Candidate, wall: float) -> Raw:
    """The Lease as `candidate` writes it at `wall` (seconds since 1970, for people only): acquired, or renewed.

    It differs from what it was even if the wall clock stands still: a write that changes nothing is none.
    """
    spec, now = spec_of(document), micro_time(wall)
    if now == spec.get("renewTime"):
        now = micro_time(wall + 2e-6)
    ours: dict[str, Any] = {
        "holderIdentity": candidate.identity,
        "leaseDurationSeconds": candidate.timing.duration_s,
        "renewTime": now,
    }
    if spec.get("holderIdentity") != candidate.identity:
        before = spec.get("leaseTransitions")
        ours["acquireTime"] = now
        ours["leaseTransitions"] = 0 if document is None else (before if isinstance(before, int) else 0) + 1
    return _with_spec(document, key, {**spec, **ours})


def released(document: Raw, key: Key, wall: float) -> Raw:
    """The Lease given back: who looks next may take it at once."""
    return _with_spec(document, key, {**spec_of(document), "holderIdentity": "", "renewTime": micro_time(wall)})


def _with_spec(document: Raw | None, key: Key, spec: Raw) -> Raw:
    metadata = (document or {}).get("metadata") or {"name": key.name, "namespace": key.namespace}
    return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}


def micro_time(wall: float) -> str:
    """Kubernetes' MicroTime of seconds since 1970."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Leadership:
    """The thread around `Candidate`. `on_lead` is called once, in that thread; `on_lost` when leadership ended, with the reason.

    The fence is opened by each renewal and shut at the end. One `turn` is one finite piece of work.
    """

    def __init__(
        self,
        store: ObjectStore,
        key: Key,
        candidate: Candidate,
        fence: Fence,
        *,
        on_lead: Callable[[], None],
        on_lost: Callable[[str], None],
        on_death: Callable[[str, BaseException], None],
        on_turn: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = steady,
        wall: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`store`: not behind the fence, and no call of it may take longer than the timing's `request_s`."""
        self._store, self._key, self._candidate, self._fence = store, key, candidate, fence
        self._on_lead, self._on_lost, self._on_death, self._on_turn = on_lead, on_lost, on_death, on_turn
        self._clock, self._wall, self._uniform = clock, wall, uniform
        self._held: Raw | None = None
        """The Lease as we wrote it last: no need to read it before the next renewal."""
        self._problem: StoreError | None = None
        self._said: tuple[str, float] = ("", float("-inf"))
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lease", daemon=True)
        self._log = structlog.get_logger("lease").bind(lease=str(key), identity=candidate.identity)

    @property
    def leading(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return self._candidate.renewed_at is not None

    def overdue(self) -> str | None:
        """How long it leads without a renewal, when the deadline has passed: it must end, even if the thread hangs."""
        candidate, now = self._candidate, self._clock()
        return candidate.late(now).why if candidate.overdue(now) else None

    def problem(self) -> str | None:
        """Why the Lease cannot be read or written at present."""
        problem = self._problem
        return None if problem is None else f"Lease {self._key}: {problem}"

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """End the thread; False when it did not within `timeout_s`. Leadership is kept until it runs out, or `release`."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def release(self) -> bool:
        """After `stop`, and when nothing is written any more: give the lease back, so that another need not wait for its end."""
        if self._held is None or not self.leading:
            return False
        self._fence.shut()
        self._candidate = replace(self._candidate, renewed_at=None)
        try:
            self._store.replace(LEASE, released(self._held, self._key, self._wall()))
        except StoreError as error:
            self._log.warning("the lease could not be given back; it runs out by itself", error=str(error))
            return False
        self._log.info("the lease is given back")
        return True

    def turn(self) -> float | None:
        """Look, and write where that is due; gives the seconds until the next turn, None when leadership was lost."""
        try:
            document = self._held if self._held is not None else self._read()
        except StoreError as error:
            return self._failed(error)
        self._candidate, step = self._candidate.look(document, self._clock())
        match step:
            case Lost(why):
                self._lose(why)
                return None
            case Wait(seconds, holder):
                self._tell(f"waiting for the lease held by {holder!r}" if holder else "waiting: the lease may be held")
                self._problem = None
                return min(seconds, self._look_s())
            case _:
                return self._write(document)

    def _read(self) -> Raw | None:
        try:
            return self._store.get(LEASE, self._key)
        except NotFound:
            return None

    def _write(self, document: Raw | None) -> float | None:
        begun = self._clock()
        wanted = claimed(document, self._key, self._candidate, self._wall())
        try:
            written = self._store.create(LEASE, wanted) if document is None else self._store.replace(LEASE, wanted)
        except (Conflict, AlreadyExists, NotFound):  # somebody else wrote it: read it
            self._held = None
            return self._failed(None)
        except StoreError as error:
            return self._failed(error)
        first, self._held, self._problem = not self.leading, written, None
        self._candidate = replace(self._candidate, renewed_at=begun, seen=None, seen_at=None)
        self._fence.open_until(begun + self._candidate.timing.duration_s)
        if first:
            self._log.info("leading", transitions=spec_of(written).get("leaseTransitions"))
            self._on_lead()
        return max(0.0, begun + self._candidate.timing.renew_s - self._clock())

    def _failed(self, error: StoreError | None) -> float | None:
        """After a call that came to nothing; None as error: another was faster."""
        if error is not None:
            self._problem = error
            self._tell(f"the lease cannot be read or written: {type(error).__name__}", error=str(error))
        if (late := self.overdue()) is not None:
            self._lose(late)
            return None
        if self.leading:
            return 0.0 if error is None else AGAIN_S
        return REFUSED_S if isinstance(error, Refused) else self._look_s()

    def _lose(self, why: str) -> None:
        self._fence.shut()
        self._candidate = replace(self._candidate, renewed_at=None)
        self._on_lost(why)

    def _look_s(self) -> float:
        return self._candidate.timing.look_s * self._uniform(0.8, 1.0)

    def _tell(self, what: str, **trouble: str) -> None:
        """What is new; trouble also again after a while."""
        (said, at), now = self._said, self._clock()
        if what != said or (trouble and now - at >= SAY_AGAIN_S):
            self._said = (what, now)
            (self._log.warning if trouble else self._log.info)(what, **trouble)

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                pause = self.turn()
                if pause is None:
                    return
                self._on_turn()
                self._stopped.wait(pause)
        except BaseException as error:  # noqa: BLE001 - a loop that dies ends the process
            self._on_death("lease", error)
