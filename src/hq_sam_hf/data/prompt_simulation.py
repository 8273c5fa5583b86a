"""Simulate user prompts from ground-truth masks, for training and evaluation.

Masks are (height, width), bool or soft in [0, 1]; `masks.rle.foreground` thresholds soft ones. Points are (x, y) and
boxes (x1, y1, x2, y2), in pixels of the mask. The formulas are those of the original (train/utils/misc.py).
`shift_box` and `add_outline_noise` take the random numbers as arguments, so that they can be compared with the
original; `box_noise` and `noisy_mask` draw them.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..masks.distance_transform import deepest_pixel
from ..masks.rle import foreground, mask_extent

PROMPT_KINDS = ("box", "points", "mask")  # the kinds that HQ-SAM is trained with
ALL_PROMPT_KINDS = (*PROMPT_KINDS, "point")
NUM_POINTS = 10

# `add_outline_noise`: the outline is where downscaling by COARSE_CELL changes the mask by at least OUTLINE_CHANGE.
COARSE_CELL = 8
OUTLINE_CHANGE = 0.01
MASK_PROMPT_VALUE = 255.0


def mask_to_box(mask: np.ndarray) -> np.ndarray | None:
    """The box (x1, y1, x2, y2) of a mask, float32 (4,), or None if the mask is empty.

    x2 and y2 are the last column and row of the object, so the box of a single pixel has width and height 0. COCO
    counts that pixel, as `masks.rle.mask_to_bbox` does.
    """
    extent = mask_extent(foreground(mask))
    return None if extent is None else np.array(extent, dtype=np.float32)


def box_noise(box: np.ndarray, scale: float, size: int | tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Move and resize a box (4,) at random: `shift_box` with random numbers from `rng`."""
    return shift_box(box, rng.random(4), scale, size)


def shift_box(box: np.ndarray, draws: np.ndarray, scale: float, size: int | tuple[int, int]) -> np.ndarray:
    """Move and resize a box (x1, y1, x2, y2) as DN-DETR does. Returns float32 (4,), clipped to the image.

    draws: four numbers in [0, 1), for the centre's x and y, the width and the height.
    scale: in [0, 1]. The centre moves by at most `scale` times half the width and height. Width and height change by
        at most `scale` times themselves. The paper's robustness table uses 0.2 and 0.4.
    size: (height, width) of the image, or the side of a square one.
    """
    if not 0 <= scale <= 1:
        raise ValueError(f"The `scale` of box noise must lie in [0, 1], got {scale}.")
    height, width = (size, size) if isinstance(size, int) else size
    low, high = np.asarray(box, dtype=np.float32).reshape(2, 2)
    extent = high - low
    signed = np.asarray(draws, dtype=np.float32).reshape(2, 2) * 2 - 1
    centre = (low + high) / 2 + signed[0] * (extent / 2) * np.float32(scale)
    extent = extent + signed[1] * extent * np.float32(scale)
    corners = np.concatenate([centre - extent / 2, centre + extent / 2])
    return np.clip(corners, 0, [width, height, width, height]).astype(np.float32)


def random_points(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to `count` different pixels of the object uniformly: (x, y), float32 (K, 2)."""
    return _random_pixels(foreground(mask), count, rng)


def random_negative_points(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw up to `count` different background pixels uniformly: (x, y), float32 (K, 2)."""
    return _random_pixels(~foreground(mask), count, rng)


def random_region(side: int, rng: np.random.Generator) -> np.ndarray:
    """A random rectangle of a sixteenth to a half of a square mask's side: bool (side, side).

    It stands for the object that a prompt on an image without one asks for.
    """
    height, width = (int(size) for size in rng.integers(max(side // 16, 1), max(side // 2, 1) + 1, size=2))
    top, left = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    region = np.zeros((side, side), dtype=bool)
    region[top : top + height, left : left + width] = True
    return region


def centre_point(mask: np.ndarray) -> np.ndarray | None:
    """The pixel (x, y) farthest from the background, float32 (2,), or None if the mask is empty.

    See `deepest_pixel`.
    """
    deepest = deepest_pixel(foreground(mask))
    return None if deepest is None else np.array([deepest[1], deepest[0]], dtype=np.float32)


def next_click(prediction: np.ndarray, ground_truth: np.ndarray) -> tuple[np.ndarray, int] | None:
    """The click that corrects the largest error of a predicted mask: (x, y), float32 (2,), and its label.

    The click is the pixel deepest inside the false negatives (label 1) or the false positives (label 0), whichever is
    deeper, see `deepest_pixel`; label 1 if both are equally deep. None if the masks are equal. For the first click,
    pass an empty prediction: the click is then the `centre_point`.
    """
    prediction, ground_truth = foreground(prediction), foreground(ground_truth)
    false_negative = deepest_pixel(ground_truth & ~prediction)
    false_positive = deepest_pixel(prediction & ~ground_truth)
    if false_negative is not None and (false_positive is None or false_negative[2] >= false_positive[2]):
        return np.array([false_negative[1], false_negative[0]], dtype=np.float32), 1
    if false_positive is not None:
        return np.array([false_positive[1], false_positive[0]], dtype=np.float32), 0
    return None


def noisy_mask(mask: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """A mask prompt (side, side) with a random outline: `add_outline_noise` with random numbers from `rng`."""
    return add_outline_noise(mask, rng.standard_normal((side, side), dtype=np.float32))


def add_outline_noise(mask: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Resize a mask to the size of `noise`, add the noise along its outline and threshold: float32 of 0 and 255.

    noise: (side, side), normally distributed with deviation 1. The outline is the band of pixels that change when the
    mask is resized to an eighth of the resolution and back.
    HQ-SAM was trained with the values 0 and 255, although SAM's mask prompts are logits.
    """
    side = noise.shape[-1]
    values = np.require(mask, dtype=np.float32, requirements=["C", "W"])
    grid = _resize(torch.from_numpy(values)[None, None] * 255, side) / 255
    coarse = _resize(_resize(grid, max(1, side // COARSE_CELL)), side)
    band = ((grid - coarse).abs() >= OUTLINE_CHANGE).float()
    noisy = grid + torch.from_numpy(np.asarray(noise, dtype=np.float32)) * band > 0.5
    return noisy[0, 0].float().mul(MASK_PROMPT_VALUE).numpy()


def draw_prompt(
    mask: np.ndarray,
    rng: np.random.Generator,
    kinds: Sequence[str] = PROMPT_KINDS,
    num_points: int = NUM_POINTS,
    mask_side: int = 256,
    paper_exact: bool = False,
) -> dict[str, np.ndarray] | None:
    """Draw one prompt for a mask; all kinds have the same probability.

    kinds: "box", "points" (`num_points` random points), "point" (one random point), "mask" (with a noisy outline).

    Returns one of
        {"box": float32 (4,)}
        {"points": float32 (K, 2), "labels": int64 (K,)}, all on the object; K is less than `num_points` if the object
            has fewer pixels
        {"mask": float32 (mask_side, mask_side)}, of 0 and 255
    or None if the mask is empty.

    paper_exact: treat empty masks like the original: the box (1e8, 1e8, 0, 0), no points, or a mask of zeros. What the
        original does with a whole batch is in `paper_kinds`.
    """
    unknown = [kind for kind in kinds if kind not in ALL_PROMPT_KINDS]
    if unknown or not kinds:
        raise ValueError(f"`kinds` must be among {', '.join(ALL_PROMPT_KINDS)}, got {list(kinds)}.")
    empty = not foreground(mask).any()
    if empty and not paper_exact:
        return None
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "box":
        box = mask_to_box(mask)
        return {"box": np.array([1e8, 1e8, 0, 0], dtype=np.float32) if box is None else box}
    if kind in ("points", "point"):
        points = random_points(mask, num_points if kind == "points" else 1, rng)
        return {"points": points, "labels": np.ones(len(points), dtype=np.int64)}
    return {"mask": noisy_mask(mask, mask_side, rng)}


def paper_kinds(
    masks: Sequence[np.ndarray], kinds: Sequence[str] = PROMPT_KINDS, num_points: int = NUM_POINTS
) -> tuple[str, ...]:
    """The kinds of prompts that the original can draw for a batch of masks.

    The original draws no points for the whole batch if one object has fewer pixels than `num_points`, unless all
    objects have the same number of them.
    """
    counts = {min(int(foreground(mask).sum()), num_points) for mask in masks}
    return tuple(kind for kind in kinds if kind != "points") if len(counts) > 1 else tuple(kinds)


def _random_pixels(inside: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    pixels = np.flatnonzero(inside)
    chosen = rng.choice(pixels, size=min(count, len(pixels)), replace=False) if len(pixels) else pixels
    rows, columns = np.divmod(chosen, inside.shape[1])
    return np.stack([columns, rows], axis=1).astype(np.float32)


def _resize(grid: torch.Tensor, side: int) -> torch.Tensor:
    return F.interpolate(grid, (side, side), mode="bilinear", align_corners=False)


__all__ = [
    "ALL_PROMPT_KINDS",
    "NUM_POINTS",
    "PROMPT_KINDS",
    "add_outline_noise",
    "box_noise",
    "centre_point",
    "draw_prompt",
    "mask_to_box",
    "next_click",
    "noisy_mask",
    "paper_kinds",
    "random_negative_points",
    "random_points",
    "random_region",
    "shift_box",
]
