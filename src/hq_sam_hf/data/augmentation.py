"""Flip and large-scale jitter of a picture and its masks, as in the original's training (train/utils/dataloader.py).

A picture is flipped or not, resized so that its longer side is `scale` times the model's side S, cropped to S x S
where it is larger and padded below and on the right where it is smaller. `draw_jitter` draws what is random in this,
`jitter` does it, `augment` does both.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..masks.rle import foreground

PADDING = 128  # of the picture, in 0..255; masks are padded with 0
ATTEMPTS = 10


@dataclass(frozen=True)
class Jitter:
    """What is drawn for one picture.

    flip: mirror left and right, before all else.
    scale: longer side of the resized picture, in sides of the frame.
    offset: (vertical, horizontal) in [0, 1): which of the possible crops is taken, first to last.
    """

    flip: bool = False
    scale: float = 1.0
    offset: tuple[float, float] = (0.0, 0.0)


def draw_jitter(rng: np.random.Generator, low: float = 0.1, high: float = 2.0, flip: float = 0.5) -> Jitter:
    """Draw a scale uniformly from [low, high], a crop, and whether to flip, which has probability `flip`."""
    if not 0 < low <= high:
        raise ValueError(f"The scales must be two positive numbers, the smaller first, got {low} and {high}.")
    if not 0 <= flip <= 1:
        raise ValueError(f"`flip` must be a probability, got {flip}.")
    flipped = bool(rng.random() < flip)
    return Jitter(flipped, float(rng.uniform(low, high)), (float(rng.random()), float(rng.random())))


def jitter(image: np.ndarray, masks: np.ndarray, drawn: Jitter, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Bring a picture and its masks into a frame of `size` x `size` pixels.

    image: uint8 (H, W, 3). masks: float32 (N, H, W) in [0, 1]. Both are resized bilinearly from the nearest pixels
    (align_corners False, no antialiasing), so masks stay soft.

    Returns the picture, float32 (size, size, 3) in 0..255, not rounded; and the masks, float32 (N, size, size).
    """
    _check(image, masks, size)
    return _jitter_image(image, drawn, size), _jitter_masks(masks, drawn, size)


def augment(
    image: np.ndarray,
    masks: np.ndarray,
    size: int,
    rng: np.random.Generator,
    scales: tuple[float, float] = (0.1, 2.0),
    flip: float = 0.5,
    paper_exact: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw a jitter and apply it: the picture as uint8 (size, size, 3), the masks as float32 (N, size, size).

    A crop may miss the object, and a small scale may lose a thin one. The jitter is then drawn again, so that at least
    one mask keeps foreground; after 10 attempts the whole picture is fitted into the frame. Where the masks have no
    foreground to begin with, the first draw is taken.

    paper_exact: take the first draw always, and cut the decimals of the resized picture off instead of rounding it,
        which darkens it by half a level.
    """
    _check(image, masks, size)
    drawn = draw_jitter(rng, *scales, flip)
    result = _jitter_masks(masks, drawn, size)
    if not paper_exact and foreground(masks).any():
        attempt = 1
        while not foreground(result).any() and attempt <= ATTEMPTS:
            drawn = draw_jitter(rng, *scales, flip) if attempt < ATTEMPTS else Jitter(flip=drawn.flip)
            result = _jitter_masks(masks, drawn, size)
            attempt += 1
    picture = _jitter_image(image, drawn, size)
    return (picture if paper_exact else np.rint(picture, out=picture)).astype(np.uint8), result


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


def _jitter_image(image: np.ndarray, drawn: Jitter, size: int) -> np.ndarray:
    # A view of channels last as channels first: PyTorch then resizes without a copy in between.
    channels = torch.from_numpy(_flipped(image, drawn.flip, axis=1)).float().permute(2, 0, 1)
    return _resize_crop_pad(channels, drawn, size, PADDING).permute(1, 2, 0).contiguous().numpy()


def _jitter_masks(masks: np.ndarray, drawn: Jitter, size: int) -> np.ndarray:
    if len(masks) == 0:
        return np.zeros((0, size, size), dtype=np.float32)
    channels = torch.from_numpy(_flipped(masks, drawn.flip, axis=2))
    return _resize_crop_pad(channels, drawn, size, 0).contiguous().numpy()


def _flipped(array: np.ndarray, flip: bool, axis: int) -> np.ndarray:
    # PyTorch warns about memory that it may not write to.
    return np.require(np.flip(array, axis) if flip else array, requirements=["C", "W"])


def _resize_crop_pad(channels: Tensor, drawn: Jitter, size: int, padding: float) -> Tensor:
    height, width = scaled_size(channels.shape[-2], channels.shape[-1], drawn.scale, size)
    resized = F.interpolate(channels[None], (height, width), mode="bilinear", align_corners=False)[0]
    top, left = (int(offset * (max(side - size, 0) + 1)) for side, offset in zip((height, width), drawn.offset))
    cropped = resized[:, top : top + size, left : left + size]
    right, below = size - cropped.shape[2], size - cropped.shape[1]
    return F.pad(cropped, (0, right, 0, below), value=padding) if right or below else cropped


def scaled_size(height: int, width: int, scale: float, size: int) -> tuple[int, int]:
    """(height, width) of the resized picture: the longer side is `scale` * `size`, the other keeps the aspect.

    Rounded in float32 as the original does, which decides some sizes; a side keeps at least one pixel.
    """
    target = np.rint(np.float32(scale) * np.float32(size))
    ratio = min(target / np.float32(height), target / np.float32(width))
    return max(1, int(np.rint(np.float32(height) * ratio))), max(1, int(np.rint(np.float32(width) * ratio)))


__all__ = ["Jitter", "augment", "draw_jitter", "jitter", "scaled_size"]
