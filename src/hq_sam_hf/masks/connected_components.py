"""Connected regions of a mask, and the removal of small ones and of small holes, without OpenCV."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np


@dataclass
class Regions:
    """The regions of a bool mask as runs [start, end) of pixels in a row, of which there are few.

    region (runs,) numbers them from 0 in the order of their first pixels, row by row; areas (regions,) in pixels.
    Positions count pixels row by row in a frame with one column more on either side, `shape`.
    """

    starts: np.ndarray
    ends: np.ndarray
    region: np.ndarray
    areas: np.ndarray
    shape: tuple[int, int]

    def paint(self, chosen: np.ndarray) -> np.ndarray:
        """A bool mask of the regions where `chosen` (regions,) is true."""
        runs = chosen[self.region]
        steps = np.zeros(self.shape[0] * self.shape[1], dtype=np.int8)
        steps[self.starts[runs]] = 1
        steps[self.ends[runs]] = -1
        return np.cumsum(steps, dtype=np.int8).reshape(self.shape)[:, 1:-1].astype(bool)


def find_components(mask: np.ndarray) -> Regions:
    """Find the regions of a bool mask (H, W) whose pixels touch by a side or a corner."""
    height, width = mask.shape
    # With a column on either side no run of a row touches one of the next row end to end.
    framed = np.zeros((height, width + 2), dtype=np.int8)
    framed[:, 1:-1] = mask
    changes = np.diff(framed.ravel())
    starts, ends = np.flatnonzero(changes == 1) + 1, np.flatnonzero(changes == -1) + 1
    roots = _join(len(starts), *_touching_runs(starts, ends, framed.shape[1]))
    region = (np.cumsum(roots == np.arange(len(roots))) - 1)[roots]
    areas = np.bincount(region, weights=ends - starts).astype(np.int64)
    return Regions(starts, ends, region, areas, framed.shape)


def _touching_runs(starts: np.ndarray, ends: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs [start, end) that touch across two rows, as indices of the upper and of the lower run."""
    first = np.searchsorted(ends, starts + stride, side="left")
    last = np.searchsorted(starts, ends + stride, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + within


def _join(number: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """For each of `number` items the smallest member of its group, given pairs that belong together."""
    roots = np.arange(number)
    while True:
        a, b = roots[first], roots[second]
        apart = a != b
        if not apart.any():
            return roots
        first, second, a, b = first[apart], second[apart], a[apart], b[apart]
        np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(roots, roots[roots]):  # let every item point at its root
            roots = roots[roots]


def fill_small_holes(mask: np.ndarray, min_area: float, open_sides: Collection[str] = ()) -> tuple[np.ndarray, bool]:
    """Fill the regions outside a bool mask (H, W) of less than min_area pixels; also tells whether there were any.

    open_sides: of "top", "bottom", "left", "right", those where a region goes on beyond the array and is large.
    """
    outside = find_components(~mask)
    small = outside.areas < min_area
    if small.any():
        rows, columns = np.divmod(outside.starts, outside.shape[1])
        last_columns = outside.ends % outside.shape[1] - 1
        at = {
            "top": rows == 0,
            "bottom": rows == mask.shape[0] - 1,
            "left": columns == 1,
            "right": last_columns == mask.shape[1],
        }
        for side in open_sides:
            small[outside.region[at[side]]] = False
    return (mask | outside.paint(small), True) if small.any() else (mask, False)


def remove_small_components(mask: np.ndarray, min_area: float) -> tuple[np.ndarray, bool]:
    """Remove regions of less than min_area pixels, but keep the largest if all are; also tells whether any went."""
    regions = find_components(mask)
    small = regions.areas < min_area
    if not small.any():
        return mask, False
    if small.all():
        small[np.argmax(regions.areas)] = False
    return regions.paint(~small), True


__all__ = ["Regions", "fill_small_holes", "find_components", "remove_small_components"]
