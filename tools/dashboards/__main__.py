"""`python -m tools.dashboards`: says which files differ from the code; with --write makes them anew."""

from __future__ import annotations

import sys

from tools.dashboards.boards import FOLDERS, texts
from tools.made import keep

if __name__ == "__main__":
    files = {folder / name: text for name, text in texts().items() for folder in FOLDERS}
    sys.exit(keep("python -m tools.dashboards", "The Grafana dashboards.", "dashboards/*.json and the chart's copies", files))
