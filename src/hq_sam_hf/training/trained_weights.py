"""The trained weights of a model, those that require gradients."""

import torch
from torch import Tensor, nn


def trained_weights(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module that require gradients, by name."""
    return {name: weight.detach() for name, weight in module.named_parameters() if weight.requires_grad}


@torch.no_grad()
def copy_weights(source: dict[str, Tensor], target: dict[str, Tensor]) -> None:
    """Copy the weights of `source` into those of `target` with the same names."""
    for name, weight in source.items():
        target[name].copy_(weight)


__all__ = ["copy_weights", "trained_weights"]
