"""`python -m tools.dashboards`: says which files differ from the code; with --write makes them anew."""

from __future__ import annotations

import argparse
import sys

from tools.dashboards.boards import FOLDERS, texts


def main() -> int:
    """0: the files are what the code says, or were written."""
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description="The Grafana dashboards.")
    parser.add_argument("--write", action="store_true", help="write dashboards/*.json and the chart's copies")
    write = parser.parse_args().write
    different = 0
    for folder in FOLDERS:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts().items():
            path = folder / name
            if write:
                path.write_text(text, encoding="utf-8")
            elif not path.exists() or path.read_text(encoding="utf-8") != text:
                sys.stdout.write(f"{path} differs\n")
                different = 1
    return different


if __name__ == "__main__":
    sys.exit(main())
