"""The only module that reads: the documents of a store."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rollout_controller.api.names import Key, Raw
from rollout_controller.cli.build import build
from rollout_controller.cli.exits import CommandError, Exit
from rollout_controller.cli.info import Info
from rollout_controller.cli.screen import Screen
from rollout_controller.cluster.store import EVENT, POLICY, ROLLOUT, Forbidden, NotFound, Refused, SelectingStore, Unavailable

TICK_S = 1.0
"""A document that is followed is shown again after this long, because the times on the screen go on."""
LOCAL_POLLS_S = (0.1,)
POLLS_S = (0.1, 0.1, 0.2, 0.2, 0.4, 1.0)
"""Between two looks at a document that is followed, from its last change on; the last one again and again. Soon after a change,
for answers come quickly, and then not more often than a cluster of many such followers can bear."""
LIST_EVERY_S = 3.0
"""The same for all documents of a cluster at once, which may be megabytes."""
GIVE_UP_S = 60.0
"""A store that does not answer is asked again for this long: an API server that is started anew needs 5 to 30 s."""
POLICY_S = 5.0
"""A policy that was read is taken as it was for this long."""


@dataclass(frozen=True)
class _Read:
    """A policy at a moment of the monotonic clock, or why there is none."""

    at: float
    document: Raw | None
    lack: str


@dataclass(frozen=True)
class Session:
    """What a command works with.

    `namespace`: the one that was chosen, None for all. `home`: where a bare name is looked up when none is chosen, None for
    everywhere. `command` begins the commands that are proposed to the user; see `reach`.
    """

    store: SelectingStore
    screen: Screen
    namespace: str | None
    command: str
    home: str | None = None
    polls_s: tuple[float, ...] = LOCAL_POLLS_S
    list_every_s: float = 1.0
    clock: Callable[[], float] = time.time
    folder: Path | None = None
    """Of the documents, where there is no cluster."""
    _policies: dict[Key, _Read] = field(default_factory=dict)

    def reach(self, namespace: str) -> str:
        """How a proposed command must begin to find a bare name of `namespace`."""
        needed = self.namespace is not None if self.home is None else namespace != self.home
        return f"{self.command} -n {namespace}" if needed else self.command

    def info(self, rollout: Raw) -> Info:
        """The rollout with its policy, now."""
        return build(rollout, self.policy_of(rollout), self.clock())

    def policy_of(self, rollout: Raw) -> Raw | None:
        """The RolloutPolicy that a rollout names; None where there is none, or we may not read it (`why_no_policy`)."""
        key = _policy_key(rollout)
        if key is None:
            return None
        read = self._policies.get(key)
        if read is None or time.monotonic() - read.at > POLICY_S:
            read = self._policies[key] = self._policy(key, read)
        return read.document

    def why_no_policy(self, rollout: Raw) -> str:
        """One sentence, after `policy_of` gave None."""
        key = _policy_key(rollout)
        return self._policies[key].lack if key is not None else "The rollout names no policy."

    def _policy(self, key: Key, before: _Read | None) -> _Read:
        now = time.monotonic()
        try:
            return _Read(now, self.store.get(POLICY, key), "")
        except NotFound:
            return _Read(now, None, no_policy(key))
        except Forbidden as error:  # a pipeline may ask for versions, and need not see more
            return _Read(now, None, f"You may not {error.verb} {error.resource} in namespace {key.namespace}.")
        except Unavailable as error:  # a rollout is not hidden because its policy cannot be read now
            return _Read(now, before.document if before else None, f"It cannot be read: {error}.")

    def rollouts(self) -> tuple[Raw, ...]:
        """All of them; where they need several policies, these are read at once."""
        found = self.store.list(ROLLOUT, self.namespace).items
        wanted = {key for rollout in found if (key := _policy_key(rollout)) is not None}
        now = time.monotonic()
        if len(wanted) > 1 and any(key not in self._policies or now - self._policies[key].at > POLICY_S for key in wanted):
            there, lack = self._all_policies()
            self._policies.update({key: _Read(now, there.get(key), lack or no_policy(key)) for key in wanted})
        return found

    def _all_policies(self) -> tuple[dict[Key, Raw], str]:
        try:
            return {key_of(policy): policy for policy in self.store.list(POLICY, self.namespace).items}, ""
        except Forbidden as error:
            return {}, f"You may not {error.verb} {error.resource}."

    def find(self, name: str) -> Raw:
        """The rollout of that name, written NAME or NAMESPACE/NAME; raises CommandError with what there is instead."""
        space, slash, short = name.rpartition("/")
        if not short or "/" in space or (slash and not space):
            raise CommandError(f"{name!r} is no name of a TritonRollout; NAME or NAMESPACE/NAME", Exit.USAGE)
        space = space or self.namespace or ""
        if space:
            try:
                return self.store.get(ROLLOUT, Key(space, short))
            except NotFound:
                raise CommandError(_missing(short, space, self._there(space), self.command)) from None
        there = self.store.list(ROLLOUT, None).items
        found = [rollout for rollout in there if key_of(rollout).name == short]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(f"{self.command} … {key_of(rollout)}" for rollout in found)
            raise CommandError(f"{short!r} is in {len(found)} namespaces; say which: {names}", Exit.USAGE)
        raise CommandError(_missing(short, space, [key_of(rollout) for rollout in there], self.command))

    def _there(self, namespace: str) -> list[Key] | None:
        """What there is to propose instead of a name that is not there; None where we may not know."""
        try:
            return [key_of(rollout) for rollout in self.store.list(ROLLOUT, namespace).items]
        except Refused:
            return None

    def events(self, rollout: Raw) -> list[Raw]:
        """What the controller told about a rollout, oldest first."""
        key = key_of(rollout)
        mine = self.store.select(EVENT, key.namespace, {"regarding.name": key.name})
        mine = tuple(event for event in mine if (event.get("regarding") or {}).get("kind") in {None, ROLLOUT.name})
        return sorted(mine, key=lambda event: str(event.get("eventTime") or ""))

    def follow(self, key: Key, timeout_s: float = math.inf) -> Iterator[Raw]:
        """The document at once, after each change that is seen, and every TICK_S, for at most `timeout_s`.

        It is asked for by name, again and again: that needs no right but `get`, and outlives a restart of the API server.

        Raises:
            CommandError: it was deleted.
            StoreError: the store refuses, or has not answered for GIVE_UP_S.
        """
        ends = time.monotonic() + timeout_s
        version, shown_at, looks = "", 0.0, 0
        patience = Patience(self.screen)
        while True:
            pause = self.polls_s[min(looks, len(self.polls_s) - 1)]
            looks += 1
            try:
                document = self.store.get(ROLLOUT, key)
            except NotFound:
                raise CommandError(f"TritonRollout {key.name!r} in namespace {key.namespace} was deleted") from None
            except (Unavailable, Refused) as error:
                if isinstance(error, Refused) and not version:
                    raise  # later it may be a server that has just started and does not know rights and kinds yet
                pause = patience.failed(error)
            else:
                patience.answered()
                if document["metadata"]["resourceVersion"] != version:
                    version, shown_at, looks = document["metadata"]["resourceVersion"], -math.inf, 0
                if time.monotonic() - shown_at >= TICK_S:
                    yield document
                    shown_at = time.monotonic()
            left = ends - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(pause, left))

    def rollouts_again_and_again(self) -> Iterator[tuple[Raw, ...]]:
        """All of them, every `list_every_s`; ends with a StoreError as `follow` does."""
        patience = Patience(self.screen)
        while True:
            pause = self.list_every_s
            try:
                found = self.rollouts()
            except Unavailable as error:
                pause = patience.failed(error)
            else:
                patience.answered()
                yield found
            time.sleep(pause)


class Patience:
    """How long a store may be silent while it is followed."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._since: float | None = None

    def answered(self) -> None:
        self._since = None

    def failed(self, error: Unavailable | Refused) -> float:
        """Seconds to wait before the next try; raises the error when it has been silent for GIVE_UP_S."""
        now = time.monotonic()
        if self._since is None:
            self._since = now
            self._screen.note(f"{error}; trying again for {GIVE_UP_S:g} s")
        if now - self._since > GIVE_UP_S:
            raise error
        asked = error.retry_after_s if isinstance(error, Unavailable) else None
        return max(TICK_S, min(asked or 0.0, GIVE_UP_S / 6))


def _policy_key(rollout: Raw) -> Key | None:
    spec = rollout.get("spec")
    name = spec.get("policy") if isinstance(spec, dict) else None
    return Key(key_of(rollout).namespace, name) if isinstance(name, str) else None


def no_policy(key: Key) -> str:
    """What is said where a rollout's policy is not there."""
    return f"There is no RolloutPolicy {key.name!r} in this namespace."


def key_of(document: Raw) -> Key:
    metadata: Any = document.get("metadata") or {}
    return Key(str(metadata.get("namespace") or "default"), str(metadata.get("name") or ""))


def _missing(name: str, namespace: str, there: list[Key] | None, command: str) -> str:
    import difflib  # noqa: PLC0415 - only a mistyped name needs it

    spaces = {key.namespace for key in there or ()}
    where = namespace or (spaces.pop() if len(spaces) == 1 else "")
    sentence = f"no TritonRollout {name!r}" + (f" in namespace {where}" if where else "")
    if there is None:
        return sentence
    close = difflib.get_close_matches(name, [key.name for key in there], n=1, cutoff=0.6)
    if close:
        return f"{sentence}; there is {close[0]!r}"
    if not there:
        return f"{sentence}; there is none at all: {command} apply -f FILE"
    names = [repr(key.name) for key in there]
    return f"{sentence}; there are {', '.join(names[:5])}" + (f" and {len(names) - 5} more" if len(names) > 5 else "")
