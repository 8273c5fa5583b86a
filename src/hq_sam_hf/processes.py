"""Several processes that share work, through Accelerate."""

import atexit

import torch


def without_gpu() -> bool:
    """The argument `cpu` of Accelerate's states.

    Launched processes without a GPU find each other only where Accelerate is told that there is none; else each would
    do the whole work.
    """
    return not torch.accelerator.is_available()


def close_at_exit() -> None:
    """Have the processes' connection closed when this one ends, however it does.

    PyTorch leaves that to its user. Open, Gloo's threads abort one exit in five, and the launcher stops the others.
    """
    atexit.register(_close)


def _close() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


__all__ = ["close_at_exit", "without_gpu"]
