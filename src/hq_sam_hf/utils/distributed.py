"""Connect the processes of a distributed run through Accelerate."""

import atexit
import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch

State = TypeVar("State")

# Variables with the number of a process and with the number of all processes, of torchrun and of MPI.
RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
_ADVICE = "Start N processes with `torchrun --nproc_per_node N` instead"


def connect(state: Callable[..., State], **options: Any) -> State:
    """Create one of Accelerate's state objects, which connects to the other launched processes.

    state: the class, such as `accelerate.PartialState` or `accelerate.Accelerator`; `options` are its arguments.

    Without a GPU, Accelerate connects the processes only if it is given `cpu=True`; else each would do all the work.
    The process group is destroyed at exit, which PyTorch leaves to its user. If it stays open, the threads of Gloo
    abort about one exit in five, and the launcher then stops the other processes.

    Raises ValueError if a launcher was asked for several processes, but this one is alone or not connected to them.
    """
    _refuse_processes_that_were_not_started()
    atexit.register(_destroy_process_group)
    connected = state(cpu=not torch.accelerator.is_available(), **options)
    for variable in SIZES:
        size = os.environ.get(variable, "1")
        if getattr(connected, "num_processes", 1) == 1 and size.isdigit() and int(size) > 1:
            raise ValueError(
                f"This is one of {size} processes ({variable}) that are not connected, so each would do all the work. "
                f"{_ADVICE}, or a single process."
            )
    return connected


def _refuse_processes_that_were_not_started() -> None:
    """Raise ValueError where `accelerate launch` was asked for several processes and started one.

    So it does without several GPUs. It then tells the process the address of a first process, but no number.
    """
    launched_by_accelerate = "ACCELERATE_MIXED_PRECISION" in os.environ
    if launched_by_accelerate and "MASTER_PORT" in os.environ and not any(name in os.environ for name in RANKS):
        raise ValueError(
            "`accelerate launch` was asked for several processes, but it started a single one, as it does without "
            f"several GPUs. {_ADVICE}. For a single one, launch with `--num_processes 1`, and without MASTER_PORT in "
            "the environment."
        )


def _destroy_process_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


__all__ = ["connect"]
