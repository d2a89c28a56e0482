"""Files that are made from code: written, or compared with what the code says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path


def parser(prog: str, about: str, what: str) -> argparse.ArgumentParser:
    """The command line of those who make files: with --write they are written, else compared."""
    made = argparse.ArgumentParser(prog=prog, description=about)
    made.add_argument("--write", action="store_true", help=f"write {what}")
    return made


def keep(files: Mapping[Path, str], *, write: bool) -> int:
    """Write `files` (by path, what each must be), or say which differ. 0: they are so, or were written."""
    different = 0
    for path, text in files.items():
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stdout.write(f"{path} differs\n")
            different = 1
    return different
