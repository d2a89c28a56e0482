"""`rollouts controller`: from command line to process."""

from __future__ import annotations

import argparse
from pathlib import Path

from rollout_controller.controller import logs
from rollout_controller.controller.start import ClusterOptions, run_cluster, run_local


def run(args: argparse.Namespace) -> int:
    """Run until a signal; gives the exit code."""
    logs.set_up(args.log_format, args.log_level.upper())
    if args.config is None:
        return run_local(Path(args.local), metrics_port=args.metrics_port)
    return run_cluster(
        ClusterOptions(
            config=Path(args.config),
            kubeconfig=Path(args.kubeconfig) if args.kubeconfig else None,
            context=args.context,
            namespaces=args.namespaces,
            metrics_port=args.metrics_port,
        )
    )
