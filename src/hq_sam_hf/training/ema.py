"""Exponential moving average of the trained weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from .trained_weights import copy_weights, trained_weights


class WeightAverage:
    """average = decay * average + (1 - decay) * weights after every step; with decay 0 there is no average.

    After n steps the decay is at most (1 + n) / (10 + n), so that early averages do not stay at the initial weights.
    This warm-up is that of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: weight.clone() for name, weight in trained_weights(module).items()} if decay else {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Add the weights of a module after a step."""
        if not self.weights:
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, weight in trained_weights(module).items():
            self.weights[name].lerp_(weight, 1 - decay)

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Within the block, the module has the averaged weights; without an average it keeps its own."""
        current = trained_weights(module)
        kept = {name: current[name].clone() for name in self.weights}
        copy_weights(self.weights, current)
        try:
            yield
        finally:
            copy_weights(kept, current)


__all__ = ["WeightAverage"]
