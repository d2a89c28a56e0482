"""`python -m rollout_controller` is `rollouts`."""

import sys

from rollout_controller.cli.main import main

sys.exit(main())
