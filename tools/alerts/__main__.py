"""`python -m tools.alerts`: says which files differ from the code; with --write makes them anew.

With --runbooks URL --to DIR it writes the rules for you instead: with links to the place where you publish docs/runbooks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tools.alerts.files import MANIFEST, PLAIN, plain_and_manifest, texts
from tools.made import keep, parser


def main() -> int:
    """0: all is so, or was written; 1: a file differs; 2: what was asked for makes no sense."""
    line = parser("python -m tools.alerts", "Alerts and recording rules.", "alerts/*.yaml and the copies of chart and lab")
    line.add_argument("--runbooks", metavar="URL", help="where you publish docs/runbooks; {alert} in it is the alert's name")
    line.add_argument("--to", metavar="DIR", type=Path, help="write rules.yaml and prometheusrule.yaml with that URL there")
    asked = line.parse_args()
    if (asked.runbooks is None) != (asked.to is None):
        line.error("--runbooks URL and --to DIR go together: the files of this repository keep their placeholder")
    if asked.runbooks is None:
        return keep(texts(), write=asked.write)
    if not re.fullmatch(r"https?://[^/\s]+\S*", asked.runbooks):
        line.error(
            f"--runbooks: {asked.runbooks!r} is not a URL; http:// or https://, for example https://wiki.example.com/runbooks"
        )
    plain, manifest = plain_and_manifest(asked.runbooks)
    return keep({asked.to / PLAIN.name: plain, asked.to / MANIFEST.name: manifest}, write=True)


if __name__ == "__main__":
    sys.exit(main())
