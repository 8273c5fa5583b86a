"""Connect the processes of a distributed run through Accelerate."""

import atexit
from collections.abc import Callable
from typing import Any, TypeVar

import torch

State = TypeVar("State")


def connect(state: Callable[..., State], **options: Any) -> State:
    """Create one of Accelerate's state objects, which connects to the other launched processes.

    state: the class, such as `accelerate.PartialState` or `accelerate.Accelerator`; `options` are its arguments.

    Without a GPU, Accelerate connects the processes only if it is given `cpu=True`; else each would do all the work.
    The process group is destroyed at exit, which PyTorch leaves to its user. If it stays open, the threads of Gloo
    abort about one exit in five, and the launcher then stops the other processes.
    """
    atexit.register(_destroy_process_group)
    return state(cpu=not torch.accelerator.is_available(), **options)


def _destroy_process_group() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


__all__ = ["connect"]
