"""Several processes that share work, through Accelerate."""

import torch


def without_gpu() -> bool:
    """The argument `cpu` of Accelerate's states.

    Launched processes without a GPU find each other only where Accelerate is told that there is none; else each would
    do the whole work.
    """
    return not torch.accelerator.is_available()


__all__ = ["without_gpu"]
