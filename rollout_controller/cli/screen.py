"""Where pages go: coloured on a terminal, plain text in a pipe. The only module of the CLI that prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from rollout_controller.cli import layout
from rollout_controller.cli.page import Page, Tone

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

STYLES: dict[Tone, str] = {
    "plain": "",
    "strong": "bold",
    "dim": "dim",
    "good": "green",
    "bad": "bold red",
    "warn": "yellow",
    "busy": "cyan",
}
WIDEST = 120
"""On a wider screen the eye loses the line."""


@dataclass
class Screen:
    """stdout and stderr of a command. `rich`: stdout is a terminal and colours are welcome."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    rich: bool = False
    _console: Console | None = None

    def page(self, page: Page) -> None:
        if self.rich:
            self.console.print(coloured(page, min(self.console.width, WIDEST)), soft_wrap=True)
        else:
            self.out.write(layout.text(page))
            self.out.flush()

    def line(self, text: str) -> None:
        self.out.write(text + "\n")
        self.out.flush()

    def note(self, text: str) -> None:
        """For people beside the result: stderr."""
        self.err.write(text + "\n")
        self.err.flush()

    def data(self, value: Any, output: str) -> None:
        """JSON or YAML."""
        if output == "yaml":
            import yaml  # noqa: PLC0415 - 0.1 s that only this output pays

            self.out.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
        else:
            self.out.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        self.out.flush()

    @property
    def console(self) -> Console:
        if self._console is None:
            from rich.console import Console  # noqa: PLC0415 - 0.15 s that only a terminal pays

            self._console = Console(file=self.out, highlight=False)
        return self._console

    @contextmanager
    def live(self) -> Iterator[Callable[[Page], None]]:
        """A page that is drawn again in its place; the last one stays. Only where `rich`."""
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        with Live(Text(), console=self.console, auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda page: live.update(coloured(page, min(self.console.width, WIDEST)), refresh=True)


def coloured(page: Page, width: int) -> Text:
    """The page as rich text of at most `width` characters."""
    from rich.text import Text  # noqa: PLC0415

    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for line in layout.lines(page, width):
        for span in line:
            text.append(span.text, STYLES[span.tone])
        text.append("\n")
    return text


def screen(*, plain: bool) -> Screen:
    """For this process: colours only on a terminal that wants them."""
    dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return Screen(rich=sys.stdout.isatty() and not plain and not dumb)
