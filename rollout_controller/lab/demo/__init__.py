"""`rollouts demo`: four versions of a model on real servers, and what the controller makes of each."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Play it; gives the exit code: 0 when all four ended as they should."""
    from rollout_controller.lab.demo.command import run as play  # noqa: PLC0415 - a second of imports

    return play(args)
