"""Run a module as `python -m` does, and report at exit if the connection to other processes is still open.

An open connection makes only some exits of some processes fail, so a single run would not show it.
"""

import atexit
import os
import runpy
import sys
from pathlib import Path

LEFT_OPEN = "the connection to other processes was left open"
LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", os.path.abspath(__file__)]


def report_open_connection() -> None:
    import torch

    if torch.distributed.is_initialized():
        print(LEFT_OPEN, file=sys.stderr)


if __name__ == "__main__":
    atexit.register(report_open_connection)  # registered first, so it runs last
    sys.path[0] = str(Path(__file__).parent.parent)  # so that helpers are `support.NAME`, as in pytest
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
