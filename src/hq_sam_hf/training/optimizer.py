"""The optimizer of a run and its learning rate schedule."""

import math

import torch

from .config import TrainingConfig


def make_optimizer(weights: list[torch.nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam or AdamW on the trained weights."""
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return kind(weights, lr=config.learning_rate, weight_decay=config.weight_decay)


def learning_rate(config: TrainingConfig, step: int, last_step: int, steps_per_epoch: int) -> float:
    """The learning rate of step `step`, counted from 0, in a run of `last_step` steps."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.schedule == "step":
        return rate * (0.1 if step // steps_per_epoch >= config.drop_epoch else 1.0)
    if config.schedule == "cosine":
        return rate * 0.5 * (1 + math.cos(math.pi * min(1.0, step / (config.schedule_steps or last_step))))
    return rate


__all__ = ["learning_rate", "make_optimizer"]
