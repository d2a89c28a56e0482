"""Text on its way into HTML or SVG: escaped, without characters that XML forbids."""

from __future__ import annotations

import html
import re

_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""All but the characters of XML 1.0, section 2.2."""


_UNIT = re.compile(r"(?<=\d) (?=(?:%|ms|s)\b|%)")


def esc(text: object) -> str:
    """Plain text as it may stand in an element or a quoted attribute."""
    return html.escape(_FORBIDDEN.sub("\ufffd", str(text)), quote=True)


def prose(text: object) -> str:
    """The same for running text: a number and its unit stay on one line."""
    return _UNIT.sub("\u00a0", esc(text))


def cut(text: str, width: int) -> str:
    """At most `width` characters."""
    return text if len(text) <= width else text[: max(width - 1, 0)].rstrip() + "…"


def since(seconds: float) -> str:
    """`0:07`, `2:31`, `1:02:05`."""
    whole = round(max(seconds, 0.0))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"
