"""An exponential moving average of the learned weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .checkpoints import copy_weights, learned_weights


class WeightAverage:
    """average = decay * average + (1 - decay) * weights after every step; decay 0 keeps no average.

    The decay rises from 1/10 with the number of steps, (1 + n) / (10 + n), so that early averages are not stuck at the
    start (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.weights = {name: weight.clone() for name, weight in learned_weights(module).items()} if decay else {}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        if not self.weights:
            return
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, weight in learned_weights(module).items():
            self.weights[name].lerp_(weight, 1 - decay)

    @contextmanager
    def in_place(self, module: nn.Module) -> Iterator[None]:
        """Within the block, the module has the averaged weights."""
        own = learned_weights(module)
        kept = {name: own[name].clone() for name in self.weights}
        copy_weights(self.weights, own)
        try:
            yield
        finally:
            copy_weights(kept, own)

    def state_dict(self) -> dict[str, Tensor | int]:
        return {"steps": self.steps, **self.weights}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        self.steps = int(state["steps"])
        copy_weights({name: state[name] for name in self.weights}, self.weights)  # type: ignore[misc]


__all__ = ["WeightAverage"]
