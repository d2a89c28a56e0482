"""`python -m tools.dashboards`: says which files differ from the code; with --write makes them anew."""

from __future__ import annotations

import sys

from tools.dashboards.boards import FOLDERS, texts
from tools.made import keep, parser

if __name__ == "__main__":
    line = parser("python -m tools.dashboards", "The Grafana dashboards.", "dashboards/*.json and the chart's copies")
    files = {folder / name: text for name, text in texts().items() for folder in FOLDERS}
    sys.exit(keep(files, write=line.parse_args().write))
