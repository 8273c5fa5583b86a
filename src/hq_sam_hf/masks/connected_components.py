"""Connected components of masks, and the removal of small components and holes, without OpenCV."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from .binary import as_binary_mask


@dataclass
class Components:
    """The components of a mask, stored as runs of pixels in a row, because there are few of them.

    starts, ends: (runs,) each, the positions [start, end) of the runs. Positions count pixels row by row in the mask
        with one empty column added on the left and on the right.
    component: (runs,), the index of each run's component. Components are numbered from 0 in the order of their first
        pixels, row by row.
    areas: (components,), in pixels.
    shape: (height, width) of the mask with the two added columns.
    """

    starts: np.ndarray
    ends: np.ndarray
    component: np.ndarray
    areas: np.ndarray
    shape: tuple[int, int]

    def to_mask(self, chosen: np.ndarray) -> np.ndarray:
        """The union of the components where `chosen`, bool (components,), is True: bool (height, width)."""
        runs = chosen[self.component]
        steps = np.zeros(self.shape[0] * self.shape[1], dtype=np.int8)
        steps[self.starts[runs]] = 1
        steps[self.ends[runs]] = -1
        return np.cumsum(steps, dtype=np.int8).reshape(self.shape)[:, 1:-1].astype(bool)


def find_components(mask: Any) -> Components:
    """Find the 8-connected components of a mask, whose pixels touch at an edge or a corner.

    mask: (height, width), see `binary`.
    """
    mask = as_binary_mask(mask)
    height, width = mask.shape
    # The added columns separate a run at the end of a row from one at the start of the next row.
    padded = np.zeros((height, width + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    changes = np.diff(padded.ravel())
    starts, ends = np.flatnonzero(changes == 1) + 1, np.flatnonzero(changes == -1) + 1
    roots = _merge(len(starts), *_touching_runs(starts, ends, padded.shape[1]))
    component = (np.cumsum(roots == np.arange(len(roots))) - 1)[roots]
    areas = np.bincount(component, weights=ends - starts).astype(np.int64)
    return Components(starts, ends, component, areas, padded.shape)


def _touching_runs(starts: np.ndarray, ends: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs in neighbouring rows that touch: the indices of the upper and of the lower run, (pairs,) each."""
    first = np.searchsorted(ends, starts + stride, side="left")
    last = np.searchsorted(starts, ends + stride, side="right")
    counts = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(starts)), counts)
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return upper, np.repeat(first, counts) + within


def _merge(count: int, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Merge `count` items into groups, given pairs of items; returns each item's root, its group's smallest item."""
    roots = np.arange(count)
    while True:
        a, b = roots[first], roots[second]
        differ = a != b
        if not differ.any():
            return roots
        first, second, a, b = first[differ], second[differ], a[differ], b[differ]
        np.minimum.at(roots, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(roots, roots[roots]):  # make every item point at its root
            roots = roots[roots]


def fill_small_holes(mask: Any, min_area: float, open_sides: Collection[str] = ()) -> tuple[np.ndarray, bool]:
    """Fill the holes of a mask that have less than min_area pixels.

    mask: (height, width), see `binary`. Every component of the background counts as a hole.
    open_sides: "top", "bottom", "left", "right": where the image continues beyond the mask. Background that touches
        such a side continues there and is not filled.

    Returns the filled mask, bool (height, width), and whether there were small holes.
    """
    unknown = set(open_sides) - {"top", "bottom", "left", "right"}
    if unknown:
        raise ValueError(
            f"`open_sides` must be among 'top', 'bottom', 'left', 'right', got {', '.join(map(repr, unknown))}. Leave "
            "it out for a mask of the whole image."
        )
    mask = as_binary_mask(mask)
    holes = find_components(~mask)
    small = holes.areas < min_area
    if small.any():
        rows, columns = np.divmod(holes.starts, holes.shape[1])
        last_columns = holes.ends % holes.shape[1] - 1
        touches = {
            "top": rows == 0,
            "bottom": rows == mask.shape[0] - 1,
            "left": columns == 1,
            "right": last_columns == mask.shape[1],
        }
        for side in open_sides:
            small[holes.component[touches[side]]] = False
    return (mask | holes.to_mask(small), True) if small.any() else (mask, False)


def remove_small_components(mask: Any, min_area: float) -> tuple[np.ndarray, bool]:
    """Remove the components of a mask that have less than min_area pixels. If all are small, the largest is kept.

    mask: (height, width), see `binary`. Returns the new mask, bool (height, width), and whether there were small
    components.
    """
    mask = as_binary_mask(mask)
    components = find_components(mask)
    small = components.areas < min_area
    if not small.any():
        return mask, False
    if small.all():
        small[np.argmax(components.areas)] = False
    return components.to_mask(~small), True


__all__ = ["Components", "fill_small_holes", "find_components", "remove_small_components"]
