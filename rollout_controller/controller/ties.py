"""Which rollouts hang on which documents, looked up from either end."""

from __future__ import annotations

from rollout_controller.api.meta import Key

Name = tuple[str, Key]
"""Kind and key of a document."""


class Ties:
    """Nothing is kept of a document on which nobody hangs. Not for several threads at once."""

    def __init__(self) -> None:
        self._names: dict[Key, frozenset[Name]] = {}
        self._users: dict[Name, set[Key]] = {}

    def tie(self, key: Key, names: frozenset[Name]) -> frozenset[Key]:
        """A rollout hangs on these documents, and no others any more; gives the others on those that it gained or lost."""
        before = self._names.pop(key, frozenset())
        others = frozenset(user for name in names ^ before for user in self.users_of(name) if user != key)
        for name in before - names:
            self._users[name].discard(key)
            if not self._users[name]:
                del self._users[name]
        for name in names:
            self._users.setdefault(name, set()).add(key)
        if names:
            self._names[key] = names
        return others

    def users_of(self, name: Name) -> frozenset[Key]:
        """The rollouts that hang on a document."""
        return frozenset(self._users.get(name, ()))
