"""How well a person can see an object: the colour step across its edge."""

import numpy as np

# How much red, green and blue add to what an eye sees as light (ITU-R BT.601).
EYE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def colour_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The distance of RGB colours (..., 3) of 0 to 255, weighted as the eye does: 255 from black to white."""
    difference = a.astype(np.float32) - b.astype(np.float32)
    return np.sqrt(difference**2 @ EYE)


def boundary_contrast(image: np.ndarray, mask: np.ndarray) -> float:
    """The colour step across the edge of an object, as a quarter of the edge has at most.

    Compares pixels two apart, in rows and columns, of which one lies inside and one outside the mask.

    Args:
        image: RGB (H, W, 3) of 0 to 255.
        mask: (H, W) in [0, 1].

    Returns 0 to 255; infinity if no edge of the object lies in the picture.
    """
    inside = mask > 0.5
    rows, columns = np.nonzero(inside[:-2] != inside[2:])
    down = colour_distance(image[rows, columns], image[rows + 2, columns])
    rows, columns = np.nonzero(inside[:, :-2] != inside[:, 2:])
    across = colour_distance(image[rows, columns], image[rows, columns + 2])
    steps = np.concatenate([down, across])
    return float(np.quantile(steps, 0.25)) if len(steps) else float("inf")


__all__ = ["boundary_contrast", "colour_distance"]
