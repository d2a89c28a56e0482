"""`notifications` of the configuration: who is told what, and the post that does it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from rollout_controller.api.meta import Model
from rollout_controller.api.notices import NoticeKind
from rollout_controller.api.quantities import Duration, format_duration
from rollout_controller.controller.urls import Url, is_url
from rollout_controller.notify.alertmanager import Alertmanager
from rollout_controller.notify.grafana import Grafana
from rollout_controller.notify.message import PLACES, Links
from rollout_controller.notify.slack import SlackBot, SlackWebhook
from rollout_controller.notify.target import NEWS, TROUBLE, Target
from rollout_controller.notify.webhook import Webhook
from rollout_controller.notify.wire import MountedSecret, Wire

LEAST_S, MOST_S = 1.0, 60.0


def _link(text: str) -> str:
    for place in re.findall(r"\{(.*?)\}", text):
        if place not in PLACES:
            raise ValueError(f"{{{place}}} in {text!r} is no place|{', '.join(f'{{{each}}}' for each in PLACES)}")
    if text and not is_url(re.sub(r"\{(.*?)\}", "x", text)):
        raise ValueError(f"{text!r} is not a URL|http:// or https://, for example 'https://grafana.example.com/d/rollout'")
    return text


def _timeout(seconds: float) -> float:
    if not LEAST_S <= seconds <= MOST_S:
        raise ValueError(f"{format_duration(seconds)!r} was read|from '{LEAST_S:g}s' to '{MOST_S:g}s'")
    return seconds


Link = Annotated[str, AfterValidator(_link)]
Timeout = Annotated[Duration, AfterValidator(_timeout)]


class LinksConfig(Model):
    """URLs in messages, with places like {namespace} and {name}; empty: no such link."""

    dashboard: Link = ""
    runbook: Link = ""
    request: Link = ""


class TargetConfig(Model):
    """What all targets have. `kinds`: what it is told; `ca_file`: who signs its certificate, if not somebody well-known."""

    kinds: tuple[NoticeKind, ...] = Field(default=tuple(kind for kind in NoticeKind if kind in NEWS), min_length=1)
    timeout: Timeout = 10.0
    ca_file: Path | None = None

    @property
    def wire(self) -> Wire:
        return Wire(timeout_s=self.timeout, ca_file=self.ca_file)


class SlackConfig(TargetConfig):
    """An incoming webhook's URL, or a bot's token and a channel: then each attempt is a thread."""

    webhook_file: Path | None = None
    token_file: Path | None = None
    channel: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    api: Url = "https://slack.com/api"

    @field_validator("channel")
    @classmethod
    def _with_a_token(cls, channel: str | None, info: ValidationInfo) -> str | None:
        if channel is not None and info.data.get("token_file") is None:
            raise ValueError(f"{channel!r} is given without tokenFile|a channel goes with a token; a webhook has its own")
        return channel

    @model_validator(mode="after")
    def _one_way(self) -> SlackConfig:
        if (self.webhook_file is None) == (self.token_file is None):
            read = (
                "both webhookFile and tokenFile are" if self.webhook_file is not None else "neither webhookFile nor tokenFile is"
            )
            raise ValueError(f"{read} given|one of the two: webhookFile, or tokenFile with channel")
        if self.token_file is not None and self.channel is None:
            raise ValueError(
                "tokenFile is given without channel|the id of a channel that the bot is in, for example 'C0123456789'"
            )
        return self

    def target(self, hide: Callable[[str], None]) -> Target:
        """Slack, as it is told."""
        kinds = frozenset(self.kinds)
        if self.webhook_file is not None:
            return SlackWebhook(MountedSecret(self.webhook_file, hide), self.wire, kinds)
        assert self.token_file is not None
        assert self.channel is not None
        return SlackBot(self.api, MountedSecret(self.token_file, hide), self.channel, self.wire, kinds)


class WebhookConfig(TargetConfig):
    """A receiver of one's own; its URL here, or in a file where it is a secret. `key_file`: what messages are signed with."""

    url: Url | None = None
    url_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _one_url(self) -> WebhookConfig:
        if (self.url is None) == (self.url_file is None):
            raise ValueError(f"{'neither' if self.url is None else 'both'} of url and urlFile given|one of the two")
        return self

    def target(self, hide: Callable[[str], None]) -> Target:
        """The webhook, as it is told."""
        given, key = self.url, MountedSecret(self.key_file, hide) if self.key_file is not None else None
        url = MountedSecret(self.url_file, hide).read_url if self.url_file is not None else lambda: given or ""
        return Webhook(url, key, self.wire, frozenset(self.kinds), clock=time.time)


class AlertmanagerConfig(TargetConfig):
    """An Alertmanager that is told by the controller itself, not by Prometheus' rules."""

    kinds: tuple[NoticeKind, ...] = Field(default=tuple(kind for kind in NoticeKind if kind in TROUBLE), min_length=1)
    url: Url
    token_file: Path | None = None

    def target(self, hide: Callable[[str], None]) -> Target:
        """Alertmanager, as it is told."""
        token = MountedSecret(self.token_file, hide) if self.token_file is not None else None
        return Alertmanager(self.url, token, self.wire, frozenset(self.kinds), clock=time.time)


class GrafanaConfig(TargetConfig):
    """Grafana's annotations; the token is of a service account that may write them."""

    kinds: tuple[NoticeKind, ...] = Field(default=tuple(NoticeKind), min_length=1)
    url: Url
    token_file: Path

    def target(self, hide: Callable[[str], None]) -> Target:
        """Grafana, as it is told."""
        return Grafana(self.url, MountedSecret(self.token_file, hide), self.wire, frozenset(self.kinds))


class NotificationsConfig(Model):
    """Who is told what. Empty: nobody."""

    links: LinksConfig = LinksConfig()
    slack: SlackConfig | None = None
    webhook: WebhookConfig | None = None
    alertmanager: AlertmanagerConfig | None = None
    grafana: GrafanaConfig | None = None

    def targets(self, hide: Callable[[str], None]) -> list[Target]:
        """All that are configured. `hide` hears every secret that is read."""
        configs = (self.slack, self.webhook, self.alertmanager, self.grafana)
        return [config.target(hide) for config in configs if config is not None]

    @property
    def templates(self) -> Links:
        return Links(self.links.dashboard, self.links.runbook, self.links.request)
