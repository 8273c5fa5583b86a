"""Point grids and image crops for automatic masks, as in SAM's utils/amg.py.

Boxes are (x1, y1, x2, y2) in pixels of the image.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

EDGE_TOLERANCE = 20  # pixels


def point_grid(points_per_side: int) -> np.ndarray:
    """The centres of points_per_side ** 2 equal cells, row by row: (points, 2) as (x, y) in [0, 1]."""
    half = 1 / (2 * points_per_side)
    centres = np.linspace(half, 1 - half, points_per_side)  # rounds as the original
    x, y = np.meshgrid(centres, centres)
    return np.stack([x.ravel(), y.ravel()], axis=1)


def layer_grids(points_per_side: int, n_layers: int, downscale_factor: int) -> list[np.ndarray]:
    """The grids of the whole image and of each layer of crops. Each has downscale_factor times fewer points per side.

    Raises ValueError if a layer would have no points.
    """
    counts = [int(points_per_side / downscale_factor**layer) for layer in range(n_layers + 1)]
    if counts[-1] < 1:
        raise ValueError(
            f"Crops of layer {n_layers} would have no points: `points_per_side` is {points_per_side} and is divided "
            f"by `crop_n_points_downscale_factor`, {downscale_factor}, in each layer. Use more points or fewer layers."
        )
    return [point_grid(count) for count in counts]


def checked_grids(point_grids: Sequence[np.ndarray], n_layers: int) -> list[np.ndarray]:
    """Grids that somebody gives, as arrays. Raises ValueError unless each layer has one, with points in [0, 1]."""
    grids = [np.asarray(grid, dtype=np.float64) for grid in point_grids]
    if len(grids) <= n_layers:
        raise ValueError(
            f"`point_grids` must have a grid for each of {n_layers + 1} layers (the image and {n_layers} layers of "
            f"crops), got {len(grids)}."
        )
    for grid in grids:
        if grid.ndim != 2 or grid.shape[1:] != (2,) or len(grid) == 0 or not ((grid >= 0) & (grid <= 1)).all():
            raise ValueError(
                f"`point_grids` must be arrays (points, 2) of x, y in [0, 1], got {grid.shape}: {grid!r:.80}"
            )
    return grids


Box = tuple[int, int, int, int]


def crop_boxes(size: tuple[int, int], n_layers: int, overlap_ratio: float) -> list[tuple[Box, int]]:
    """Crop boxes with their layer: the whole image of (height, width) size as layer 0, then 4 ** i crops in layer i.

    Neighbouring crops of layer 1 overlap by overlap_ratio of the image's short side, those of layer i by 2 ** (i - 1)
    times less.
    """
    height, width = size
    boxes: list[tuple[Box, int]] = [((0, 0, width, height), 0)]
    for layer in range(1, n_layers + 1):
        per_side = 2**layer
        overlap = int(overlap_ratio * min(size) * (2 / per_side))
        crop_w, crop_h = (math.ceil((overlap * (per_side - 1) + side) / per_side) for side in (width, height))
        for i, j in product(range(per_side), repeat=2):
            x, y = i * (crop_w - overlap), j * (crop_h - overlap)
            box = (x, y, min(x + crop_w, width), min(y + crop_h, height))
            if box[0] < box[2] and box[1] < box[3]:  # an image of few pixels has fewer crops
                boxes.append((box, layer))
    return boxes


def near_crop_edge(boxes: np.ndarray, crop_box: Box, size: tuple[int, int]) -> np.ndarray:
    """Which boxes (N, 4) end within 20 pixels of an edge of the crop that is not an edge of the image: bool (N,).

    Such an object probably continues outside of the crop. size: (height, width) of the image.
    """
    height, width = size
    near_crop = np.abs(boxes - np.array(crop_box)) <= EDGE_TOLERANCE
    near_image = np.abs(boxes - np.array([0, 0, width, height])) <= EDGE_TOLERANCE
    return (near_crop & ~near_image).any(axis=1)


__all__ = ["Box", "checked_grids", "crop_boxes", "layer_grids", "near_crop_edge", "point_grid"]
