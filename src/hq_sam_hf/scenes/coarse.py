"""Coarse labels: what the masks that SAM was trained on look like, made from exact ones."""

import numpy as np
from PIL import Image, ImageFilter


def coarse_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A smoothed label of an exact mask, as SA-1B's are: plausible, but blind to fine parts.

    The mask is blurred by 1 to 2.5 per cent of the object's diagonal, then cut where that keeps the body: corners
    become round, holes and gaps up to about the width of the blur close, and lone thin parts fall away, while an
    object that is thin everywhere stays as a thicker, simpler shape with gaps.

    Args:
        mask: (H, W) in [0, 1].
        rng: decides how strong the blur is and where it cuts.

    Returns float32 (H, W) of 0 and 1; not empty unless the mask has no pixel of at least half coverage.
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
    # A body keeps the usual half. Where all is thin nothing reaches a half, so the cut follows what the object has.
    cut = min(0.5, level * float(density[exact >= 0.5].mean()))
    coarse[window] = density >= cut
    return coarse


def _blurred(mask: np.ndarray, sigma: float) -> np.ndarray:
    # The frame is no edge of the object: what it cuts off goes on beyond it, as Pillow's filters take it to.
    picture = Image.fromarray(np.rint(mask * np.float32(255)).astype(np.uint8))
    return np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma)), dtype=np.float32) / 255


__all__ = ["coarse_mask"]
