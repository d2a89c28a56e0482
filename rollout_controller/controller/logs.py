"""Logging: structlog for ours, the standard library's routed through it, and no secret in any line."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog

MASK = "***"
_SECRET_NAMES = re.compile(
    r"(?i)^(proxy-)?authorization$|(^|[-_.])(token|password|passwd|secret|webhook|webhook_url|api[-_]?key)$"
)
_SECRET_TEXTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(https://hooks\.slack(?:-gov)?\.com/)[^\s\"'<>]+", re.IGNORECASE), rf"\1{MASK}"),
    (re.compile(r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?)(?:(\w+)\s+)?[^\s\"',}]+", re.IGNORECASE), rf"\1\2 {MASK}"),
    (re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE), rf"\1\2{MASK}"),
    (re.compile(r"\b(xox[a-z]-|xapp-|glsa_|glc_|gh[pousr]_)[A-Za-z0-9_-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"), MASK),
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:]*:[^\s/@]+@", re.IGNORECASE), rf"\1{MASK}@"),
    (re.compile(r"((?:^|[?&;\s\"'])(?:access_token|token|password|secret|api_?key)=)[^\s&\"']+", re.IGNORECASE), rf"\1{MASK}"),
)


class Secrets:
    """Masks what looks like a secret, and the values it was told of (read from mounted files)."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def hide(self, value: str) -> None:
        """Never show this text again. Texts under 6 characters are left: masking them would garble every line."""
        value = value.strip()
        if len(value) >= 6 and value not in self._known:
            self._known = (*self._known, value)

    def clean(self, text: str) -> str:
        """The text with its secrets masked."""
        for value in self._known:
            text = text.replace(value, MASK)
        for pattern, kept in _SECRET_TEXTS:
            text = pattern.sub(kept, text)
        return text

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """The structlog processor; stands last before the renderer, after tracebacks became text."""
        return {name: self._value(name, value) for name, value in event.items()}

    def _value(self, name: str, value: Any) -> Any:
        if value is not None and _SECRET_NAMES.search(name):
            return MASK
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {k: self._value(str(k), v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._value("", v) for v in value]
        if value is None or isinstance(value, bool | int | float) or name.startswith("_"):  # structlog's own: _record
            return value
        return self.clean(str(value))


SECRETS = Secrets()
"""The process's one list: whoever reads a secret hides it here."""


def set_up(
    style: Literal["console", "json"] = "console", level: str = "INFO", stream: TextIO | None = None, secrets: Secrets = SECRETS
) -> None:
    """Send all logging to `stream` (standard error). Colours only on a terminal; times are ISO 8601 in UTC."""
    out = sys.stderr if stream is None else stream
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                secrets,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("apscheduler", "urllib3", "requests", "kubernetes"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
