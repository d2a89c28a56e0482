"""`python -m rollout_controller.crd`: the CustomResourceDefinitions of this version, for `kubectl apply --server-side -f -`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rollout_controller.crd.definitions import definitions, text

FOLDER = Path(__file__).parents[2] / "helm" / "rollout-controller" / "crds"


def main() -> int:
    """Print the definitions, or write a file for each."""
    parser = argparse.ArgumentParser(prog="python -m rollout_controller.crd", description="The CustomResourceDefinitions.")
    parser.add_argument(
        "--write", nargs="?", type=Path, const=FOLDER, metavar="DIR", help="write DIR/KIND.yaml (the chart's crds/)"
    )
    args = parser.parse_args()
    written = {plural: text(definition) for plural, definition in definitions().items()}
    if args.write is None:
        sys.stdout.write("---\n".join(written.values()))
        return 0
    args.write.mkdir(parents=True, exist_ok=True)
    for plural, content in written.items():
        (args.write / f"{plural}.yaml").write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
