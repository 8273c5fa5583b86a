"""The pixel deepest inside a mask by the exact Euclidean distance transform, without OpenCV or SciPy."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from .binary import as_binary_mask

# The number of pixels whose exact distance is computed at once. Each needs one row of the mask in memory.
_CHUNK = 256


def deepest_pixel(mask: Any) -> tuple[int, int, float] | None:
    """The pixel of a mask with the largest distance to the background, as (row, column, distance).

    The distance is Euclidean, in pixels, from the pixel's centre to the centre of the nearest background pixel. All
    pixels beyond the edge of the mask array are background. Of several pixels with the same distance, the one nearest
    to the mask's centre of gravity is returned; if several remain, the uppermost, then the leftmost.

    mask: (height, width), see `binary`. Returns None for an empty mask.
    """
    mask = as_binary_mask(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return None
    top, left = int(rows[0]), int(columns[0])
    padded = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1], 1)
    distance, deepest = _deepest_pixels(padded)
    row, column = _nearest_to_centre(padded, deepest)
    return row - 1 + top, column - 1 + left, distance


def _deepest_pixels(mask: np.ndarray) -> tuple[float, np.ndarray]:
    """The largest distance to the background, and the flat indices of all pixels that have it.

    mask: bool (height, width) with background along all edges.

    The squared distance of a pixel is the minimum of dx^2 + v^2 over all pixels of its row, where dx is their
    horizontal distance and v the vertical distance to the background in their column. The minimum over some of these
    pixels is an upper bound, so a pixel is dropped as soon as its bound is below a distance that was found.
    """
    vertical = _line_distances(mask, axis=0)
    squares = vertical**2
    pixels = np.flatnonzero(mask)
    bounds = np.minimum(vertical, _line_distances(mask, axis=1)).ravel()[pixels] ** 2
    best = 0
    for step in _step_sizes(mask.shape[1]):
        first = np.argpartition(bounds, -_CHUNK)[-_CHUNK:] if len(bounds) > _CHUNK else np.arange(len(bounds))
        bounds[first] = _squared_distances(squares, pixels[first])
        best = max(best, int(bounds[first].max()))
        pixels, bounds = pixels[bounds >= best], bounds[bounds >= best]
        if len(pixels) <= _CHUNK:
            break
        for signed_step in (step, -step):
            # Clip at the ends of the row: the pixels there are background, which is a valid bound too.
            columns = np.clip(pixels % mask.shape[1] + signed_step, 0, mask.shape[1] - 1)
            dx = columns - pixels % mask.shape[1]
            bounds = np.minimum(bounds, dx**2 + squares.ravel()[pixels + dx])
    order = np.argsort(-bounds, kind="stable")
    pixels, bounds = pixels[order], bounds[order]
    for start in range(0, len(pixels), _CHUNK):
        part = slice(start, start + _CHUNK)
        if bounds[start] < best:
            break
        bounds[part] = _squared_distances(squares, pixels[part])
        best = max(best, int(bounds[part].max()))
    # The bounds of pixels that were not computed exactly are below the best.
    return float(np.sqrt(best)), pixels[bounds == best]


def _step_sizes(width: int) -> Iterator[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, ... as far as they are less than the width, but at least 1."""
    yield 1
    power = 2
    while power < width:
        yield power
        if power + power // 2 < width:
            yield power + power // 2
        power *= 2


def _line_distances(mask: np.ndarray, axis: int) -> np.ndarray:
    """Per pixel, the distance to the nearest background pixel along one axis, int32 (height, width).

    The edges of the mask must be background.
    """
    length = mask.shape[axis]
    index = np.arange(length, dtype=np.int32).reshape((-1, 1) if axis == 0 else (1, -1))
    before = np.maximum.accumulate(np.where(mask, 0, index), axis=axis)
    after = np.flip(np.where(mask, length - 1, index), axis)
    after = np.flip(np.minimum.accumulate(after, axis=axis), axis)
    return np.minimum(index - before, after - index)


def _squared_distances(squares: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """The exact squared distances (K,) of pixels, given by flat index (K,), from the squared vertical distances."""
    rows, columns = np.divmod(pixels, squares.shape[1])
    distances = (np.arange(squares.shape[1], dtype=np.int32) - columns[:, None].astype(np.int32)) ** 2
    distances += squares[rows]
    return distances.min(axis=1)


def _nearest_to_centre(mask: np.ndarray, pixels: np.ndarray) -> tuple[int, int]:
    """The (row, column) of the pixel, of those given by flat index, that is nearest to the centre of gravity."""
    rows, columns = np.divmod(pixels, mask.shape[1])
    # Coordinates times the number of pixels are integers, so rounding does not decide between equal distances.
    count = int(mask.sum())
    row_sum = int(np.arange(mask.shape[0]) @ mask.sum(axis=1))
    column_sum = int(np.arange(mask.shape[1]) @ mask.sum(axis=0))
    squared = (rows * count - row_sum).astype(object) ** 2 + (columns * count - column_sum).astype(object) ** 2
    nearest = min(range(len(pixels)), key=lambda i: (squared[i], pixels[i]))
    return int(rows[nearest]), int(columns[nearest])


__all__ = ["deepest_pixel"]
