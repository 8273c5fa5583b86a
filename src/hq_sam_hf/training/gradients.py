"""Gradients of several processes: added up once per step, over all weights.

A step is a sum over its masks, and which weights take part depends on the prompts of each process. So the gradients
are added up after the last backward pass. DistributedDataParallel adds them during a pass, and waits for all weights.
"""

from collections.abc import Iterable, Iterator

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed import all_reduce, broadcast

BUCKET = 2**24  # values that are sent at once


@torch.no_grad()
def add_gradients(weights: Iterable[nn.Parameter], accelerator: Accelerator) -> None:
    """Replace the gradients of each process by their sum over the processes.

    A weight that has a gradient in no process keeps None, as on one process, so that the optimizer leaves it alone.
    """
    if accelerator.num_processes == 1:
        return
    weights = list(weights)
    # A process may lack gradients that others have, but all must send tensors of the same shapes.
    used = torch.tensor([float(weight.grad is not None) for weight in weights], device=accelerator.device)
    all_reduce(used)
    kept = [weight for weight, count in zip(weights, used.tolist()) if count]
    for weight in kept:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    for bucket in _buckets([weight.grad for weight in kept if weight.grad is not None]):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        all_reduce(flat)
        for gradient, total in zip(bucket, flat.split([gradient.numel() for gradient in bucket])):
            gradient.copy_(total.view_as(gradient))


@torch.no_grad()
def send_weights(weights: Iterable[Tensor], accelerator: Accelerator) -> None:
    """Give every process the weights of the first one, so that all start from the same."""
    if accelerator.num_processes > 1:
        for weight in weights:
            broadcast(weight, src=0)


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """The gradients in order, in groups of at most `BUCKET` values or of a single one."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and sum(other.numel() for other in bucket) + gradient.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket


__all__ = ["add_gradients", "send_weights"]
