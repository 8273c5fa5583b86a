"""The command `hq-sam` with shards of two images, so that a short run of a benchmark has many."""

import multiprocessing
import sys
from contextlib import redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from hq_sam_hf.benchmarking import command, run
from hq_sam_hf.cli import main


def run_command(arguments: list[str], printed: Path) -> None:
    """Run the command, write what it prints to a file, and exit with its code."""
    run.IMAGES_PER_SHARD = 2
    torch.set_num_threads(1)  # as in the processes that torchrun starts, so that equal bits can be expected
    assert command.run_benchmark  # imported here, before processes are forked
    with printed.open("w") as file, redirect_stdout(file), redirect_stderr(file):
        code = main(arguments)
    sys.exit(code)


def start(arguments: list[str], printed: Path) -> BaseProcess:
    """Start the command in a process that is forked from one where the modules are imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.small_shards"])
    process = context.Process(target=run_command, args=(arguments, printed))
    process.start()
    return process


if __name__ == "__main__":
    run.IMAGES_PER_SHARD = 2
    sys.exit(main(sys.argv[1:]))
