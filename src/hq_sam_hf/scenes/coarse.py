"""Coarse labels made from exact masks, similar to the masks that SAM was trained on."""

import numpy as np
from PIL import Image, ImageFilter


def coarse_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth an exact mask into a label like those of SA-1B, which miss fine parts.

    The mask is blurred by 1 to 2.5 per cent of the object's diagonal and thresholded. Corners become round, holes and
    gaps up to about the width of the blur close, and thin parts of a larger body disappear. An object that is thin
    everywhere becomes a thicker, simpler shape with gaps.

    Args:
        mask: (H, W) in [0, 1].
        rng: draws the strength of the blur and the threshold.

    Returns float32 (H, W) of 0 and 1. It is empty only if no pixel of the mask reaches 0.5.
    """
    inside = mask >= 0.5
    coarse = np.zeros(mask.shape, dtype=np.float32)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    share, level = rng.uniform(0.01, 0.025), rng.uniform(0.75, 1.0)
    if len(rows) == 0:
        return coarse
    low, high = np.array([rows[0], columns[0]]), np.array([rows[-1], columns[-1]]) + 1
    sigma = max(0.7, share * float(np.hypot(*(high - low))))
    margin = int(np.ceil(2.5 * sigma)) + 1
    window = tuple(slice(max(int(a) - margin, 0), int(b) + margin) for a, b in zip(low, high))
    exact = mask[window]
    closed = _blurred(_blurred(exact, 0.6 * sigma) > 0.3, 0.6 * sigma) > 0.6  # fills holes and narrow gaps
    density = _blurred(np.maximum(closed, exact), sigma)
    # A body is thresholded at one half. Thin objects never reach one half, so their threshold is relative.
    threshold = min(0.5, level * float(density[exact >= 0.5].mean()))
    coarse[window] = density >= threshold
    return coarse


def _blurred(mask: np.ndarray, sigma: float) -> np.ndarray:
    # The image border is not an edge of the object: Pillow's filter repeats the border pixels beyond it.
    image = Image.fromarray(np.rint(mask * np.float32(255)).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32) / 255


__all__ = ["coarse_mask"]
