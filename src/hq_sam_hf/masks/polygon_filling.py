"""Polygons filled to masks as pycocotools fills them."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .binary import MAX_PIXELS, check_size

# COCO rasterises outlines on a grid that is five times as fine (maskApi.c, rleFrPoly).
_SCALE = 5

# An edge crosses at most every column of the image. So many crossings are computed at once.
_CHUNK = 1 << 20

_LARGEST_COORDINATE = 1e9


def polygons_to_mask(polygons: Sequence[Any], size: Sequence[int], max_pixels: int | None = MAX_PIXELS) -> np.ndarray:
    """Fill the polygons of one object as pycocotools does.

    polygons: each [x1, y1, x2, y2, ...] in pixels of the mask, where the pixel in column 0 and row 0 goes from (0, 0)
        to (1, 1), or points (N, 2). Each has at least three points. A single flat list is one polygon.
    size: (height, width) of the mask.
    max_pixels: of the mask. None for any size.

    Returns bool (height, width). Raises ValueError for a larger mask, and for polygons with fewer points or with
    coordinates that are no pixels, such as NaN.
    """
    height, width = check_size(size, "size", max_pixels)
    starts, ends = [], []
    for polygon in as_polygons(polygons):
        changes = _changes(polygon.astype(np.float64).reshape(-1, 2), height, width)
        starts.append(changes[::2])
        ends.append(changes[1::2])
    # A pixel is in the mask if more runs have started than ended at or before it, counting column by column.
    positions = np.concatenate([*starts, *ends, np.zeros(0, dtype=np.int64)])
    steps = np.concatenate([np.ones(sum(map(len, starts)), dtype=np.int64), np.full(sum(map(len, ends)), -1)])
    order = np.argsort(positions, kind="stable")
    positions, depth = positions[order], np.cumsum(steps[order])
    lengths = np.diff(np.concatenate([[0], positions, [height * width]]))
    return np.repeat(np.concatenate([[False], depth > 0]), lengths).reshape((height, width), order="F")


def as_polygons(polygons: Any) -> list[np.ndarray]:
    """The polygons of one object as flat arrays [x1, y1, x2, y2, ...], in whatever form they come.

    Raises ValueError for a polygon of fewer than three points, and for coordinates that are no pixels.
    """
    if isinstance(polygons, str | bytes) or not hasattr(polygons, "__len__"):
        raise ValueError(f"Polygons must be lists [x1, y1, x2, y2, ...], got {polygons!r:.60}. {_ADVICE}")
    if len(polygons) and not any(hasattr(number, "__len__") for number in polygons):
        polygons = [polygons]  # some programs write the only polygon without the outer list
    return [_flat(polygon) for polygon in polygons]


_ADVICE = "Pass a list of polygons, such as `[[0, 0, 4, 0, 4, 3]]`."


def _flat(polygon: Any) -> np.ndarray:
    try:
        array = np.asarray(polygon)
        array = array if array.dtype.kind in "iuf" else array.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"A polygon must hold only numbers, got {polygon!r:.60}. {_ADVICE}") from error
    is_points = array.ndim > 1 and array.shape[-1] == 2
    if not (array.ndim == 1 or is_points) or array.size < 6 or array.size % 2:
        raise ValueError(
            f"A polygon must be a list [x1, y1, x2, y2, ...] of at least 3 points, got {array.size} numbers"
            f"{'' if array.ndim == 1 else f' in the shape {array.shape}'}. Leave out what has no area; the points of "
            "one polygon are passed as `[points]`."
        )
    flat = array.ravel()
    wrong = np.flatnonzero(~(np.abs(flat) <= _LARGEST_COORDINATE))  # also NaN
    if len(wrong):
        raise ValueError(
            f"A polygon's coordinates must be pixels, got {flat[wrong[0]]} as number {wrong[0] + 1} of {len(flat)}. "
            "Correct the point or leave it out."
        )
    return flat


def _changes(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Where a polygon's inside begins, ends, begins and so on: sorted pixel positions, column by column."""
    kept = np.zeros(0, dtype=np.int64)
    for crossings in _crossings(points, height, width):
        positions, counts = np.unique(np.concatenate([kept, crossings]), return_counts=True)
        kept = positions[counts % 2 == 1]
    return kept


def _crossings(points: np.ndarray, height: int, width: int) -> Iterator[np.ndarray]:
    """The pixel positions at which the closed outline crosses the centres of pixel columns, in parts.

    The outline is a path on the fine grid with one point per step along the longer axis of each edge. Where it steps
    from one fine column to the next, it may cross the centre of a pixel column.
    """
    start = (points * _SCALE + 0.5).astype(np.int64)
    end = np.roll(start, -1, axis=0)
    # The centre of column c lies between the fine columns 5 c + 2 and 5 c + 3.
    left, right = np.minimum(start[:, 0], end[:, 0]), np.maximum(start[:, 0], end[:, 0])
    first = np.maximum(-((2 - left) // _SCALE), 0)
    last = np.minimum((right - 3) // _SCALE, width - 1)
    counts = np.maximum(last - first + 1, 0)
    before = np.concatenate([[0], np.cumsum(counts)])
    edge = 0
    while edge < len(start):
        stop = max(int(np.searchsorted(before, before[edge] + _CHUNK, side="right")) - 1, edge + 1)
        edges = np.repeat(np.arange(edge, stop), counts[edge:stop])
        columns = first[edges] + np.arange(len(edges)) - (before[edges] - before[edge])
        rows = _rows_of_crossings(start[edges], end[edges], columns)
        # A crossing in row `height` is at the top of the next column, so an outline below the image fills a column
        # to its end.
        rows = np.ceil(np.clip((rows + 0.5) / _SCALE - 0.5, 0, height)).astype(np.int64)
        yield columns * height + rows
        edge = stop


def _rows_of_crossings(start: np.ndarray, end: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The fine rows at which edges cross the centres of columns: the upper one of the two points of the step."""
    delta = np.abs(end - start)
    along_x = delta[:, 0] >= delta[:, 1]
    # Edges go from the smaller coordinate of the longer axis, so that rounding is the same in both directions.
    axis = np.where(along_x, 0, 1)
    each = np.arange(len(start))
    swap = (start[each, axis] > end[each, axis])[:, None]
    low, high = np.where(swap, end, start), np.where(swap, start, end)
    major, minor = low[each, axis], low[each, 1 - axis]
    slope = (high[each, 1 - axis] - minor) / np.maximum(high[each, axis] - major, 1)

    def at(steps: np.ndarray) -> np.ndarray:
        return (minor + slope * steps + 0.5).astype(np.int64)

    before = columns * _SCALE + 2  # the fine column left of the crossing
    steps = before - major
    rows = np.minimum(at(steps), at(steps + 1))
    # On steep edges, find the first step that is beyond the crossing: estimate it, then correct the rounding.
    steep = ~along_x
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.where(steep, (before + 0.5 - minor) / slope, 0)
    steps = np.maximum(np.floor(estimate).astype(np.int64) - 2, 1)
    for _ in range(5):
        is_beyond = np.where(slope > 0, at(steps) > before, at(steps) <= before)
        steps = np.where(is_beyond, steps, steps + 1)
    return np.where(steep, major + steps - 1, rows)


__all__ = ["as_polygons", "polygons_to_mask"]
