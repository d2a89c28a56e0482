"""What goes wrong with a Triton, as two classes: it said no, or it could not be asked."""

from __future__ import annotations


class TritonError(Exception):
    """Base of what the Triton client raises. Callers act on the class, never on the text."""


class TritonRefused(TritonError):
    """Triton itself said no; `message` is in its own words, `status` the HTTP status. Asking again gives the same answer."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class TritonUnreachable(TritonError):
    """No answer, or none that Triton makes (a proxy's page, 503 while it starts or ends): try again later."""
