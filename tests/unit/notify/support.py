"""Messages for tests."""

from __future__ import annotations

from rollout_controller.api.names import Key
from rollout_controller.api.notices import Notice, NoticeKind
from rollout_controller.notify.message import Links, Message, message

ABOUT = Key("vision", "resnet50")
LINKS = Links(
    dashboard="https://grafana.example.com/d/rollout?var-namespace={namespace}&var-rollout={name}&from={from_ms}&to={to_ms}",
    runbook="https://docs.example.com/runbooks/{code}",
    request="https://ci.example.com/runs/{request}",
)
AT = 1_700_000_000.0


def notice(kind: NoticeKind = NoticeKind.ROLLED_BACK, *, number: int = 7, at: float = AT, **changes: object) -> Notice:
    return Notice(
        id=f"{number}-6553f100/{kind}",
        kind=kind,
        at=at,
        attempt=f"{number}-6553f100",
        number=number,
        version="3",
        request="run 8841",
        since=at - 41,
        code="ErrorsViolated",
        headline="rolled back to version 1",
        sentence="Canary error rate 5.2 % [3.1, 8.0] (18 of 346), stable 0.4 %: false alarm at most 0.2 %.",
        detail="version 3 had traffic for 41 s, 10 % at the end; all traffic is on version 1 since 22:13:20 UTC",
        next="`rollouts trigger resnet50 --version 3 --again`",
    ).model_copy(update=changes)


def news(kind: NoticeKind = NoticeKind.ROLLED_BACK, *, about: Key = ABOUT, number: int = 7, **changes: object) -> Message:
    return message(about, "uid-1", notice(kind, number=number, **changes), LINKS)  # type: ignore[arg-type]
