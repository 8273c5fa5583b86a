"""Random flip and large-scale jitter of an image and its masks, as in the original's training code.

The steps are those of train/utils/dataloader.py: flip the image with some probability, resize it so that its longer
side is `scale` times the output size, crop what is larger than the output, pad what is smaller (below and right).
`draw_jitter` draws the random numbers, `apply_jitter` applies them, `augment` does both.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks.rle import foreground

PADDING = 128  # grey value in 0..255 of the padded part of an image; masks are padded with 0
MAX_ATTEMPTS = 10


@dataclass(frozen=True)
class Jitter:
    """The random numbers for one image.

    flip: mirror left and right, before the other steps.
    scale: longer side of the resized image, as a multiple of the output size.
    offset: (vertical, horizontal) position of the crop in [0, 1), from the first possible crop to the last.
    """

    flip: bool = False
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)


def draw_jitter(rng: np.random.Generator, low: float = 0.1, high: float = 2.0, flip: float = 0.5) -> Jitter:
    """Draw a scale uniformly from [low, high], a crop, and a flip with probability `flip`."""
    if not 0 < low <= high:
        raise ValueError(f"The scales must be two positive numbers, the smaller one first, got {low} and {high}.")
    if not 0 <= flip <= 1:
        raise ValueError(f"`flip` must be a probability between 0 and 1, got {flip}.")
    flipped = bool(rng.random() < flip)
    return Jitter(flipped, float(rng.uniform(low, high)), (float(rng.random()), float(rng.random())))


def apply_jitter(image: np.ndarray, masks: np.ndarray, jitter: Jitter, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Flip, resize, crop and pad an image and its masks to `size` x `size` pixels.

    image: uint8 (H, W, 3). masks: float32 (N, H, W) in [0, 1]. Both are resized bilinearly without antialiasing
    (`align_corners=False`), so the edges of masks become soft.

    Returns the image, float32 (size, size, 3) in 0..255, not rounded; and the masks, float32 (N, size, size).
    """
    _check(image, masks, size)
    return _jitter_image(image, jitter, size), _jitter_masks(masks, jitter, size)


def augment(
    image: np.ndarray,
    masks: np.ndarray,
    size: int,
    rng: np.random.Generator,
    scales: tuple[float, float] = (0.1, 2.0),
    flip: float = 0.5,
    paper_exact: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a jitter and apply it: the image as uint8 (size, size, 3), the masks as float32 (N, size, size).

    A crop may miss the object, and a small scale may lose a thin one. The jitter is then drawn again until at least
    one mask keeps some foreground. After 10 attempts the whole image is resized to fit, without a crop. If the masks
    have no foreground to begin with, the first draw is used.

    paper_exact: always use the first draw, and truncate the values of the resized image instead of rounding them,
        which darkens it by half a level.
    """
    _check(image, masks, size)
    jitter = draw_jitter(rng, *scales, flip)
    jittered_masks = _jitter_masks(masks, jitter, size)
    if not paper_exact and foreground(masks).any():
        attempt = 1
        while not foreground(jittered_masks).any() and attempt <= MAX_ATTEMPTS:
            jitter = draw_jitter(rng, *scales, flip) if attempt < MAX_ATTEMPTS else Jitter(flip=jitter.flip)
            jittered_masks = _jitter_masks(masks, jitter, size)
            attempt += 1
    jittered = _jitter_image(image, jitter, size)
    return (jittered if paper_exact else np.rint(jittered, out=jittered)).astype(np.uint8), jittered_masks


def _check(image: np.ndarray, masks: np.ndarray, size: int) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"`image` must be uint8 (height, width, 3), got {image.dtype} {image.shape}.")
    if masks.dtype != np.float32 or masks.ndim != 3 or masks.shape[1:] != image.shape[:2]:
        raise ValueError(
            f"`masks` must be float32 (masks, {image.shape[0]}, {image.shape[1]}), as large as the image, got "
            f"{masks.dtype} {masks.shape}."
        )
    if size < 1:
        raise ValueError(f"`size` must be a number of pixels, got {size}.")


def _jitter_image(image: np.ndarray, jitter: Jitter, size: int) -> np.ndarray:
    # Permuting instead of copying keeps the memory channels-last, which PyTorch resizes without a copy in between.
    channels = torch.from_numpy(_flipped(image, jitter.flip, axis=1)).float().permute(2, 0, 1)
    return _resize_crop_pad(channels, jitter, size, PADDING).permute(1, 2, 0).contiguous().numpy()


def _jitter_masks(masks: np.ndarray, jitter: Jitter, size: int) -> np.ndarray:
    if len(masks) == 0:
        return np.zeros((0, size, size), dtype=np.float32)
    channels = torch.from_numpy(_flipped(masks, jitter.flip, axis=2))
    return _resize_crop_pad(channels, jitter, size, 0).contiguous().numpy()


def _flipped(array: np.ndarray, flip: bool, axis: int) -> np.ndarray:
    # torch.from_numpy warns about read-only memory.
    return np.require(np.flip(array, axis) if flip else array, requirements=["C", "W"])


def _resize_crop_pad(channels: Tensor, jitter: Jitter, size: int, padding: float) -> Tensor:
    height, width = scaled_size(channels.shape[-2], channels.shape[-1], jitter.scale, size)
    resized = F.interpolate(channels[None], (height, width), mode="bilinear", align_corners=False)[0]
    top, left = (int(offset * (max(side - size, 0) + 1)) for side, offset in zip((height, width), jitter.offset))
    cropped = resized[:, top : top + size, left : left + size]
    right, below = size - cropped.shape[2], size - cropped.shape[1]
    return F.pad(cropped, (0, right, 0, below), value=padding) if right or below else cropped


def scaled_size(height: int, width: int, scale: float, size: int) -> tuple[int, int]:
    """(height, width) of the resized image: the longer side is `scale` * `size`, the aspect ratio is kept.

    The arithmetic is float32 as in the original, because this decides how some sizes are rounded. Each side has at
    least one pixel.
    """
    target = np.rint(np.float32(scale) * np.float32(size))
    ratio = min(target / np.float32(height), target / np.float32(width))
    return max(1, int(np.rint(np.float32(height) * ratio))), max(1, int(np.rint(np.float32(width) * ratio)))


__all__ = ["Jitter", "apply_jitter", "augment", "draw_jitter", "scaled_size"]
