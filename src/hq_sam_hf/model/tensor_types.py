"""Tensors that are not ordinary numbers in memory: subclasses of Tensor, and weights that were offloaded.

Quantized weights (torchao), sharded ones (DTensor) and those of a traced graph are subclasses of Tensor. They are left
to PyTorch's own functions, which every subclass serves. A weight that accelerate offloads is on the meta device,
without values, until its layer is called.
"""

import torch
from torch import Tensor, nn


def is_ordinary(*tensors: Tensor | None) -> bool:
    """Whether none of the tensors is of a subclass. None counts as ordinary."""
    return all(tensor is None or type(tensor) in (Tensor, nn.Parameter) for tensor in tensors)


def ordinary_values(tensor: Tensor) -> Tensor | None:
    """A tensor, or the values of a quantized one. None where a subclass does not give them or they are offloaded."""
    if tensor.is_meta:
        return None
    if is_ordinary(tensor):
        return tensor
    try:
        values = tensor.dequantize()
    except (NotImplementedError, RuntimeError, TypeError, AttributeError):
        return None
    return values if is_ordinary(values) else None


def rows_of(embedding: nn.Embedding) -> Tensor:
    """All rows of an embedding, (number, C). An offloaded one is called for them, which loads its weight."""
    if not embedding.weight.is_meta:
        return embedding.weight
    return embedding(torch.arange(embedding.num_embeddings))


def computing_device(model: nn.Module) -> torch.device:
    """The device of the weights or, of those that accelerate offloads, the one that they are brought to."""
    device = next((weight.device for weight in model.parameters() if not weight.is_meta), None)
    if device is not None:
        return device
    for module in model.modules():
        hook = getattr(module, "_hf_hook", None)
        for each in getattr(hook, "hooks", (hook,)):
            execution_device = getattr(each, "execution_device", None)
            if execution_device is not None:
                return torch.device(execution_device)
    return torch.device("meta")


__all__ = ["computing_device", "is_ordinary", "ordinary_values", "rows_of"]
