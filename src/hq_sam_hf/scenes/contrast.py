"""Visibility of an object: the colour difference across its boundary."""

import numpy as np

# Weights of red, green and blue in perceived brightness (luma of ITU-R BT.601).
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def colour_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of RGB colours (..., 3) in 0..255, weighted by `LUMA_WEIGHTS`: 255 between black and white."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    return np.sqrt(difference**2 @ LUMA_WEIGHTS)


def boundary_contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """The lower quartile of the colour differences across the boundary of an object.

    Compares all pairs of pixels that are two apart in a row or column and lie on different sides of the boundary.

    Args:
        image: RGB (H, W, 3) in 0..255.
        mask: (H, W) in [0, 1].

    Returns 0 to 255, or infinity if the image shows no boundary of the object.
    """
    inside = mask > 0.5
    rows, columns = np.nonzero(inside[:-2] != inside[2:])
    down = colour_distance(image[rows, columns], image[rows + 2, columns])
    rows, columns = np.nonzero(inside[:, :-2] != inside[:, 2:])
    across = colour_distance(image[rows, columns], image[rows, columns + 2])
    steps = np.concatenate([down, across])
    return float(np.quantile(steps, 0.25)) if len(steps) else float("inf")


__all__ = ["LUMA_WEIGHTS", "boundary_contrast", "colour_distance"]
