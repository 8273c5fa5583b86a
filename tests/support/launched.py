"""Runs a module as `python -m` does, and says at its end whether the connection to other processes was left open.

Left open it aborts some exits of some processes, which no single run would show.
"""

import atexit
import os
import runpy
import sys
from pathlib import Path

LEFT_OPEN = "the processes were left connected"
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", os.path.abspath(__file__)]


def tell() -> None:
    import torch

    if torch.distributed.is_initialized():
        print(LEFT_OPEN, file=sys.stderr)


if __name__ == "__main__":
    atexit.register(tell)  # first, so it runs last
    sys.path[0] = str(Path(__file__).parent.parent)  # as in pytest: helpers are `support.NAME`
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
