"""Exit codes, and the errors that end a command with one sentence."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What a shell or CI sees."""

    FINE = 0
    FAILED = 1
    USAGE = 2
    ROLLED_BACK = 3
    TIMED_OUT = 4
    PAUSED = 5
    INTERRUPTED = 130


class CommandError(Exception):
    """Ends the command: the sentence goes to stderr after `error: `, the code to the shell."""

    def __init__(self, sentence: str, code: Exit = Exit.FAILED) -> None:
        self.code = code
        super().__init__(sentence)
