"""Who is told: a target knows how its messages look and where they go."""

from __future__ import annotations

from typing import Protocol

from rollout_controller.api.notices import NoticeKind
from rollout_controller.notify.message import Message
from rollout_controller.notify.wire import Outcome

NEWS = frozenset(
    {
        NoticeKind.PAUSED,
        NoticeKind.RETREATED,
        NoticeKind.ROLLED_BACK,
        NoticeKind.PROMOTED,
        NoticeKind.ABORTED,
        NoticeKind.STALLED,
    }
)
"""What people want to hear of, if nothing else is said."""
TROUBLE = NEWS - {NoticeKind.PROMOTED, NoticeKind.ABORTED}
"""What somebody should look at."""
ALL = frozenset(NoticeKind)


class Target(Protocol):
    """One place. `name` is also its label in metrics: slack, webhook, alertmanager or grafana."""

    @property
    def name(self) -> str: ...

    @property
    def kinds(self) -> frozenset[NoticeKind]: ...

    def send(self, message: Message, thread: str) -> Outcome:
        """Send it, within the target's time. `thread`: the reference of the attempt's first message there; empty: none yet.

        Never raises for what the network, the target or a mounted file does.
        """
        ...
