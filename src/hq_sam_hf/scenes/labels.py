"""Labels of generated images: exact masks, or coarse ones like those that SAM was trained on, as images."""

from typing import Literal

import numpy as np
from PIL import Image

from .coarse import coarse_mask

Labels = Literal["exact", "coarse"]

COARSE_KEY = 3  # appended to an image's key for the random numbers of its coarse labels


def check_labels(labels: str) -> None:
    if labels not in ("exact", "coarse"):
        raise ValueError(f'`labels` must be "exact" or "coarse", got {labels!r}.')


def label_images(masks: np.ndarray, labels: Labels, seed: int, key: tuple[int, ...]) -> list[Image.Image]:
    """The labels of one generated image as images of mode L, 0 to 255.

    masks: (N, H, W) in [0, 1], exact. seed, key: those of the image, on which coarse labels depend too.
    """
    if labels == "coarse":
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(*key, COARSE_KEY)))
        masks = np.stack([coarse_mask(mask, rng) for mask in masks])
    return [Image.fromarray(mask) for mask in np.rint(masks * 255).astype(np.uint8)]


__all__ = ["Labels", "check_labels", "label_images"]
