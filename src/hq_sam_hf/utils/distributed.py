"""Several processes that share work, through Accelerate."""

import atexit
from collections.abc import Callable
from typing import Any, TypeVar

import torch

State = TypeVar("State")


def connect(state: Callable[..., State], **options: Any) -> State:
    """state(**options), one of Accelerate's states, which finds the other launched processes.

    Without a GPU they find each other only where Accelerate is told that there is none; else each would do the whole
    work. The connection is closed when the process ends, however it does: PyTorch leaves that to its user, and with an
    open one Gloo's threads abort one exit in five, after which the launcher stops the other processes.
    """
    atexit.register(_close)
    return state(cpu=not torch.accelerator.is_available(), **options)


def _close() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


__all__ = ["connect"]
