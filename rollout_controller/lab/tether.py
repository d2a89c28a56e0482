"""Becomes another program that dies with its parent: `python tether.py PARENT_PID PROGRAM ARGUMENT...`.

The kernel's parent-death signal follows the *thread* that started this process, so start tethered programs from a thread that
lives as long as they should. The program keeps this process's id. Run with `-I -S`: nothing but the standard library is needed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From linux/prctl.h. Kept across execve."""


def main() -> None:
    parent, program = int(sys.argv[1]), sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM)) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before we asked
        sys.exit(f"the parent {parent} is gone; {program[0]} was not started")
    os.execvp(program[0], program)  # noqa: S606 - becoming that program is the job


if __name__ == "__main__":
    main()
