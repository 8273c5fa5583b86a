"""A training batch: images, padded masks and prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..model.configuration_hq_sam import PADDING

MASK_PADDING = -1.0


@dataclass
class Batch:
    """B images with up to P masks each, in the shapes that the processor gives; S is the model input size.

    images (B, 3, S, S): uint8.
    masks (B, P, S, S): float32 ground truth in [0, 1]; padding is -1.
    boxes (B, P, 4): x1, y1, x2, y2 in model input coordinates; padding is NaN.
    points (B, P, N, 2): x, y in model input coordinates, with labels (B, P, N); the label of padding is -10.
    mask_prompts (B, P, m, m): padding is NaN.
    seeds (B, P): int64, on the CPU; for random draws of the objective, such as the points that the loss is read at.
    names: of the images, SET/NAME. skipped: one message for each sample that could not be used.

    Boxes, points with labels, and mask prompts are None if no prompt of the batch is of their kind.
    """

    images: Tensor
    masks: Tensor
    boxes: Tensor | None
    points: Tensor | None
    labels: Tensor | None
    mask_prompts: Tensor | None
    seeds: Tensor
    names: list[str]
    skipped: list[str]

    @property
    def valid(self) -> Tensor:
        """Padding mask: bool (B, P), true for a mask, false for padding."""
        return self.masks[:, :, 0, 0] >= 0

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device. The seeds stay on the CPU, where they are used."""
        fields: dict[str, Any] = dict(vars(self))
        for name, value in fields.items():
            if isinstance(value, Tensor) and name != "seeds":
                fields[name] = value.to(device, non_blocking=True)
        return Batch(**fields)


def collate(samples: Sequence[dict[str, Any]]) -> Batch:
    """Pad samples of `TrainingDataset` to the same number of masks and points, and stack them."""
    prompts = [prompt for sample in samples for prompt in sample["prompts"]]
    count = max(len(sample["prompts"]) for sample in samples)
    most_points = max(len(prompt.get("points", ())) for prompt in prompts)
    mask_side = max(len(prompt.get("mask", ())) for prompt in prompts)
    size, batch = len(samples[0]["image"]), len(samples)
    images = np.stack([sample["image"] for sample in samples]).transpose(0, 3, 1, 2)
    masks = torch.full((batch, count, size, size), MASK_PADDING)
    boxes = torch.full((batch, count, 4), float("nan"))
    points = torch.zeros(batch, count, most_points, 2)
    labels = torch.full((batch, count, most_points), PADDING, dtype=torch.long)
    mask_prompts = torch.full((batch, count, mask_side, mask_side), float("nan"))
    seeds = torch.zeros(batch, count, dtype=torch.long)
    for i, sample in enumerate(samples):
        masks[i, : len(sample["masks"])] = torch.from_numpy(sample["masks"])
        seeds[i, : len(sample["seeds"])] = torch.from_numpy(sample["seeds"])
        for j, prompt in enumerate(sample["prompts"]):
            if "box" in prompt:
                boxes[i, j] = torch.from_numpy(prompt["box"])
            if "points" in prompt:
                number = len(prompt["points"])
                points[i, j, :number] = torch.from_numpy(prompt["points"])
                labels[i, j, :number] = torch.from_numpy(np.asarray(prompt["labels"], dtype=np.int64))
            if "mask" in prompt:
                mask_prompts[i, j] = torch.from_numpy(prompt["mask"])
    return Batch(
        images=torch.from_numpy(np.ascontiguousarray(images)),
        masks=masks,
        boxes=boxes if any("box" in prompt for prompt in prompts) else None,
        points=points if most_points else None,
        labels=labels if most_points else None,
        mask_prompts=mask_prompts if mask_side else None,
        seeds=seeds,
        names=[sample["name"] for sample in samples],
        skipped=[line for sample in samples for line in sample["skipped"]],
    )


__all__ = ["Batch", "collate"]
