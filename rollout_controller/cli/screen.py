"""Where pages go: coloured on a terminal, plain text in a pipe. The only module of the CLI that prints."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from rollout_controller.cli import layout
from rollout_controller.cli.page import Page, Span, Tone

SGR: dict[Tone, str] = {
    "plain": "",
    "strong": "1",
    "dim": "2",
    "good": "32",
    "bad": "1;31",
    "warn": "33",
    "busy": "36",
}
"""Terminal codes by tone, of the 16 colours that each terminal's owner has chosen. Written here because rich, which only
`-w` needs, takes 0.15 s to import: half of what a whole `rollouts status` may take."""
WIDEST = 120
"""On a wider screen the eye loses the line."""


@dataclass
class Screen:
    """stdout and stderr of a command. `rich`: stdout is a terminal and colours are welcome."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    rich: bool = False

    def page(self, page: Page) -> None:
        if self.rich:
            self.out.write(coloured(page, min(shutil.get_terminal_size().columns, WIDEST)))
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

    @contextmanager
    def live(self) -> Iterator[Callable[[Page], None]]:
        """A page that is drawn again in its place; the last one stays. Only where `rich`."""
        from rich.console import Console  # noqa: PLC0415
        from rich.live import Live  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        console = Console(file=self.out, highlight=False)

        def text(page: Page) -> Text:
            return Text.from_ansi(coloured(page, min(console.width, WIDEST)), no_wrap=True)

        with Live(Text(), console=console, auto_refresh=False, vertical_overflow="crop") as live:
            yield lambda page: live.update(text(page), refresh=True)


def coloured(page: Page, width: int) -> str:
    """The page with terminal codes, in lines of at most `width` characters."""
    return "".join("".join(map(_painted, line)) + "\n" for line in layout.lines(page, width))


def _painted(span: Span) -> str:
    code = SGR[span.tone]
    return f"\x1b[{code}m{span.text}\x1b[0m" if code and span.text.strip() else span.text


def screen(*, plain: bool) -> Screen:
    """For this process: colours only on a terminal that wants them."""
    dumb = os.environ.get("TERM") == "dumb" or bool(os.environ.get("NO_COLOR"))
    return Screen(rich=sys.stdout.isatty() and not plain and not dumb)
