"""All threads of a controller share one heap."""

from __future__ import annotations

import subprocess
import sys

import pytest

COUNT = """
import ctypes, sys, threading
from rollout_controller.controller.heap import share_one_heap
if sys.argv[1] == "one":
    share_one_heap()
ready, done = threading.Barrier(5), threading.Event()
def work():
    held = [bytearray(100_000 + i) for i in range(10)]
    ready.wait(10)
    done.wait(10)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
ready.wait(10)
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = libc.fdopen(1, b"w")
libc.malloc_info(0, ctypes.c_void_p(out))
libc.fflush(ctypes.c_void_p(out))
done.set()
"""


@pytest.mark.parametrize(("how", "heaps"), [("one", 1), ("as it comes", 5)])
def test_threads_take_memory_from_one_heap(how: str, heaps: int) -> None:
    found = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, timeout=30, check=True)
    assert found.stdout.count("<heap nr=") == heaps
