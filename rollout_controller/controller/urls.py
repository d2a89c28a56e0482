"""URLs in configuration files."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator


def is_url(text: str) -> bool:
    """Whether it has a scheme of HTTP and a host."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def url(text: str) -> str:
    """The URL without a slash at its end; raises ValueError with what is allowed."""
    if not is_url(text):
        raise ValueError(f"{text!r} is not a URL|http:// or https://, a host and a port, for example 'http://10.0.0.7:8000'")
    return text.rstrip("/")


Url = Annotated[str, AfterValidator(url)]
