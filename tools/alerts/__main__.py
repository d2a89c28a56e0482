"""`python -m tools.alerts`: says which files differ from the code; with --write makes them anew."""

from __future__ import annotations

import argparse
import sys

from tools.alerts.files import texts


def main() -> int:
    """0: the files are what the code says, or were written."""
    parser = argparse.ArgumentParser(prog="python -m tools.alerts", description="Alerts and recording rules.")
    parser.add_argument("--write", action="store_true", help="write alerts/*.yaml and the copies of chart and lab")
    write = parser.parse_args().write
    different = 0
    for path, text in texts().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if write:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.stdout.write(f"{path} differs\n")
            different = 1
    return different


if __name__ == "__main__":
    sys.exit(main())
