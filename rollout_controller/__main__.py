"""`python -m rollout_controller` is `rollouts`."""

from rollout_controller.cli.main import program

program()
