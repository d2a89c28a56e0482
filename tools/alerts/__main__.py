"""`python -m tools.alerts`: says which files differ from the code; with --write makes them anew."""

from __future__ import annotations

import sys

from tools.alerts.files import texts
from tools.made import keep

if __name__ == "__main__":
    what = "alerts/*.yaml and the copies of chart and lab"
    sys.exit(keep("python -m tools.alerts", "Alerts and recording rules.", what, texts()))
