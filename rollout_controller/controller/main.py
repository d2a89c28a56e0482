"""`rollouts controller`: from command line to process."""

from __future__ import annotations

import argparse
from pathlib import Path

from rollout_controller.controller import logs
from rollout_controller.controller.process import run_local


def run(args: argparse.Namespace) -> int:
    """Run until a signal; gives the exit code."""
    logs.set_up(args.log_format, args.log_level.upper())
    return run_local(Path(args.local), metrics_port=args.metrics_port)
