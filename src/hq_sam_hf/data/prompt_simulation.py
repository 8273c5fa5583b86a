"""Prompts that a user might have given, made from a true mask: what training and evaluation show the model.

Masks are (height, width), bool or soft in [0, 1]; where a soft one is the object, `masks.foreground` says. Points and
boxes are whole numbers of pixels in the frame of the mask, x before y. Formulas are those of the original
(train/utils/misc.py); its random numbers are arguments of `shift_box` and `flip_outline`, and drawn around them.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from ..masks.distance_transform import deepest_pixel
from ..masks.rle import foreground, mask_extent

PROMPT_KINDS = ("box", "points", "mask")  # those of HQ-SAM's recipe
ALL_PROMPT_KINDS = (*PROMPT_KINDS, "point")
NUM_POINTS = 10

# `noisy_mask`: how many cells of the coarse grid an outline is lost on, and what counts as lost.
COARSE_CELL = 8
OUTLINE = 0.01
MASK_PROMPT_VALUE = 255.0


def mask_to_box(mask: np.ndarray) -> np.ndarray | None:
    """The box (x1, y1, x2, y2) of a mask, float32, or None for an empty one.

    x2 and y2 are the last column and row of the object, so a single pixel has a box of no extent; unlike
    `masks.rle.mask_to_bbox`, which measures as COCO does.
    """
    extent = mask_extent(foreground(mask))
    return None if extent is None else np.array(extent, dtype=np.float32)


def box_noise(box: np.ndarray, scale: float, size: int | tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Move and stretch a box (4,) at random: `shift_box` with draws from `rng`."""
    return shift_box(box, rng.random(4), scale, size)


def shift_box(box: np.ndarray, draws: np.ndarray, scale: float, size: int | tuple[int, int]) -> np.ndarray:
    """Move and stretch a box (x1, y1, x2, y2), as DN-DETR does: float32 (4,), cut off at the picture's edges.

    draws: four numbers in [0, 1), for the centre's x and y, the width and the height.
    scale: in [0, 1]. The centre moves by at most `scale` times half the width and height, which themselves change by
        at most `scale` times their size; 0.2 and 0.4 are those of the paper's robustness table.
    size: (height, width) of the picture, or its side.
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
    """`count` different pixels of the object, all alike likely: float32 (K, 2) of x, y. K may be less."""
    return _random_pixels(foreground(mask), count, rng)


def random_negative_points(mask: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different pixels of the background, all alike likely: float32 (K, 2) of x, y; K may be less."""
    return _random_pixels(~foreground(mask), count, rng)


def centre_point(mask: np.ndarray) -> np.ndarray | None:
    """The pixel (x, y) deepest inside the object, float32 (2,), or None for an empty mask; see `deepest_pixel`."""
    deepest = deepest_pixel(foreground(mask))
    return None if deepest is None else np.array([deepest[1], deepest[0]], dtype=np.float32)


def next_click(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int] | None:
    """The click that corrects the thickest error of a predicted mask: its pixel (x, y), float32 (2,), and its label.

    The pixel is the deepest of all that are missing (label 1) or too much (label 0), see `deepest_pixel`; the missing
    one of two equally deep ones. None where the masks agree. Without a prediction, an empty one gives the first click,
    which is the `centre_point`.
    """
    predicted, truth = foreground(predicted), foreground(truth)
    missing, excess = deepest_pixel(truth & ~predicted), deepest_pixel(predicted & ~truth)
    if missing is not None and (excess is None or missing[2] >= excess[2]):
        return np.array([missing[1], missing[0]], dtype=np.float32), 1
    if excess is not None:
        return np.array([excess[1], excess[0]], dtype=np.float32), 0
    return None


def noisy_mask(mask: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    """The mask on a grid of side x side with a random outline: `flip_outline` with normal draws from `rng`."""
    return flip_outline(mask, rng.standard_normal((side, side), dtype=np.float32))


def flip_outline(mask: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Bring a mask to the size of `noise` and add the noise in a band along its outline: float32 of 0 and 255.

    noise: (side, side), normal with deviation 1. The band is where an eighth of the resolution would lose something.
    The values are those that HQ-SAM was trained with, though SAM's mask prompts are logits.
    """
    side = noise.shape[-1]
    values = np.require(mask, dtype=np.float32, requirements=["C", "W"])
    grid = _resize(torch.from_numpy(values)[None, None] * 255, side) / 255
    coarse = _resize(_resize(grid, max(1, side // COARSE_CELL)), side)
    band = ((grid - coarse).abs() >= OUTLINE).float()
    flipped = grid + torch.from_numpy(np.asarray(noise, dtype=np.float32)) * band > 0.5
    return flipped[0, 0].float().mul(MASK_PROMPT_VALUE).numpy()


def draw_prompt(
    mask: np.ndarray,
    rng: np.random.Generator,
    kinds: Sequence[str] = PROMPT_KINDS,
    num_points: int = NUM_POINTS,
    mask_side: int = 256,
    paper_exact: bool = False,
) -> dict[str, np.ndarray] | None:
    """Draw one prompt of one of the kinds, all alike likely.

    Returns one of
        {"box": float32 (4,)}
        {"points": float32 (K, 2), "labels": int64 (K,)}, all on the object; fewer than `num_points` where it has fewer
            pixels, and one for the kind "point"
        {"mask": float32 (mask_side, mask_side)}, of 0 and 255
    or None for an empty mask, about which nothing can be asked.

    paper_exact: as in the original, an empty mask has the box (1e8, 1e8, 0, 0), no point, or a mask of zeros. What it
        does for a whole batch is in `paper_kinds`.
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
    """The kinds of prompts that the original draws from for a batch of masks.

    It gives up points for the whole batch if an object has fewer pixels than points, unless all have equally few.
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
    "box_noise",
    "centre_point",
    "draw_prompt",
    "flip_outline",
    "mask_to_box",
    "next_click",
    "noisy_mask",
    "paper_kinds",
    "random_negative_points",
    "random_points",
    "shift_box",
]
